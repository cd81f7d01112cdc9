use protocols::api::MutexState;
use protocols::libc::system_call::{mutex_destroy, mutex_get_state, mutex_lock, mutex_set_state, mutex_unlock};
use protocols::libnest::{Memory, Result, Status, objects};

/// Moves a locked Mutex to another place, by its state.
pub fn example() -> Result<()> {
    let memory = Memory::allocate(4096).ok_or(Status::NoMemory)?;
    let (old, new) = (memory.address(), memory.address() + 64);
    objects::create_mutex_in(&memory, 0)?;
    mutex_lock(old, 0)?;
    let state: MutexState = mutex_get_state(old)?;
    mutex_destroy(old)?;
    objects::create_mutex_in(&memory, 64)?;
    mutex_set_state(new, &state)?;
    mutex_unlock(new)?;
    mutex_destroy(new)
}
