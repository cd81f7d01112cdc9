use protocols::api::Quotas;
use protocols::libc::system_call::{space_create, space_destroy, space_get_state};
use protocols::libnest::place::Place;
use protocols::libnest::{Result, SpaceKind, Status};

pub fn example() -> Result<()> {
    let space = Place::allocate()?;
    space_create(space.address(), SpaceKind::Native, Quotas { frames: 16, objects: 100, cpu: Quotas::WHOLE_CPU / 10 })?;
    let state = space_get_state(space.address())?;
    assert_eq!((state.allowance, state.objects, state.cpu), (16, 100, 100_000));
    // The program's own kernel memory does not suffice for that.
    let another = Place::allocate()?;
    assert_eq!(
        space_create(another.address(), SpaceKind::Native, Quotas { frames: u64::MAX, ..Quotas::default() }),
        Err(Status::NoMemory)
    );
    space_destroy(space.address())
}
