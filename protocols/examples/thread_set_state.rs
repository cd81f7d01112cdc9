use protocols::api::NativeState;
use protocols::libnest::{Result, Run, Space, SpaceKind, Status, Thread};
use protocols::virtual_cpu::register::RAX;

/// A `Thread` makes the call.
pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let thread = Thread::native(&space, &NativeState::default())?;
    let mut state = NativeState { rip: 0x40_0000, ..NativeState::default() };
    state.gpr[RAX] = 7;
    thread.set_native_state(&state, Run::Unchanged)?;
    let set = thread.native_state()?;
    assert_eq!((set.rip, set.gpr[RAX], set.stopped), (0x40_0000, 7, 1));
    // No thread can be there.
    state.rip = 1 << 63;
    assert_eq!(thread.set_native_state(&state, Run::Unchanged), Err(Status::Refused));
    Ok(())
}
