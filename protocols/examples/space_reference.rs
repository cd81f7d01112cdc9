use protocols::api::ObjectType;
use protocols::libc::system_call::{space_create, space_destroy, space_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result, SpaceKind};

pub fn example() -> Result<()> {
    let (space, reference) = (Place::allocate()?, Reference::new()?);
    space_create(space.address(), SpaceKind::Native, 16.into())?;
    space_reference(space.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Space));
    space_destroy(space.address())
}
