use protocols::libc::system_call::port_set_state;
use protocols::libnest::{Event, Result, Server};

pub fn example() -> Result<()> {
    let mut server = Server::new()?;
    let port = server.port(5)?;
    port_set_state(port.address(), 6, 0)?;
    port.reference().send(1)?;
    assert_eq!(server.receive(None), Event::Notification { alias: 6, bits: 1 });
    Ok(())
}
