use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status};

/// A [`Mapping`] makes the call.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x4000, Rights::all())?;
    let space = Space::new(SpaceKind::Native, 16)?;

    let mut mapping = Mapping::new(&region, 0x1000, &space, 0x40_0000, 0x2000, Rights::READ)?;
    // Another cannot appear in the same place, but the same one elsewhere.
    let another = Mapping::new(&region, 0, &space, 0x40_1000, 0x1000, Rights::READ);
    assert_eq!(another.err(), Some(Status::Overlap));
    mapping.set(&region, 0x1000, &space, 0x50_0000, 0x2000, Rights::READ)?;
    Mapping::new(&region, 0, &space, 0x40_1000, 0x1000, Rights::READ)?;
    Ok(())
}
