use protocols::api::{Call, ObjectType};
use protocols::libc::system_call::{ipc_reply_wait_receive_with_reference, ipc_wait_receive};
use protocols::libnest::{Peer, Reference, Result, Server};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    let place = peer.holds(&Reference::new()?)?;
    peer.begin(&[
        (Call::IpcCallWithReference, &[held, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, place]),
        (Call::IpcCallWithReference, &[held, 2, 0, 0, 0, 0, 0, 0, 0, 0, place]),
    ])?;
    let (portset, taken) = (server.portset(), Reference::new()?);
    ipc_wait_receive(portset.address(), 0)?;
    // What the first client gets, the second sends.
    let sent = portset.reference().address();
    let next = ipc_reply_wait_receive_with_reference(portset.address(), 0, &[0; 8], sent, taken.address())?;
    assert_eq!((next.words[0], next.with_reference, taken.check()?), (2, true, Some(ObjectType::Portset)));
    Ok(())
}
