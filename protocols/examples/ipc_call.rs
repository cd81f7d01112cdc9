use protocols::api::Call;
use protocols::libc::system_call::ipc_call;
use protocols::libnest::{Peer, Result};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    peer.begin(&[(Call::IpcWaitReceive, &[portset]), (Call::IpcReply, &[0, 10, 20])])?;
    let mut message = [1, 2, 3, 4, 5, 6, 7, 8];
    ipc_call(port.address(), &mut message)?;
    assert_eq!(message, [10, 20, 0, 0, 0, 0, 0, 0]);
    Ok(())
}
