use protocols::api::ObjectType;
use protocols::libc::system_call::{portset_create, portset_destroy, portset_move, portset_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    portset_create(old.address())?;
    portset_reference(old.address(), reference.address())?;
    portset_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Portset));
    portset_create(old.address())?;
    portset_destroy(old.address())?;
    portset_destroy(new.address())
}
