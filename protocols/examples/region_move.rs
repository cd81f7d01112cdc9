use protocols::api::ObjectType;
use protocols::libc::system_call::{region_create, region_destroy, region_move, region_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    region_create(old.address())?;
    region_reference(old.address(), reference.address())?;
    region_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Region));
    region_create(old.address())?;
    region_destroy(old.address())?;
    region_destroy(new.address())
}
