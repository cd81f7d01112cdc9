use protocols::libc::system_call::{thread_create, thread_destroy, thread_get_links};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let thread = Place::allocate()?;
    thread_create(thread.address())?;
    let space = Reference::new()?;
    // It is in no Space yet.
    assert_eq!(thread_get_links(thread.address(), space.address())?, 0);
    assert_eq!(space.check()?, None);
    thread_destroy(thread.address())
}
