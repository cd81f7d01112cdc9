use protocols::api::ObjectType;
use protocols::libc::system_call::{mapping_create, mapping_destroy, mapping_move, mapping_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    mapping_create(old.address())?;
    mapping_reference(old.address(), reference.address())?;
    mapping_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Mapping));
    mapping_create(old.address())?;
    mapping_destroy(old.address())?;
    mapping_destroy(new.address())
}
