use protocols::api::Call;
use protocols::libc::system_call::{port_create, port_destroy, port_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Peer, Reference, Result, Status};

pub fn example() -> Result<()> {
    let (port, reference, mut peer) = (Place::allocate()?, Reference::new()?, Peer::new()?);
    port_create(port.address())?;
    port_reference(port.address(), reference.address())?;
    let held = peer.holds(&reference)?;
    // Nobody serves the Port: the peer waits.
    peer.begin(&[(Call::IpcCall, &[held])])?;
    port_destroy(port.address())?;
    assert!(peer.finish()?[0].is(Status::InvalidDestination));
    Ok(())
}
