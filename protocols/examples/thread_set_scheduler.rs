use protocols::libc::system_call::thread_set_scheduler;
use protocols::libnest::{Event, Peer, Result, Server};

pub fn example() -> Result<()> {
    let (mut server, mut peer) = (Server::new()?, Peer::new()?);
    let port = server.port(5)?;
    thread_set_scheduler(peer.thread().address(), port.reference().address(), 7)?;
    peer.begin(&[])?;
    // It could run.
    assert_eq!(server.receive(None), Event::Wakeup { alias: 5, value: 7 });
    Ok(())
}
