use protocols::api::ObjectType;
use protocols::libc::system_call::{thread_create, thread_destroy, thread_move, thread_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (old, new, reference) = (Place::allocate()?, Place::allocate()?, Reference::new()?);
    thread_create(old.address())?;
    thread_reference(old.address(), reference.address())?;
    thread_move(old.address(), new.address())?;
    // Links stay, and the old place is free.
    assert_eq!(reference.check()?, Some(ObjectType::Thread));
    thread_create(old.address())?;
    thread_destroy(old.address())?;
    thread_destroy(new.address())
}
