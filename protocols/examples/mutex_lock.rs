use protocols::api::Call;
use protocols::libc::system_call::{mutex_lock, mutex_unlock};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let mutex = peer.place();
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::MutexLock, &[mutex])])?;
    // The peer has it: this waits, but only until the time stamp counter is 1.
    assert_eq!(mutex_lock(peer.own(mutex), 1), Err(Status::TimedOut));
    peer.make(&[(Call::MutexUnlock, &[mutex])])?;
    mutex_lock(peer.own(mutex), 0)?;
    mutex_unlock(peer.own(mutex))
}
