use protocols::api::Call;
use protocols::libc::system_call::{mutex_trylock, mutex_unlock};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let mutex = peer.place();
    peer.make(&[(Call::MutexCreate, &[mutex])])?;
    mutex_trylock(peer.own(mutex))?;
    assert!(peer.make(&[(Call::MutexTrylock, &[mutex])])?[0].is(Status::Held));
    mutex_unlock(peer.own(mutex))
}
