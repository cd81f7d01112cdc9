use protocols::api::MappingState;
use protocols::libc::system_call::mapping_get_state;
use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x4000, Rights::all())?;
    let space = Space::new(SpaceKind::Native, 16)?;

    let mapping = Mapping::new(&region, 0, &space, 0x40_0000, 0x4000, Rights::READ)?;
    let state: MappingState = mapping_get_state(mapping.address(), 0, 0)?;
    // What it shows ends where it and the Region end.
    assert_eq!(state, MappingState { offset: 0, start: 0x40_0000, size: 0x4000, rights: Rights::READ.bits() });
    Ok(())
}
