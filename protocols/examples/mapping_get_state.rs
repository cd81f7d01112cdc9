use protocols::api::ObjectType;
use protocols::libc::system_call::mapping_get_state;
use protocols::libnest::{Mapping, Memory, Reference, Region, Result, Rights, Space, SpaceKind, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x4000, Rights::all())?;
    let space = Space::new(SpaceKind::Native, 16)?;

    let mapping = Mapping::new(&region, 0x1000, &space, 0x40_0000, 0x2000, Rights::READ)?;
    let (from, to) = (Reference::new()?, Reference::new()?);
    let state = mapping_get_state(mapping.address(), from.address(), to.address())?;
    assert_eq!((state.offset, state.start, state.size), (0x1000, 0x40_0000, 0x2000));
    assert_eq!((from.check()?, to.check()?), (Some(ObjectType::Region), Some(ObjectType::Space)));
    Ok(())
}
