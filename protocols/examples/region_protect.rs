use protocols::api::NativeState;
use protocols::libc::system_call::region_protect;
use protocols::libnest::{Event, Mapping, Memory, Region, Result, Rights, Server, Space, SpaceKind, Status, Thread};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x1000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x1000, Rights::all())?;
    let (space, mut server) = (Space::new(SpaceKind::Native, 16)?, Server::new()?);
    let keeper = server.port(5)?;
    space.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &space, 0x40_0000, 0x1000, Rights::all())?;
    // All that is derived from the Region can only be read: a jump there is a page fault.
    region_protect(region.address(), Rights::READ)?;
    let thread = Thread::native(&space, &NativeState { rip: 0x40_0000, ..NativeState::default() })?;
    thread.go()?;
    let Event::Exception { exception, .. } = server.receive(None) else { return Err(Status::NotFound) };
    assert_eq!((exception.vector, exception.address), (14, 0x40_0000));
    Ok(())
}
