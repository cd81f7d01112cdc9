use protocols::api::Call;
use protocols::libc::system_call::{ipc_reply, ipc_wait_receive};
use protocols::libnest::{Peer, Result, Server, Status};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    peer.begin(&[(Call::IpcCall, &[held, 1])])?;
    let received = ipc_wait_receive(server.portset().address(), 0)?;
    ipc_reply(&[received.words[0] + 1; 8])?;
    // Now there is nobody to reply to.
    assert_eq!(ipc_reply(&[0; 8]), Err(Status::Disconnected));
    assert_eq!(peer.finish()?[0].rsi, 2);
    Ok(())
}
