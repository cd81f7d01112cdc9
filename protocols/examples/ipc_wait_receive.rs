use protocols::api::{Call, MessageKind};
use protocols::libc::system_call::ipc_wait_receive;
use protocols::libnest::{Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    peer.begin(&[(Call::IpcCall, &[held, 1, 2, 3])])?;
    let received = ipc_wait_receive(server.portset().address(), 0)?;
    assert_eq!((received.alias, received.kind), (5, MessageKind::Call));
    assert_eq!(received.words[..4], [1, 2, 3, 0]);
    // To wait again gives the client up.
    assert_eq!(ipc_wait_receive(server.portset().address(), 1), Err(Status::TimedOut));
    assert!(peer.finish()?[0].is(Status::InvalidDestination));
    Ok(())
}
