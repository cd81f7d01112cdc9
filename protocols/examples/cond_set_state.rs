use protocols::libc::system_call::{cond_create, cond_destroy, cond_set_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let cond = Place::allocate()?;
    cond_create(cond.address())?;
    assert_eq!(cond_set_state(cond.address()), Ok(()));
    cond_destroy(cond.address())
}
