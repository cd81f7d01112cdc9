use protocols::api::Call;
use protocols::libc::system_call::portset_destroy;
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, _port) = peer.serves(5)?;
    peer.begin(&[(Call::IpcWaitReceive, &[portset])])?;
    portset_destroy(peer.own(portset))?;
    assert!(peer.finish()?[0].is(Status::InvalidDestination));
    Ok(())
}
