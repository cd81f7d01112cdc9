use protocols::api::Call;
use protocols::libc::system_call::{cond_destroy, mutex_get_state};
use protocols::libnest::peer::SELF;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, cond) = (peer.place(), peer.place());
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::CondCreate, &[cond]), (Call::MutexLock, &[mutex])])?;
    peer.begin(&[(Call::CondWait, &[cond, mutex])])?;

    cond_destroy(peer.own(cond))?;
    // It has its Mutex all the same.
    assert!(peer.finish()?[0].is(Status::Destroyed));
    assert_eq!(mutex_get_state(peer.own(mutex))?.owner, SELF);
    Ok(())
}
