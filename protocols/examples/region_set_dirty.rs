use protocols::libc::system_call::region_set_dirty;
use protocols::libnest::{Memory, Region, Result, Rights, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let old = Region::new(&memory, 0, 0x4000, Rights::all())?;
    old.track(true)?;
    region_set_dirty(old.address(), 0x1000, 0x2000)?;
    // Another Region takes its place, and knows what it knew.
    let new = Region::new(&memory, 0, 0x4000, Rights::all())?;
    new.track(true)?;
    let mut written = 0;
    old.take_dirty(0, 0x4000, |range| written = range.offset)?;
    region_set_dirty(new.address(), written, written + 0x1000)?;
    new.take_dirty(0, 0x4000, |range| assert_eq!((range.offset, range.size), (0x1000, 0x1000)))?;
    Ok(())
}
