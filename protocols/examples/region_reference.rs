use protocols::api::ObjectType;
use protocols::libc::system_call::{region_create, region_destroy, region_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (region, reference) = (Place::allocate()?, Reference::new()?);
    region_create(region.address())?;
    region_reference(region.address(), reference.address())?;
    assert_eq!(reference.check()?, Some(ObjectType::Region));
    region_destroy(region.address())
}
