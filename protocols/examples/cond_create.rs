use protocols::libc::system_call::{cond_create, cond_destroy, cond_get_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let cond = Place::allocate()?;
    cond_create(cond.address())?;
    cond_get_state(cond.address())?;
    cond_destroy(cond.address())
}
