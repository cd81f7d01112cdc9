use protocols::api::Call;
use protocols::libnest::peer::CODE;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (exception, interrupt) = (CODE + 0x100, CODE + 0x200);
    let returned = peer.make(&[
        (Call::ThreadSetHandlers, &[exception, interrupt]),
        (Call::ThreadSetHandlers, &[0, 0]),
        (Call::ThreadSetHandlers, &[u64::MAX, 0]),
    ])?;
    assert_eq!((returned[1].rdi, returned[1].rsi), (exception, interrupt));
    assert!(returned[2].is(Status::Refused));
    Ok(())
}
