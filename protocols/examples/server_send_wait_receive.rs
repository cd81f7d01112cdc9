use protocols::api::Call;
use protocols::libc::system_call::connection::client_disconnect;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    let (first, rest) = (peer.transfer(b"po", 0)?, peer.transfer(b"ng", 8)?);
    peer.begin(&[
        (Call::ServerWaitReceive, &[portset, request]),
        (Call::ServerAckSend, &[0, first]),
        (Call::ServerSendWaitReceive, &[portset, rest]),
    ])?;

    // The connection ends with the reply: the server waits for the next client.
    let mut reply = [0; 8];
    assert_eq!(port.transact(b"ping", &mut reply)?, 4);
    assert_eq!(reply[..4], *b"pong");
    port.connect_send(&mut Exchange::new().send(b"next"));
    client_disconnect()?;
    assert!(peer.finish()?[2].is(Status::ReceiveDisconnected));
    assert_eq!(peer.received(rest, 2)?, *b"next");
    Ok(())
}
