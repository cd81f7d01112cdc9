use protocols::libc::system_call::{port_create, port_destroy, port_get_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let port = Place::allocate()?;
    port_create(port.address())?;
    assert_eq!(port_get_state(port.address(), 0)?, 0);
    port_destroy(port.address())
}
