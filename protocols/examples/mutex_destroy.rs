use protocols::api::Call;
use protocols::libc::system_call::{mutex_destroy, mutex_lock};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let mutex = peer.place();
    peer.make(&[(Call::MutexCreate, &[mutex])])?;
    mutex_lock(peer.own(mutex), 0)?;
    // The peer waits for it, until it is no more.
    peer.begin(&[(Call::MutexLock, &[mutex])])?;
    mutex_destroy(peer.own(mutex))?;
    assert!(peer.finish()?[0].is(Status::Destroyed));
    Ok(())
}
