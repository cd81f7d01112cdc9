use protocols::api::Call;
use protocols::libc::system_call::{cond_signal, mutex_get_state};
use protocols::libnest::peer::SELF;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, cond) = (peer.place(), peer.place());
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::CondCreate, &[cond]), (Call::MutexLock, &[mutex])])?;
    peer.begin(&[(Call::CondWait, &[cond, mutex])])?;

    // The peer sleeps, and the Mutex is free.
    assert_eq!(mutex_get_state(peer.own(mutex))?.owner, 0);
    cond_signal(peer.own(cond))?;
    assert!(peer.finish()?[0].is(Status::Ok));
    assert_eq!(mutex_get_state(peer.own(mutex))?.owner, SELF);
    Ok(())
}
