use protocols::api::NativeState;
use protocols::libc::system_call::{space_get_keeper, space_set_state};
use protocols::libnest::{Event, Result, Server, Space, SpaceKind, Thread};

pub fn example() -> Result<()> {
    let (space, mut server) = (Space::new(SpaceKind::Native, 16)?, Server::new()?);
    let (port, ticks) = (server.port(5)?, 1 << 32);
    space_set_state(space.address(), port.reference().address(), ticks)?;
    assert_eq!(space_get_keeper(space.address(), 0)?, ticks);
    // A thread that runs where there is nothing: the keeper hears of it.
    let thread = Thread::native(&space, &NativeState::default())?;
    thread.go()?;
    assert!(matches!(server.receive(None), Event::Exception { alias: 5, .. }));
    Ok(())
}
