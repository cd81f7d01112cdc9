use protocols::api::Call;
use protocols::libc::system_call::connection::server_disconnect;
use protocols::libnest::{Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    peer.begin(&[(Call::ClientConnectSendOverReceive, &[held, request])])?;

    assert_eq!(server_disconnect(), Err(Status::Disconnected));
    server.receive_long(&mut [0; 8], None);
    server_disconnect()?;
    // The client had sent all, and offered to become the receiver.
    assert!(peer.finish()?[0].is(Status::OverDisconnected));
    Ok(())
}
