use protocols::libnest::{Result, Space, SpaceKind, Status};
use protocols::policy::{Controls, CpuidEntry};

/// The typed forms make the call.
pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Machine, 48)?;
    // Ring 0 of the machine may make calls.
    space.set_controls(&Controls { flags: Controls::VMCALL, ..Controls::default() })?;
    space.set_cpuid(&[CpuidEntry { leaf: 0, subleaf: CpuidEntry::ANY, eax: 1, ..CpuidEntry::default() }])?;
    let nonsense = Controls { flags: 1 << 31, ..Controls::default() };
    assert_eq!(space.set_controls(&nonsense), Err(Status::Refused));
    Ok(())
}
