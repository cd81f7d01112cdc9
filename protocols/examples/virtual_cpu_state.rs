use protocols::libnest::{Result, Space, SpaceKind, Thread, micro_guest};
use protocols::virtual_cpu::{Groups, VirtualCpuState};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Machine, 48)?;
    let set = micro_guest::state();
    let cpu = Thread::virtual_cpu(&space, &set, Groups::VMCS | Groups::GENERAL)?;
    // Only what is asked for is read.
    let mut state = VirtualCpuState::zeroed();
    cpu.get_state(&mut state, Groups::INSTRUCTION | Groups::CONTROL)?;
    assert_eq!((state.rip, state.cr3, state.efer), (set.rip, set.cr3, 0));
    assert_eq!(state.valid, (Groups::INSTRUCTION | Groups::CONTROL).bits());
    Ok(())
}
