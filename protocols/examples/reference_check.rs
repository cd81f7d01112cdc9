use protocols::api::ObjectType;
use protocols::libc::system_call::{reference_check, reference_rights};
use protocols::libnest::{Portset, ReferenceRights, Result};

pub fn example() -> Result<()> {
    let portset = Portset::new()?;
    let copy = portset.reference().duplicate()?;
    assert_eq!(reference_check(copy.address())?, Some(ObjectType::Portset));
    assert_eq!(reference_rights(copy.address())?, ReferenceRights::all() - ReferenceRights::REVOKE);
    drop(portset);
    assert_eq!(reference_check(copy.address())?, None);
    Ok(())
}
