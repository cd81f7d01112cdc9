use protocols::api::ObjectType;
use protocols::libc::system_call::{port_create, port_destroy, port_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (port, reference) = (Place::allocate()?, Reference::new()?);
    port_create(port.address())?;
    port_reference(port.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Port));
    port_destroy(port.address())
}
