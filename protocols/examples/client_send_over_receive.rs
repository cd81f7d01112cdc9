use protocols::api::Call;
use protocols::libnest::{Exchange, Peer, Result, Status};

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

    port.connect_send(&mut Exchange::new().send(b"pi"));
    let mut reply = [0; 4];
    // The reply is complete when the server ends the connection.
    let status = Exchange::new().send(b"ng").receive(&mut reply).client_send_over_receive();
    assert_eq!((status, reply), (Status::ReceiveDisconnected, *b"pong"));
    Ok(())
}
