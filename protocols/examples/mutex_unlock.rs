use protocols::api::Call;
use protocols::libc::system_call::{mutex_get_state, mutex_lock, mutex_unlock};
use protocols::libnest::peer::{Peer, SELF};
use protocols::libnest::{Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let mutex = peer.place();
    peer.make(&[(Call::MutexCreate, &[mutex])])?;
    mutex_lock(peer.own(mutex), 0)?;
    peer.begin(&[(Call::MutexLock, &[mutex])])?;
    mutex_unlock(peer.own(mutex))?;
    assert!(peer.finish()?[0].is(Status::Ok));
    assert_eq!(mutex_get_state(peer.own(mutex))?.owner, SELF);
    Ok(())
}
