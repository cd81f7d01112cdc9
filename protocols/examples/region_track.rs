use protocols::libc::system_call::{region_is_tracked, region_track};
use protocols::libnest::{Memory, Region, Result, Rights, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x1000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x1000, Rights::all())?;
    region_track(region.address(), true)?;
    assert!(region_is_tracked(region.address())?);
    // While it is tracked, what it exports stays as it is; its rights may change.
    region.protect(Rights::READ)?;
    region_track(region.address(), false)?;
    assert!(!region_is_tracked(region.address())?);
    Ok(())
}
