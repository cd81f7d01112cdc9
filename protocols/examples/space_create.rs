use protocols::libc::system_call::{space_create, space_destroy, space_get_state};
use protocols::libnest::place::Place;
use protocols::libnest::{Result, SpaceKind, Status};

pub fn example() -> Result<()> {
    let space = Place::allocate()?;
    space_create(space.address(), SpaceKind::Native, 16)?;
    assert_eq!(space_get_state(space.address())?.allowance, 16);
    // The program's own allowance does not suffice for that.
    let another = Place::allocate()?;
    assert_eq!(space_create(another.address(), SpaceKind::Native, u64::MAX), Err(Status::NoMemory));
    space_destroy(space.address())
}
