use protocols::api::ObjectType;
use protocols::libc::system_call::{
    reference_check, reference_copy, reference_create, reference_destroy, reference_move,
};
use protocols::libnest::place::Place;
use protocols::libnest::{Portset, Result};

pub fn example() -> Result<()> {
    let (server, old, new) = (Portset::new()?, Place::allocate()?, Place::allocate()?);
    reference_create(old.address())?;
    reference_copy(server.reference().address(), old.address())?;
    reference_move(old.address(), new.address())?;
    assert_eq!(reference_check(new.address())?, Some(ObjectType::Portset));
    reference_destroy(new.address())
}
