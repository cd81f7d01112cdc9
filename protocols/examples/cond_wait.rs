use protocols::api::Call;
use protocols::libc::system_call::{cond_wait, mutex_lock, mutex_unlock};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, cond) = (peer.place(), peer.place());
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::CondCreate, &[cond])])?;
    mutex_lock(peer.own(mutex), 0)?;
    // The peer waits for the Mutex, signals when it has it, and unlocks it.
    peer.begin(&[(Call::MutexLock, &[mutex]), (Call::CondSignal, &[cond]), (Call::MutexUnlock, &[mutex])])?;
    assert_eq!(cond_wait(peer.own(cond), peer.own(mutex), 0), Ok(()));
    // A deadline that has passed is noticed before the Mutex is unlocked.
    assert_eq!(cond_wait(peer.own(cond), peer.own(mutex), 1), Err(Status::TimedOut));
    mutex_unlock(peer.own(mutex))
}
