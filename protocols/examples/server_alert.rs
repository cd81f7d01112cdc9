use protocols::api::Call;
use protocols::libc::system_call::connection::server_alert;
use protocols::libnest::{Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let (held, request) = (peer.holds(port.reference())?, peer.transfer(b"ping", 8)?);
    peer.begin(&[(Call::ClientConnectSendOverReceive, &[held, request])])?;

    server.receive_long(&mut [0; 8], None);
    server_alert()?;
    let returned = peer.finish()?[0];
    assert!(returned.is(Status::Alerted));
    assert_eq!(returned.rdx, Call::ClientOverReceive as u64);
    Ok(())
}
