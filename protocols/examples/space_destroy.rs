use protocols::libc::system_call::{space_create, space_destroy, space_get_state, space_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result, SpaceKind};

pub fn example() -> Result<()> {
    let (space, reference) = (Place::allocate()?, Reference::new()?);
    space_create(space.address(), SpaceKind::Native, 16.into())?;
    space_reference(space.address(), reference.address())?;
    let before = space_get_state(space.address())?;
    space_destroy(space.address())?;
    assert_eq!(reference.check()?, None);
    // The allowance is there again.
    space_create(space.address(), SpaceKind::Native, 16.into())?;
    assert_eq!(space_get_state(space.address())?, before);
    space_destroy(space.address())
}
