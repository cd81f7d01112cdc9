use protocols::api::DirtyRange;
use protocols::libc::system_call::region_get_dirty;
use protocols::libnest::{Memory, Region, Result, Rights, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x4000, Rights::all())?;
    region.track(true)?;
    region.set_dirty(0x1000, 0x3000)?;
    let mut ranges = [DirtyRange::default(); 4];
    // What was written comes once.
    let (found, end) = region_get_dirty(region.address(), 0, 0x4000, &mut ranges)?;
    assert_eq!((found, end), (&[DirtyRange { offset: 0x1000, size: 0x2000 }][..], 0x4000));
    let (found, end) = region_get_dirty(region.address(), 0, 0x4000, &mut ranges)?;
    assert_eq!((found, end), (&[][..], 0x4000));
    Ok(())
}
