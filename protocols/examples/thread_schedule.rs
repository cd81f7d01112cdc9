use protocols::api::{Call, Sensitivity};
use protocols::libc::system_call::{Scheduled, thread_schedule};
use protocols::libnest::{Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, _port) = peer.serves(5)?;
    // It has donated time only, until it waits.
    peer.thread().set_scheduler(None, 7)?;
    peer.begin(&[(Call::IpcWaitReceive, &[portset])])?;
    let ended = thread_schedule(peer.thread().address(), 0, Sensitivity::Block, 0);
    assert!(matches!(ended, Scheduled::Ended { status: Status::Blocked, value: 7, .. }));
    assert!(peer.thread().time_used()? > 0);
    Ok(())
}
