use protocols::api::MappingState;
use protocols::libc::system_call::{mapping_create, mapping_destroy, mapping_get_state};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let mapping = Place::allocate()?;
    mapping_create(mapping.address())?;
    assert_eq!(mapping_get_state(mapping.address(), 0, 0)?, MappingState::default());
    mapping_destroy(mapping.address())
}
