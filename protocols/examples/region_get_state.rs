use protocols::api::ObjectType;
use protocols::libc::system_call::region_get_state;
use protocols::libnest::{Memory, Reference, Region, Result, Rights, Server, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let (server, region) = (Server::new()?, Region::new(&memory, 0, 0x4000, Rights::READ)?);
    let (port, space, keeper) = (server.port(5)?, Reference::new()?, Reference::new()?);
    region.set_keeper(&port)?;
    assert_eq!(region_get_state(region.address(), space.address(), keeper.address())?.size, 0x4000);
    assert_eq!((space.check()?, keeper.check()?), (Some(ObjectType::Space), Some(ObjectType::Port)));
    Ok(())
}
