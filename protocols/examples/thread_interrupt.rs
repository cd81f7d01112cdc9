use protocols::api::NativeState;
use protocols::libc::system_call::thread_interrupt;
use protocols::libnest::{Result, Space, SpaceKind, Thread};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let thread = Thread::native(&space, &NativeState::default())?;
    assert_eq!(thread_interrupt(thread.address(), 0x40)?, 0);
    assert_eq!(thread_interrupt(thread.address(), 0x41)?, 0x40);
    // Withdrawn.
    assert_eq!(thread_interrupt(thread.address(), 0)?, 0x41);
    assert_eq!(thread_interrupt(thread.address(), 0)?, 0);
    Ok(())
}
