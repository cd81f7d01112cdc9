use protocols::api::SpaceState;
use protocols::libnest::{Result, Space, SpaceKind};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Machine, 48)?;
    let state: SpaceState = space.state()?;
    assert_eq!((state.kind, state.allowance), (SpaceKind::Machine as u64, 48));
    // A machine begins with tables of its own.
    assert!(state.used > 0 && state.used < 48);
    Ok(())
}
