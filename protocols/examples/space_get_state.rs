use protocols::libc::system_call::space_get_state;
use protocols::libnest::{Result, Space, SpaceKind};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    let state = space_get_state(space.address())?;
    assert_eq!((state.kind, state.allowance), (SpaceKind::Native as u64, 16));
    // Its tables come out of it.
    assert!(state.used > 0 && state.used <= 16);
    Ok(())
}
