use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status};

/// A [`Mapping`] makes the call.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x8000).ok_or(Status::NoMemory)?;
    let source = Region::new(&memory, 0, 0x4000, Rights::READ)?;
    let shadow = Region::new(&memory, 0x4000, 0x4000, Rights::all())?;
    let space = Space::new(SpaceKind::Native, 16)?;

    let mapping = Mapping::copy_on_write([&source, &shadow], 0, &space, 0x40_0000, 0x4000, Rights::all())?;
    // Nobody has written to it yet.
    assert_eq!(mapping.copied(0, &mut [0]), Ok(None));
    Ok(())
}
