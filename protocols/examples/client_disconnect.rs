use protocols::api::Call;
use protocols::libc::system_call::connection::client_disconnect;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    peer.begin(&[(Call::ServerWaitReceive, &[portset, request])])?;

    assert_eq!(client_disconnect(), Err(Status::Disconnected));
    port.connect_send(&mut Exchange::new());
    client_disconnect()?;
    assert!(peer.finish()?[0].is(Status::ReceiveDisconnected));
    Ok(())
}
