use protocols::libc::system_call::{mutex_destroy, mutex_get_state, mutex_lock, thread_self};
use protocols::libnest::{Memory, Result, Status, objects};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(4096).ok_or(Status::NoMemory)?;
    objects::create_mutex_in(&memory, 0)?;
    let mutex = memory.address();
    assert_eq!(mutex_get_state(mutex)?.owner, 0);
    mutex_lock(mutex, 0)?;
    assert_eq!(mutex_get_state(mutex)?.owner, thread_self());
    mutex_destroy(mutex)
}
