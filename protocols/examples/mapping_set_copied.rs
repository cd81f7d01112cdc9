use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status};

/// A [`Mapping`] makes the call.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x8000).ok_or(Status::NoMemory)?;
    let source = Region::new(&memory, 0, 0x4000, Rights::READ)?;
    let shadow = Region::new(&memory, 0x4000, 0x4000, Rights::all())?;
    let space = Space::new(SpaceKind::Native, 16)?;

    let mut mapping = Mapping::copy_on_write([&source, &shadow], 0, &space, 0x40_0000, 0x4000, Rights::all())?;
    // The second page and the fourth are in the shadow already, as when a process is brought back that was saved.
    mapping.set_copied(0x1000, &[0b101])?;
    let mut words = [0];
    assert_eq!(mapping.copied(0, &mut words), Ok(Some(0x1000)));
    assert_eq!(words, [0b101]);
    assert_eq!(mapping.copied(0x2000, &mut words), Ok(Some(0x3000)));
    assert_eq!(mapping.set_copied(0x4000, &[0]), Ok(()));
    Ok(())
}
