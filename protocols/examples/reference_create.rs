use protocols::libc::system_call::{reference_check, reference_create, reference_destroy};
use protocols::libnest::Result;
use protocols::libnest::place::Place;

pub fn example() -> Result<()> {
    let reference = Place::allocate()?;
    reference_create(reference.address())?;
    assert_eq!(reference_check(reference.address())?, None);
    reference_destroy(reference.address())
}
