use protocols::api::Call;
use protocols::libnest::peer::CODE;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    // Calls from its page of code stay calls.
    let returned =
        peer.make(&[(Call::ThreadRedirect, &[CODE, 4096, CODE]), (Call::ThreadRedirect, &[0, u64::MAX, 0])])?;
    assert!(returned[0].is(Status::Ok));
    assert!(returned[1].is(Status::Refused));
    Ok(())
}
