use protocols::libc::system_call::{region_create, region_destroy, region_reference};
use protocols::libnest::place::Place;
use protocols::libnest::{Reference, Result};

pub fn example() -> Result<()> {
    let (region, reference) = (Place::allocate()?, Reference::new()?);
    region_create(region.address())?;
    region_reference(region.address(), reference.address())?;
    region_destroy(region.address())?;
    // The link is void, and the place is free again.
    assert_eq!(reference.check()?, None);
    region_create(region.address())?;
    region_destroy(region.address())
}
