use protocols::api::Call;
use protocols::libc::system_call::connection::{client_alert, client_disconnect};
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    peer.begin(&[(Call::ServerWaitReceive, &[portset, request])])?;

    assert_eq!(client_alert(), Err(Status::Disconnected));
    port.connect_send(&mut Exchange::new());
    client_alert()?;
    let returned = peer.finish()?[0];
    assert!(returned.is(Status::Alerted));
    // What it had still to do.
    assert_eq!(returned.rdx, Call::ServerReceive as u64);
    client_disconnect()
}
