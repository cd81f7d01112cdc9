use protocols::api::{NativeState, Side};
use protocols::libc::system_call::connection::{thread_connect, thread_get_connection, thread_move_connection};
use protocols::libnest::{Result, Space, SpaceKind, Status, Thread};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let client = Thread::native(&space, &NativeState::default())?;
    let server = Thread::native(&space, &NativeState::default())?;

    let another = Thread::native(&space, &NativeState::default())?;
    thread_connect(client.address(), server.address(), Side::Client, [false; 2])?;
    thread_move_connection(server.address(), another.address(), Side::Server)?;
    assert_eq!(thread_get_connection(another.address(), Side::Server, 0)?.connected, 1);
    let again = thread_move_connection(server.address(), another.address(), Side::Server);
    assert_eq!(again, Err(Status::NotFound));
    Ok(())
}
