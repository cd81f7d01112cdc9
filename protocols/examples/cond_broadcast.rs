use protocols::api::Call;
use protocols::libc::system_call::cond_broadcast;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, cond) = (peer.place(), peer.place());
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::CondCreate, &[cond]), (Call::MutexLock, &[mutex])])?;
    peer.begin(&[(Call::CondWait, &[cond, mutex])])?;

    cond_broadcast(peer.own(cond))?;
    assert!(peer.finish()?[0].is(Status::Ok));
    // Nobody sleeps any more, which is no mistake.
    cond_broadcast(peer.own(cond))
}
