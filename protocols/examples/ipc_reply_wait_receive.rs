use protocols::api::Call;
use protocols::libc::system_call::{ipc_reply, ipc_reply_wait_receive, ipc_wait_receive};
use protocols::libnest::{Peer, Result, Server};

pub fn example() -> Result<()> {
    let (server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    let held = peer.holds(port.reference())?;

    peer.begin(&[(Call::IpcCall, &[held, 1]), (Call::IpcCall, &[held, 2])])?;
    let first = ipc_wait_receive(server.portset().address(), 0)?;
    let second = ipc_reply_wait_receive(server.portset().address(), 0, &[10; 8])?;
    assert_eq!((first.words[0], second.words[0]), (1, 2));
    ipc_reply(&[20; 8])?;
    let returned = peer.finish()?;
    assert_eq!((returned[0].rsi, returned[1].rsi), (10, 20));
    Ok(())
}
