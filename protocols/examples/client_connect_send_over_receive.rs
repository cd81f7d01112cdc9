use protocols::api::Call;
use protocols::libnest::{Peer, Result};

/// `transact` makes the call.
pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    let reply = peer.transfer(b"pong", 0)?;
    peer.begin(&[
        (Call::ServerWaitReceive, &[portset, request]),
        (Call::ServerAckSend, &[0, reply]),
        (Call::ServerDisconnect, &[]),
    ])?;

    let mut reply = [0; 8];
    assert_eq!(port.transact(b"ping", &mut reply)?, 4);
    assert_eq!(reply[..4], *b"pong");
    Ok(())
}
