use protocols::libc::system_call::{mutex_destroy, mutex_get_state};
use protocols::libnest::{Memory, Result, Status, objects};

/// `create_mutex_in` makes the call at a place in memory to which no Rust reference exists.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(4096).ok_or(Status::NoMemory)?;
    objects::create_mutex_in(&memory, 64)?;
    let mutex = memory.address() + 64;
    assert_eq!(mutex_get_state(mutex)?.owner, 0);
    mutex_destroy(mutex)
}
