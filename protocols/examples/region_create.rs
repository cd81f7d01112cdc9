use protocols::api::RegionState;
use protocols::libc::system_call::{region_create, region_destroy, region_get_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let region = Place::allocate()?;
    region_create(region.address())?;
    assert_eq!(region_get_state(region.address(), 0, 0)?, RegionState::default());
    region_destroy(region.address())
}
