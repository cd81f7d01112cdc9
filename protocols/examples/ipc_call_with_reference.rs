use protocols::api::{Call, ObjectType};
use protocols::libc::system_call::ipc_call_with_reference;
use protocols::libnest::{Peer, Portset, Reference, Result};

pub fn example() -> Result<()> {
    let (mut peer, portset) = (Peer::new()?, Portset::new()?);
    let (served, port) = peer.serves(5)?;
    let place = peer.holds(&Reference::new()?)?;
    // It takes a Reference, and gives it back.
    peer.begin(&[
        (Call::IpcWaitReceiveWithReference, &[served, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, place]),
        (Call::IpcReplyWithReference, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, place]),
    ])?;
    let (mut message, back) = ([0; 8], Reference::new()?);
    let came = ipc_call_with_reference(port.address(), &mut message, portset.reference().address(), back.address())?;
    assert_eq!((came, message[0], back.check()?), (true, 1, Some(ObjectType::Portset)));
    Ok(())
}
