use protocols::libc::system_call::{thread_create, thread_destroy, thread_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (thread, reference) = (Place::allocate()?, Reference::new()?);
    thread_create(thread.address())?;
    thread_reference(thread.address(), reference.address())?;
    thread_destroy(thread.address())?;
    // The link is void, and the place is free again.
    assert_eq!(reference.check()?, None);
    thread_create(thread.address())?;
    thread_destroy(thread.address())
}
