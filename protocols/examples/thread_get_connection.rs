use protocols::api::{NativeState, ObjectType, Side};
use protocols::libc::system_call::connection::{thread_connect, thread_get_connection};
use protocols::libnest::{Reference, Result, Space, SpaceKind, Thread};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let client = Thread::native(&space, &NativeState::default())?;
    let server = Thread::native(&space, &NativeState::default())?;

    let peer = Reference::new()?;
    thread_connect(client.address(), server.address(), Side::Client, [false; 2])?;
    let state = thread_get_connection(client.address(), Side::Client, peer.address())?;
    assert_eq!((state.connected, state.sends, peer.check()?), (1, 1, Some(ObjectType::Thread)));
    // It is no server.
    assert_eq!(thread_get_connection(client.address(), Side::Server, 0)?.connected, 0);
    Ok(())
}
