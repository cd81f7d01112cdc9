use protocols::api::ObjectType;
use protocols::libc::system_call::port_get_state;
use protocols::libnest::{Port, Portset, Reference, Result};

pub fn example() -> Result<()> {
    let (portset, reference) = (Portset::new()?, Reference::new()?);
    let port = Port::new(&portset, 5)?;
    assert_eq!(port_get_state(port.address(), reference.address())?, 5);
    assert_eq!(reference.check()?, Some(ObjectType::Portset));
    Ok(())
}
