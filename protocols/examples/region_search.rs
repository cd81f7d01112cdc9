use protocols::api::{OBJECT_SIZE, ObjectType};
use protocols::libc::system_call::region_search;
use protocols::libnest::{Memory, Region, Result, Rights, Status, objects};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(0x2000).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0x1000, 0x1000, Rights::READ)?;
    objects::create_mutex_in(&memory, 0x10c0)?;
    assert_eq!(region_search(region.address(), 0)?, Some((0xc0, ObjectType::Mutex)));
    assert_eq!(region_search(region.address(), 0xc0 + OBJECT_SIZE)?, None);
    assert_eq!(region.destroy_objects()?, 1);
    Ok(())
}
