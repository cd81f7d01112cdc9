use protocols::api::Call;
use protocols::libc::system_call::mutex_get_state;
use protocols::libnest::peer::{Peer, SELF};
use protocols::libnest::{Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mutex, new) = (peer.place(), peer.place());
    let returned =
        peer.make(&[(Call::MutexCreate, &[mutex]), (Call::MutexLock, &[mutex]), (Call::MutexMove, &[mutex, new])])?;
    assert!(returned[2].is(Status::Ok));
    assert_eq!(mutex_get_state(peer.own(new))?.owner, SELF);
    Ok(())
}
