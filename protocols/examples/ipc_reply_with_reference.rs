use protocols::api::{Call, ObjectType};
use protocols::libc::system_call::{ipc_reply_with_reference, ipc_wait_receive, reference_check};
use protocols::libnest::{Peer, Reference, Result, Server};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    let place = peer.holds(&Reference::new()?)?;
    peer.begin(&[(Call::IpcCallWithReference, &[held, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, place])])?;
    ipc_wait_receive(server.portset().address(), 0)?;
    ipc_reply_with_reference(&[2; 8], server.portset().reference().address())?;
    assert_eq!(peer.finish()?[0].rsi, 2);
    assert_eq!(reference_check(peer.own(place))?, Some(ObjectType::Portset));
    Ok(())
}
