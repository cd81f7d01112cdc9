use protocols::api::Call;
use protocols::libc::system_call::connection::server_disconnect;
use protocols::libnest::{Event, Peer, Result, Server, Status};

/// `reply_long_and_receive` makes the call.
pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    let more = peer.transfer(b"again", 8)?;
    peer.begin(&[
        (Call::ClientConnectSendOverReceive, &[held, request]),
        (Call::ClientConnectSendOverReceive, &[held, more]),
    ])?;

    let mut buffer = [0; 8];
    server.receive_long(&mut buffer, None);
    let event = server.reply_long_and_receive(b"pong", &mut buffer, None);
    assert_eq!(event, Event::Connection { alias: 5, length: 5, status: Status::Ok });
    assert_eq!(buffer[..5], *b"again");
    assert_eq!(peer.received(request, 4)?, *b"pong");
    server_disconnect()
}
