use protocols::api::Call;
use protocols::libnest::{Exchange, Peer, Result, Status};

/// An `Exchange` is a `Transfer` with its tables.
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
    let mut exchange = Exchange::new().send(b"pi").send(b"ng").receive(&mut reply);
    assert_eq!(port.connect_send_over_receive(&mut exchange), Status::ReceiveDisconnected);
    // The kernel has advanced it: it says what was received.
    assert_eq!(exchange.received(), 4);
    assert_eq!(reply[..4], *b"pong");
    Ok(())
}
