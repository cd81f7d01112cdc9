use protocols::api::{Call, NativeState, ObjectType};
use protocols::libnest::{Peer, Reference, Result};
use protocols::native_thread::Waited;
use protocols::virtual_cpu::register::RAX;

/// A `Thread` makes the call.
pub fn example() -> Result<()> {
    let (mut peer, waited_for) = (Peer::new()?, Reference::new()?);
    let (portset, _port) = peer.serves(5)?;
    peer.begin(&[(Call::IpcWaitReceive, &[portset])])?;
    let mut state = NativeState::default();
    peer.thread().get_waiting_state(&mut state, NativeState::REGISTERS, &waited_for)?;
    // It is stopped, about to make its call.
    assert_eq!((state.stopped, state.waited), (1, Waited::Message as u64));
    assert_eq!(state.gpr[RAX], Call::IpcWaitReceive as u64);
    assert_eq!(waited_for.check()?, Some(ObjectType::Portset));
    Ok(())
}
