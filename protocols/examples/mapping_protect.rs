use protocols::api::NativeState;
use protocols::libnest::{Event, Mapping, Memory, Region, Result, Rights, Server, Space, SpaceKind, Status, Thread};

/// A [`Mapping`] makes the call.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x2000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x2000, Rights::all())?;
    let (space, mut server) = (Space::new(SpaceKind::Native, 16)?, Server::new()?);
    let keeper = server.port(5)?;
    space.set_keeper(&keeper)?;
    let mut first = Mapping::new(&region, 0, &space, 0x40_0000, 0x1000, Rights::all())?;
    let _second = Mapping::new(&region, 0x1000, &space, 0x40_1000, 0x1000, Rights::all())?;
    // The first page can only be read, the other is as it was: a jump to the first is a page fault.
    first.protect(Rights::READ)?;
    let thread = Thread::native(&space, &NativeState { rip: 0x40_0000, ..NativeState::default() })?;
    thread.go()?;
    let Event::Exception { exception, .. } = server.receive(None) else { return Err(Status::NotFound) };
    assert_eq!((exception.vector, exception.address), (14, 0x40_0000));
    Ok(())
}
