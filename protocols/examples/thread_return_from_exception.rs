use protocols::api::Call;
use protocols::libnest::peer::CODE;
use protocols::libnest::{Peer, Result};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    // It goes on where the saved registers say: at its beginning, with the next call.
    let returned = peer.make(&[
        (Call::ThreadSetSaved, &[0, 0, 0, CODE, 0]),
        (Call::ThreadReturnFromException, &[]),
        (Call::ThreadSetExceptions, &[0]),
    ])?;
    // Exceptions were enabled.
    assert_eq!(returned[2].rdi, 1);
    Ok(())
}
