use protocols::api::RegionState;
use protocols::libc::system_call::region_get_state;
use protocols::libnest::{Memory, Region, Result, Rights, Status};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x4000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, 0x4000, Rights::all())?;
    region.protect(Rights::READ)?;
    let state: RegionState = region_get_state(region.address(), 0, 0)?;
    assert_eq!((state.start, state.size), (memory.address(), 0x4000));
    assert_eq!(state.rights, Rights::READ.bits());
    Ok(())
}
