use protocols::libc::system_call::ipc_send;
use protocols::libnest::{Event, Result, Server};

pub fn example() -> Result<()> {
    let mut server = Server::new()?;
    let port = server.port(5)?;
    ipc_send(port.reference().address(), 1)?;
    ipc_send(port.reference().address(), 4)?;
    assert_eq!(server.receive(None), Event::Notification { alias: 5, bits: 5 });
    Ok(())
}
