//! Scenarios of Mappings, Regions and Spaces.

use alloc::vec;
use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MappingState, MutexState, ObjectType, RegionState, Rights, SpaceKind};
use protocols::libc::system_call;
use protocols::libnest::objects;
use protocols::policy::{self, CpuidEntry};
use zerocopy::FromZeros;

use super::ipc;
use super::objects::{A, B, CLIENT, KEEPER, MAPPING, R, R2, R3, REGION};
use super::plan::{DATA, IN, KEPT, OUT, Plan, STRUCTURES, Step, object};
use super::scene::Scene;
use crate::harness::Verdict;

const BOTH: Rights = Rights::READ.union(Rights::WRITE);

/// Has Reference `place` link to the victim's Space.
fn home(scene: &Scene<'_>, place: u64) -> Verdict {
    scene.reference(place)?;
    Ok(system_call::reference_copy(scene.home().reference().address(), scene.own(place))?)
}

/// Of a Region, into the victim's own Space.
pub fn mapping_set_state(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        objects::create_region_in(scene.memory(), REGION, [OUT, PAGE_SIZE], Rights::all(), None)?;
        scene.reference(R)?;
        system_call::region_reference(scene.own(REGION), scene.own(R))?;
        home(scene, R2)?;
        system_call::mapping_create(scene.own(A))?;
        let state = MappingState { offset: 0, start: KEPT, size: PAGE_SIZE, rights: BOTH.bits() };
        Ok(scene.memory().write(STRUCTURES, &state)?)
    };
    // What it shows is there.
    let steps = vec![
        Step::new(call, &[A, STRUCTURES, R, R2]),
        Step::new(Call::MappingGetState, &[A, KEPT]),
        Step::new(call, &[A, KEPT]),
    ];
    vec![Plan::new(call, steps, setup).moving()]
}

/// Of a copy-on-write Mapping, what was copied of which is written to a page that this copies.
pub fn mapping_copied(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        objects::create_region_in(scene.memory(), REGION, [OUT, PAGE_SIZE], Rights::all(), None)?;
        objects::create_region_in(scene.memory(), B, [IN, PAGE_SIZE], Rights::all(), None)?;
        for (region, reference) in [(REGION, R), (B, R3)] {
            scene.reference(reference)?;
            system_call::region_reference(scene.own(region), scene.own(reference))?;
        }
        home(scene, R2)?;
        system_call::mapping_create(scene.own(A))?;
        let state = MappingState { offset: 0, start: KEPT, size: PAGE_SIZE, rights: BOTH.bits() };
        scene.memory().write(STRUCTURES, &state)?;
        Ok(scene.memory().write(STRUCTURES + 0x100, &1u64)?)
    };
    let steps = vec![
        Step::new(Call::MappingSetState, &[A, STRUCTURES, R, R2, R3]),
        Step::new(Call::MappingGetCopied, &[A, 0, KEPT, 1]),
        Step::new(Call::MappingSetCopied, &[A, 0, STRUCTURES + 0x108, 1]),
        Step::new(Call::MappingGetCopied, &[A, 0, STRUCTURES + 0x110, 1]),
        Step::new(Call::MappingSetCopied, &[A, 0, STRUCTURES + 0x100, 1]),
        Step::new(Call::MappingGetCopied, &[A, 0, KEPT + 8, 1]),
    ];
    vec![Plan::new(call, steps, setup).moving()]
}

/// Of the victim's own Space, with a keeper.
pub fn region_set_state(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.port()?;
        home(scene, R)?;
        system_call::region_create(scene.own(A))?;
        let state = RegionState { start: OUT, size: PAGE_SIZE, rights: BOTH.bits() };
        Ok(scene.memory().write(STRUCTURES, &state)?)
    };
    vec![Plan::one(call, &[A, STRUCTURES, R, CLIENT], setup)]
}

