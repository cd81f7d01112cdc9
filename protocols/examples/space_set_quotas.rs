use protocols::api::Quotas;
use protocols::libc::system_call::{space_get_state, space_set_quotas};
use protocols::libnest::{Result, Space, SpaceKind, Status};

pub fn example() -> Result<()> {
    let space = Space::new(SpaceKind::Native, 16)?;
    // A quarter of the CPU, and more kernel memory.
    space_set_quotas(space.address(), Quotas { frames: 20, objects: Quotas::UNCHANGED, cpu: Quotas::WHOLE_CPU / 4 })?;
    let state = space_get_state(space.address())?;
    assert_eq!((state.allowance, state.objects, state.cpu), (20, Quotas::of_memory(16).objects, 250_000));
    // Less than it uses it cannot have.
    let nothing = Quotas { frames: 0, objects: 0, cpu: 0 };
    assert_eq!(space_set_quotas(space.address(), nothing), Err(Status::Refused));
    Ok(())
}
