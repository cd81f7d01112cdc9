use protocols::api::{Call, ObjectType};
use protocols::libc::system_call::ipc_wait_receive_with_reference;
use protocols::libnest::{Peer, Reference, Result, Server};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    peer.begin(&[(Call::IpcCallWithReference, &[held, 1, 0, 0, 0, 0, 0, 0, 0, 0, held])])?;
    let taken = Reference::new()?;
    let received = ipc_wait_receive_with_reference(server.portset().address(), 0, taken.address())?;
    assert_eq!((received.words[0], received.with_reference), (1, true));
    assert_eq!(taken.check()?, Some(ObjectType::Port));
    Ok(())
}
