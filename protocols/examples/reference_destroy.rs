use protocols::libc::system_call::{port_reference, reference_create, reference_destroy};
use protocols::libnest::place::Place;
use protocols::libnest::{Event, Result, Server, WatchedPort};

pub fn example() -> Result<()> {
    let mut server = Server::new()?;
    let port = WatchedPort::new(server.portset(), 5)?;
    let reference = Place::allocate()?;
    reference_create(reference.address())?;
    port_reference(port.address(), reference.address())?;
    reference_destroy(reference.address())?;
    // That was the last one, and the server wants to know.
    assert_eq!(server.receive(None), Event::NoReferences { alias: 5 });
    Ok(())
}
