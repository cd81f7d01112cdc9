use protocols::api::ObjectType;
use protocols::libc::system_call::{portset_create, portset_destroy, portset_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (portset, reference) = (Place::allocate()?, Reference::new()?);
    portset_create(portset.address())?;
    portset_reference(portset.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Portset));
    portset_destroy(portset.address())
}
