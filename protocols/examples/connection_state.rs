use protocols::api::{ConnectionState, NativeState, Side};
use protocols::libc::system_call::connection::{thread_connect, thread_get_connection};
use protocols::libnest::{Result, Space, SpaceKind, Thread};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let client = Thread::native(&space, &NativeState::default())?;
    let server = Thread::native(&space, &NativeState::default())?;

    thread_connect(client.address(), server.address(), Side::Client, [true, false])?;
    let state = thread_get_connection(client.address(), Side::Client, 0)?;
    assert_eq!(state, ConnectionState { connected: 1, sends: 1, alerted: 1 });
    let state = thread_get_connection(server.address(), Side::Server, 0)?;
    assert_eq!(state, ConnectionState { connected: 1, sends: 0, alerted: 0 });
    Ok(())
}
