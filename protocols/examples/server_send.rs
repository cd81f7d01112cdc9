use protocols::api::Call;
use protocols::libc::system_call::connection::server_disconnect;
use protocols::libnest::{Exchange, Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    peer.begin(&[(Call::ClientConnectSendOverReceive, &[held, request])])?;

    server.receive_long(&mut [0; 8], None);
    assert_eq!(Exchange::new().send(b"po").server_ack_send(), Status::Ok);
    assert_eq!(Exchange::new().send(b"ng").server_send(), Status::Ok);
    server_disconnect()?;
    peer.finish()?;
    assert_eq!(peer.received(request, 4)?, *b"pong");
    Ok(())
}
