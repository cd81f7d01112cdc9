use protocols::api::Call;
use protocols::libc::system_call::connection::server_disconnect;
use protocols::libnest::{Event, Exchange, Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    peer.begin(&[(Call::ClientConnectSendOverReceive, &[held, request])])?;

    let (mut first, mut rest) = ([0; 1], [0; 3]);
    let event = server.receive_long(&mut first, None);
    assert_eq!(event, Event::Connection { alias: 5, length: 1, status: Status::MoreData });
    let status = Exchange::new().receive(&mut rest).server_receive();
    assert_eq!((status, first, rest), (Status::Ok, *b"p", *b"ing"));
    server_disconnect()
}
