use protocols::api::Call;
use protocols::libnest::{Exchange, Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    let more = peer.transfer(b"more", 0)?;
    peer.begin(&[
        (Call::ClientConnectSendOverReceive, &[held, request]),
        (Call::ClientAckSend, &[0, more]),
        (Call::ClientDisconnect, &[]),
    ])?;

    server.receive_long(&mut [0; 8], None);
    let mut buffer = [0; 4];
    let status = Exchange::new().send(b"pong").receive(&mut buffer).server_ack_send_over_receive();
    assert_eq!((status, buffer), (Status::ReceiveDisconnected, *b"more"));
    Ok(())
}