/// Of a Region that appears somewhere, or of the Mapping by which it does: less, and more.
pub fn protect(call: Call) -> Vec<Plan> {
    let limited = if call == Call::MappingProtect { MAPPING } else { REGION };
    let steps = vec![
        Step::new(Call::MutexGetState, &[A, KEPT]),
        Step::new(call, &[limited, Rights::READ.bits()]),
        Step::new(call, &[limited, BOTH.bits()]),
        Step::new(Call::MutexGetState, &[A, KEPT + 8]),
    ];
    let setup = |scene: &Scene<'_>, _| {
        scene.make(ObjectType::Mutex, A)?;
        scene.keep(REGION, Rights::all(), 0, MAPPING, scene.home())
    };
    vec![Plan::new(call, steps, setup).moving()]
}

/// Of the page of objects.
pub fn region_search(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        objects::create_region_in(scene.memory(), object(20), [DATA, PAGE_SIZE], Rights::all(), None)?;
        scene.make(ObjectType::Mutex, object(30))
    };
    let search = |from| Step::new(call, &[object(20), from]);
    vec![Plan::new(call, vec![search(0), search(20 * 64 + 1), search(31 * 64)], setup)]
}

/// Of many pages in which there is nothing: the call is made again and again.
pub fn long_searches() -> Vec<Plan> {
    const SIZE: u64 = 700 * PAGE_SIZE;
    let setup = |scene: &Scene<'_>, _| {
        // A Region of a Space that shows nothing, a Mapping of it into the victim's, a Region of that.
        scene.make(ObjectType::Space, B)?;
        scene.reference(R)?;
        scene.reference(R3)?;
        system_call::space_reference(scene.own(B), scene.own(R))?;
        home(scene, R2)?;
        for place in [A, REGION] {
            system_call::region_create(scene.own(place))?;
        }
        system_call::region_reference(scene.own(A), scene.own(R3))?;
        system_call::mapping_create(scene.own(MAPPING))?;
        let region = RegionState { start: KEPT, size: SIZE, rights: Rights::all().bits() };
        scene.memory().write(STRUCTURES, &region)?;
        let mapping = MappingState { offset: 0, start: KEPT, size: SIZE, rights: Rights::all().bits() };
        Ok(scene.memory().write(STRUCTURES + 0x100, &mapping)?)
    };
    let steps = vec![
        Step::new(Call::RegionSetState, &[A, STRUCTURES, R]),
        Step::new(Call::MappingSetState, &[MAPPING, STRUCTURES + 0x100, R3, R2]),
        Step::new(Call::RegionSetState, &[REGION, STRUCTURES, R2]),
        Step::new(Call::RegionSearch, &[REGION, 0]),
    ];
    vec![Plan::new(Call::RegionSearch, steps, setup)]
}

/// A tracked Region A of two pages, both of which were written.
fn tracked(scene: &Scene<'_>, call: Call) -> Verdict {
    objects::create_region_in(scene.memory(), A, [IN, 2 * PAGE_SIZE], Rights::all(), None)?;
    if call != Call::RegionTrack {
        system_call::region_track(scene.own(A), true)?;
        system_call::region_set_dirty(scene.own(A), 0, 2 * PAGE_SIZE)?;
    }
    Ok(())
}

/// What a Region A remembers, reported to `place`.
fn report(place: u64) -> Step {
    Step::new(Call::RegionGetDirty, &[A, 0, place, place + 0x100, 2 * PAGE_SIZE])
}

/// On, and off.
pub fn region_track(call: Call) -> Vec<Plan> {
    let steps = vec![Step::new(call, &[A, 1]), report(STRUCTURES), Step::new(call, &[A, 0])];
    vec![Plan::new(call, steps, tracked)]
}

