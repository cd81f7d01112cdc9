use protocols::api::MutexState;
use protocols::libc::system_call::{mutex_destroy, mutex_set_state, mutex_trylock, thread_self};
use protocols::libnest::{Memory, Result, Status, objects};

pub fn example() -> Result<()> {
    let memory = Memory::allocate(4096).ok_or(Status::NoMemory)?;
    objects::create_mutex_in(&memory, 0)?;
    let mutex = memory.address();
    // Whoever that is has it now.
    mutex_set_state(mutex, &MutexState { owner: thread_self() + 64 })?;
    assert_eq!(mutex_trylock(mutex), Err(Status::Held));
    mutex_set_state(mutex, &MutexState { owner: 0 })?;
    assert_eq!(mutex_trylock(mutex), Ok(()));
    mutex_destroy(mutex)
}
