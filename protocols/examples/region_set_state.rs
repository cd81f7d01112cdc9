use protocols::api::RegionState;
use protocols::libc::system_call::region_get_state;
use protocols::libnest::{Memory, Region, Result, Rights, Server, Status};

/// A `Region` makes the call.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let (server, region) = (Server::new()?, Region::new(&memory, 0x1000, 0x3000, Rights::READ)?);
    region.set_keeper(&server.port(5)?)?;
    let state = region_get_state(region.address(), 0, 0)?;
    assert_eq!(state, RegionState { start: memory.address() + 0x1000, size: 0x3000, rights: Rights::READ.bits() });
    Ok(())
}
