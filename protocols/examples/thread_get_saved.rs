use protocols::api::Call;
use protocols::libc::system_call::thread_get_saved;
use protocols::libnest::peer::CODE;
use protocols::libnest::{Peer, Result};
use protocols::native_thread::Saved;

pub fn example() -> Result<()> {
    // No handler was ever entered.
    assert_eq!(thread_get_saved()?, Saved::default());
    let mut peer = Peer::new()?;
    let returned = peer.make(&[(Call::ThreadSetSaved, &[1, 2, 3, CODE]), (Call::ThreadGetSaved, &[])])?;
    assert_eq!((returned[1].rdi, returned[1].rsi, returned[1].rdx), (1, 2, 3));
    Ok(())
}
