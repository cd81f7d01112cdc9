use protocols::api::{NativeState, Side};
use protocols::libc::system_call::connection::{thread_connect, thread_get_connection};
use protocols::libnest::{Result, Space, SpaceKind, Status, Thread};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let client = Thread::native(&space, &NativeState::default())?;
    let server = Thread::native(&space, &NativeState::default())?;

    thread_connect(client.address(), server.address(), Side::Server, [false, true])?;
    let state = thread_get_connection(server.address(), Side::Server, 0)?;
    assert_eq!((state.connected, state.sends, state.alerted), (1, 1, 1));
    // Each has one such connection at most.
    let again = thread_connect(client.address(), server.address(), Side::Server, [false; 2]);
    assert_eq!(again, Err(Status::Refused));
    Ok(())
}
