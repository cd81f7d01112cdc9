use protocols::api::Call;
use protocols::libnest::peer::CODE;
use protocols::libnest::{Peer, Result, Status};
use protocols::native_thread::{FIXED_FLAGS, FLAGS};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let returned = peer.make(&[
        (Call::ThreadSetSaved, &[1, 2, 3, CODE, u64::MAX]),
        (Call::ThreadGetSaved, &[]),
        (Call::ThreadSetSaved, &[1, 2, 3, u64::MAX, 0]),
    ])?;
    // Of the flags, only those count that a thread may choose.
    assert_eq!((returned[1].r10, returned[1].r8), (CODE, FLAGS | FIXED_FLAGS));
    assert!(returned[2].is(Status::Refused));
    Ok(())
}
