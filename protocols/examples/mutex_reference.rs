use protocols::api::ObjectType;
use protocols::libc::system_call::{mutex_destroy, mutex_reference};
use protocols::libnest::{Memory, Reference, Result, Status, objects};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(4096).ok_or(Status::NoMemory)?;
    objects::create_mutex_in(&memory, 0)?;
    let reference = Reference::new()?;
    mutex_reference(memory.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Mutex));
    mutex_destroy(memory.address())?;
    assert_eq!(reference.check()?, None);
    Ok(())
}
