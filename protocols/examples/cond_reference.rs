use protocols::api::ObjectType;
use protocols::libc::system_call::{cond_create, cond_destroy, cond_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (cond, reference) = (Place::allocate()?, Reference::new()?);
    cond_create(cond.address())?;
    cond_reference(cond.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Cond));
    cond_destroy(cond.address())
}
