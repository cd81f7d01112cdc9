use protocols::libc::system_call::{portset_create, portset_destroy, portset_get_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let portset = Place::allocate()?;
    portset_create(portset.address())?;
    portset_get_state(portset.address())?;
    portset_destroy(portset.address())
}
