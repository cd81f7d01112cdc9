use protocols::api::ObjectType;
use protocols::libc::system_call::{space_create, space_destroy, space_move, space_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result, SpaceKind};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    space_create(old.address(), SpaceKind::Native, 16.into())?;
    space_reference(old.address(), reference.address())?;
    space_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Space));
    space_create(old.address(), SpaceKind::Native, 16.into())?;
    space_destroy(old.address())?;
    space_destroy(new.address())
}
