use protocols::api::Call;
use protocols::libc::system_call::reference_restrict;
use protocols::libnest::{Event, Peer, Reference, ReferenceRights, Result, Server};

pub fn example() -> Result<()> {
    let mut server = Server::new()?;
    let (port, client) = (server.port(5)?, Reference::new()?);
    let rights = ReferenceRights::CALL | ReferenceRights::SEND;
    reference_restrict(port.reference().address(), client.address(), rights, 77)?;
    assert_eq!(client.rights()?, rights);
    // Calls arrive with the badge in place of the alias.
    let mut peer = Peer::new()?;
    reference_restrict(port.reference().address(), client.address(), rights | ReferenceRights::COPY, 78)?;
    let held = peer.holds(&client)?;
    peer.begin(&[(Call::IpcCall, &[held, 1])])?;
    assert!(matches!(server.receive(None), Event::Call { alias: 78, .. }));
    Ok(())
}
