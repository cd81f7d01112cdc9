use protocols::libc::system_call::reference_grant;
use protocols::libnest::{Portset, Reference, ReferenceRights, Result};

pub fn example() -> Result<()> {
    let (portset, granting) = (Portset::new()?, Reference::new()?);
    reference_grant(portset.reference().address(), granting.address())?;
    assert!(granting.rights()?.contains(ReferenceRights::REVOKE));
    // A copy to give away: it cannot revoke.
    let given = granting.duplicate()?;
    assert!(!given.rights()?.contains(ReferenceRights::REVOKE));
    Ok(())
}