/// Twice: nothing is forgotten that was not reported, nor reported again; to memory that a keeper supplies.
pub fn region_get_dirty(call: Call) -> Vec<Plan> {
    let to_kept = |scene: &Scene<'_>, call| {
        tracked(scene, call)?;
        scene.kept()
    };
    vec![
        Plan::new(call, vec![report(STRUCTURES), report(STRUCTURES + 0x100)], tracked),
        Plan::new(call, vec![report(KEPT), report(KEPT + 0x100)], to_kept).moving().after(ipc::keeper()),
    ]
}

/// What is set is reported.
pub fn region_set_dirty(call: Call) -> Vec<Plan> {
    let steps = vec![report(STRUCTURES), Step::new(call, &[A, PAGE_SIZE, 2 * PAGE_SIZE]), report(STRUCTURES + 0x100)];
    vec![Plan::new(call, steps, tracked)]
}

/// The keeper, and how long threads wait for it.
pub fn space_set_state(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.port()?;
        scene.make(ObjectType::Space, A)
    };
    vec![Plan::one(call, &[A, CLIENT, 0x7_7777], setup)]
}

/// The quotas of a Space that the victim has created.
pub fn space_set_quotas(call: Call) -> Vec<Plan> {
    let steps = vec![Step::new(Call::SpaceCreate, &[A, 0, 8, 4]), Step::new(call, &[A, 9, 5, 1000])];
    vec![Plan::new(call, steps, |_: &Scene<'_>, _| Ok(()))]
}

/// The CPUID table of a machine.
pub fn space_set_policy(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        system_call::space_create(scene.own(A), SpaceKind::Machine, 24.into())?;
        let entry = CpuidEntry { leaf: 1, eax: 5, ..CpuidEntry::new_zeroed() };
        Ok(scene.memory().write(STRUCTURES, &[entry, entry])?)
    };
    vec![Plan::one(call, &[A, policy::Kind::Cpuid as u64, STRUCTURES, 2], setup)]
}

/// A structure that a call writes, then reads, is missing each time: a keeper supplies the memory.
pub fn faults_in_structures() -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.make(ObjectType::Mutex, A)?;
        scene.make(ObjectType::Mutex, B)?;
        system_call::mutex_set_state(scene.own(A), &MutexState { owner: 0x40 })?;
        scene.kept()
    };
    let steps = vec![
        Step::new(Call::MutexGetState, &[A, KEPT]),
        Step::new(Call::RegionProtect, &[REGION, 0]),
        Step::new(Call::MutexSetState, &[B, KEPT]),
    ];
    let plan = || Plan::new(Call::MutexGetState, steps.clone(), setup).moving();
    vec![plan().after(ipc::keeper()), plan().beside(ipc::keeper()), plan().after(ipc::keeper()).cold()]
}

/// A word that the victim reads is missing: a keeper supplies the memory.
pub fn faults_of_instructions() -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.memory().write(OUT + 0x18, &0x1234_5678_9abc_u64)?;
        scene.kept()
    };
    let read = || vec![Step::read(KEPT + 0x18)];
    let plan = || Plan::new(Call::RegionProtect, read(), setup).moving();
    vec![plan().after(ipc::keeper()), plan().beside(ipc::keeper()), plan().after(ipc::keeper()).cold()]
}

/// The victim is the keeper: of the memory of a thread that reads, and that makes a call.
pub fn keepers() -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.memory().write(OUT + 0x18, &0x1234_5678_9abc_u64)?;
        scene.make(ObjectType::Mutex, A)?;
        scene.keepers()?;
        scene.keep(REGION, Rights::empty(), KEEPER, MAPPING, &scene.native)
    };
    let [receive, supply, reply] = ipc::supplying();
    let plan = |partner| {
        Plan::new(Call::IpcReply, vec![receive.clone(), supply.clone(), reply.clone()], setup).moving().beside(partner)
    };
    vec![plan(vec![Step::read(KEPT + 0x18)]), plan(vec![Step::new(Call::MutexGetState, &[A, KEPT + 0x20])])]
}
