use protocols::api::ObjectType;
use protocols::libc::system_call::{mapping_create, mapping_destroy, mapping_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (mapping, reference) = (Place::allocate()?, Reference::new()?);
    mapping_create(mapping.address())?;
    mapping_reference(mapping.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Mapping));
    mapping_destroy(mapping.address())
}
