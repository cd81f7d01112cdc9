use protocols::api::NativeState;
use protocols::libnest::{Result, Space, SpaceKind, Thread};
use protocols::native_thread::Waited;
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::RAX;

/// Destroys a thread, and makes another of what it was.
pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let mut state = NativeState { rip: 0x40_0000, ..NativeState::default() };
    state.gpr[RAX] = 7;
    let thread = Thread::native(&space, &state)?;
    let saved = thread.native_state()?;
    assert_eq!((saved.stopped, saved.waited), (1, Waited::Nothing as u64));
    assert!(Groups::from_bits_truncate(saved.valid).contains(NativeState::REGISTERS));
    drop(thread);
    let thread = Thread::native(&space, &saved)?;
    assert_eq!(thread.native_state()?.gpr[RAX], 7);
    Ok(())
}
