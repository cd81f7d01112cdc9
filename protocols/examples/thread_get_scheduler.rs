use protocols::api::ObjectType;
use protocols::libc::system_call::{thread_get_scheduler, thread_set_scheduler};
use protocols::libnest::{Peer, Reference, Result, Server};
use protocols::scheduling::TimeSource;

pub fn example() -> Result<()> {
    let (server, peer, reference) = (Server::new()?, Peer::new()?, Reference::new()?);
    let (port, thread) = (server.port(5)?, peer.thread().address());
    thread_set_scheduler(thread, port.reference().address(), 7)?;
    assert_eq!(thread_get_scheduler(thread, reference.address())?, (TimeSource::Scheduler, 7, 0));
    assert_eq!(reference.check()?, Some(ObjectType::Port));
    Ok(())
}
