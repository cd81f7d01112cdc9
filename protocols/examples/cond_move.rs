use protocols::api::Call;
use protocols::libc::system_call::{cond_move, cond_signal};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, cond) = (peer.place(), peer.place());
    peer.make(&[(Call::MutexCreate, &[mutex]), (Call::CondCreate, &[cond]), (Call::MutexLock, &[mutex])])?;
    peer.begin(&[(Call::CondWait, &[cond, mutex])])?;

    let place = peer.place();
    let new = peer.own(place);
    cond_move(peer.own(cond), new)?;
    cond_signal(new)?;
    assert!(peer.finish()?[0].is(Status::Ok));
    Ok(())
}
