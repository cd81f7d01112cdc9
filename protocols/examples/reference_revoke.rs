use protocols::api::ObjectType;
use protocols::libc::system_call::{reference_grant, reference_revoke};
use protocols::libnest::{Portset, Reference, Result};

pub fn example() -> Result<()> {
    let (portset, granting) = (Portset::new()?, Reference::new()?);
    reference_grant(portset.reference().address(), granting.address())?;
    let (given, copied) = (granting.duplicate()?, granting.duplicate()?.duplicate()?);
    reference_revoke(granting.address())?;
    assert_eq!((given.check()?, copied.check()?), (None, None));
    // The object is still there.
    assert_eq!(portset.reference().check()?, Some(ObjectType::Portset));
    Ok(())
}
