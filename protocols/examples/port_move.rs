use protocols::api::ObjectType;
use protocols::libc::system_call::{port_create, port_destroy, port_move, port_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    port_create(old.address())?;
    port_reference(old.address(), reference.address())?;
    port_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Port));
    port_create(old.address())?;
    port_destroy(old.address())?;
    port_destroy(new.address())
}
