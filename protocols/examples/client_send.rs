use protocols::api::Call;
use protocols::libc::system_call::connection::client_disconnect;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    peer.begin(&[(Call::ServerWaitReceive, &[portset, request])])?;

    port.connect_send(&mut Exchange::new().send(b"he"));
    assert_eq!(Exchange::new().send(b"ll").send(b"o").client_send(), Status::Ok);
    client_disconnect()?;
    assert_eq!(Exchange::new().send(b"!").client_send(), Status::SendDisconnected);
    peer.finish()?;
    assert_eq!(peer.received(request, 0)?, *b"hello");
    Ok(())
}
