use protocols::api::ObjectType;
use protocols::libc::system_call::reference_copy;
use protocols::libnest::{Portset, Reference, Result};

pub fn example() -> Result<()> {
    let (portset, copy) = (Portset::new()?, Reference::new()?);
    reference_copy(portset.reference().address(), copy.address())?;
    assert_eq!(copy.check()?, Some(ObjectType::Portset));
    // What links to nothing can be copied too.
    reference_copy(Reference::new()?.address(), copy.address())?;
    assert_eq!(copy.check()?, None);
    Ok(())
}
