use protocols::api::Call;
use protocols::libc::system_call::connection::server_disconnect;
use protocols::libnest::{Event, Peer, Result, Server, Status};

/// `receive_long` makes the call.
pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    peer.begin(&[(Call::ClientConnectSendOverReceive, &[held, request])])?;

    let mut buffer = [0; 8];
    let event = server.receive_long(&mut buffer, None);
    // That is the whole message, and the client waits for the reply.
    assert_eq!(event, Event::Connection { alias: 5, length: 4, status: Status::Ok });
    assert_eq!(buffer[..4], *b"ping");
    server_disconnect()
}
