//! The measured calls.

use crate::connections;
use crate::partner::Partner;
use crate::script::{self, Entry};
use crate::suite::{Failure, ITERATIONS, Result, Suite};
use alloc::format;
use protocols::address::PAGE_SIZE;
use protocols::api::{
    Call, MappingState, NativeState, OBJECT_SIZE, Quotas, ReferenceRights, RegionState, Rights, SpaceKind, Status,
};
use protocols::libc::system_call;
use protocols::libnest::{Memory, Port, Reference, Region, Server, Space, Thread};
use protocols::policy::{Kind, MsrEntry};

/// Places for objects that scripts create, one for each iteration of both runs.
const PLACES: u64 = 2 * ITERATIONS + 1;
/// How many Spaces are made, which take pages each.
const SPACES: u64 = 8;
const GENERAL: u64 = NativeState::REGISTERS.bits();

/// Objects that calls are measured with.
pub struct Scene {
    /// What receives in the program itself.
    pub server: Server,
    /// A Port of it.
    _port: Port,
    /// A Reference to that.
    pub to_port: Reference,
    /// Of no other use than to be pointed at something.
    pub spare: Reference,
    /// Places for objects.
    places: Memory,
    /// For states that are read and written.
    state: Memory,
    /// Something to show.
    region: Region,
    /// Where it is shown.
    space: Space,
    /// A thread in that Space, stopped.
    thread: Thread,
}

impl Scene {
    /// All of it.
    pub fn new() -> Result<Self> {
        let server = Server::new()?;
        let port = server.port(7)?;
        let to_port = port.reference().duplicate()?;
        let places = Memory::allocate((PLACES + 1) * OBJECT_SIZE).ok_or(Status::NoMemory)?;
        let state = Memory::allocate(2 * PAGE_SIZE).ok_or(Status::NoMemory)?;
        let region = Region::new(&state, 0, PAGE_SIZE, Rights::READ)?;
        let space = Space::new(SpaceKind::Native, 16)?;
        let thread = Thread::native(&space, &NativeState::default())?;
        Ok(Self { server, _port: port, to_port, spare: Reference::new()?, places, state, region, space, thread })
    }

    fn first(&self) -> u64 {
        self.places.address()
    }

    fn state(&self) -> u64 {
        self.state.address()
    }
}

/// The calls that all types have.
struct Common {
    create: Call,
    destroy: Call,
    shift: Call,
    reference: Option<Call>,
}

/// Measures every call.
pub fn measure(suite: &mut Suite<'_>) -> Result<()> {
    let scene = Scene::new()?;
    mutexes(suite, &scene)?;
    conditions(suite, &scene)?;
    mappings(suite, &scene)?;
    regions(suite, &scene)?;
    ports(suite, &scene)?;
    spaces(suite, &scene)?;
    threads(suite, &scene)?;
    references(suite, &scene)?;
    messages(suite, &scene)?;
    connections::measure(suite, &scene)?;
    complete(suite)
}

/// Measures `create`, then what `own` measures with the objects at the places, then the other calls that all types have.
fn object(
    suite: &mut Suite<'_>,
    scene: &Scene,
    calls: &Common,
    arguments: &[u64],
    iterations: u64,
    own: impl FnOnce(&mut Suite<'_>, u64) -> Result<()>,
) -> Result<()> {
    let first = scene.first();
    let each = |call, arguments: &[u64]| {
        let all: alloc::vec::Vec<_> = [first].into_iter().chain(arguments.iter().copied()).collect();
        Entry::new(call).with(&all).step(OBJECT_SIZE, 0)
    };
    let cost = suite.cost_of(&[each(calls.create, arguments)], iterations)?;
    suite.print(calls.create, cost);
    own(suite, first)?;
    if let Some(call) = calls.reference {
        suite.measure(call, Entry::new(call).with(&[first, scene.spare.address()]))?;
    }
    let end = first + PLACES * OBJECT_SIZE;
    let shift = |from, to| Entry::new(calls.shift).with(&[from, to]);
    let cost = suite.cost(&[shift(first, end), shift(end, first)])?;
    suite.print(calls.shift, cost.each(2));
    let cost = suite.cost_of(&[each(calls.destroy, &[])], iterations)?;
    suite.print(calls.destroy, cost);
    Ok(())
}

fn mutexes(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::MutexCreate,
        destroy: Call::MutexDestroy,
        shift: Call::MutexMove,
        reference: Some(Call::MutexReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        let state = scene.state() + PAGE_SIZE;
        scene.state.write(PAGE_SIZE, &0u64)?;
        suite.measure(Call::MutexGetState, Entry::new(Call::MutexGetState).with(&[first, state]))?;
        suite.measure(Call::MutexSetState, Entry::new(Call::MutexSetState).with(&[first, state]))?;
        for call in [Call::MutexLock, Call::MutexUnlock, Call::MutexTrylock] {
            suite.measure(call, Entry::new(call).with(&[first]).step(OBJECT_SIZE, 0))?;
        }
        Ok(())
    })
}

fn conditions(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::CondCreate,
        destroy: Call::CondDestroy,
        shift: Call::CondMove,
        reference: Some(Call::CondReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        for call in [Call::CondGetState, Call::CondSetState, Call::CondSignal, Call::CondBroadcast] {
            suite.measure(call, Entry::new(call).with(&[first]))?;
        }
        Ok(())
    })?;
    wait_in_turns(suite)
}

/// Two threads that signal each other and wait, in turns: one iteration is two signals and two waits, with both switches.
fn wait_in_turns(suite: &mut Suite<'_>) -> Result<()> {
    let partner = Partner::new()?;
    let [mutex, own, others] = [0, 1, 2].map(|number| partner.object(number));
    suite.cost_of(&[Entry::new(Call::MutexCreate).with(&[mutex]).step(8 * OBJECT_SIZE, 0)], 1)?;
    for cond in [own, others] {
        system_call::cond_create(cond)?;
    }
    system_call::mutex_lock(mutex, 0)?;
    let turn = |mutex, signalled, waited| {
        [Entry::new(Call::CondSignal).with(&[signalled]), Entry::new(Call::CondWait).with(&[waited, mutex])]
    };
    let [their_mutex, theirs_own, theirs] = [0, 1, 2].map(|number| partner.sees(number));
    let first = [Entry::new(Call::MutexLock).with(&[their_mutex])];
    let cost =
        suite.cost_with(&[], &turn(mutex, others, own), &partner, &first, &turn(their_mutex, theirs_own, theirs))?;
    suite.print(Call::CondWait, cost.each(2));
    for cond in [own, others] {
        system_call::cond_destroy(cond)?;
    }
    for mutex in [mutex, mutex + 8 * OBJECT_SIZE] {
        system_call::mutex_destroy(mutex)?;
    }
    Ok(())
}

fn mappings(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::MappingCreate,
        destroy: Call::MappingDestroy,
        shift: Call::MappingMove,
        reference: Some(Call::MappingReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        let states = [PAGE_SIZE, PAGE_SIZE + 0x100];
        for (offset, start) in states.into_iter().zip([0x40_0000, 0x50_0000]) {
            let state = MappingState { offset: 0, start, size: PAGE_SIZE, rights: Rights::READ.bits() };
            scene.state.write(offset, &state)?;
        }
        let [region, space] = [scene.region.reference().address(), scene.space.reference().address()];
        let to = |state, region, space| {
            Entry::new(Call::MappingSetState).with(&[first, scene.state() + state, region, space])
        };
        suite.cost_of(&[to(states[0], region, space)], 1)?;
        let cost = suite.cost(&[to(states[1], 0, 0), to(states[0], 0, 0)])?;
        suite.print(Call::MappingSetState, cost.each(2));
        let state = scene.state() + PAGE_SIZE;
        let protect = |rights: Rights| Entry::new(Call::MappingProtect).with(&[first, rights.bits()]);
        let cost = suite.cost(&[protect(Rights::empty()), protect(Rights::READ)])?;
        suite.print(Call::MappingProtect, cost.each(2));
        suite.measure(Call::MappingGetState, Entry::new(Call::MappingGetState).with(&[first, state]))?;
        let shadow = Region::new(&scene.state, 0, PAGE_SIZE, Rights::READ | Rights::WRITE)?;
        suite.cost_of(
            &[Entry::new(Call::MappingSetState).with(&[first, 0, region, space, shadow.reference().address()])],
            1,
        )?;
        scene.state.write(PAGE_SIZE, &1u64)?;
        copied(suite, first, state)
    })
}

/// Of a page that counts as copied, or is said to.
fn copied(suite: &mut Suite<'_>, mapping: u64, words: u64) -> Result<()> {
    let set = Entry::new(Call::MappingSetCopied).with(&[mapping, 0, words, 1]);
    suite.measure(Call::MappingSetCopied, set)?;
    suite.measure(Call::MappingGetCopied, Entry::new(Call::MappingGetCopied).with(&[mapping, 0, words, 1]))?;
    Ok(())
}

fn regions(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::RegionCreate,
        destroy: Call::RegionDestroy,
        shift: Call::RegionMove,
        reference: Some(Call::RegionReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        let state = scene.state() + PAGE_SIZE;
        let pages = scene.places.size();
        let value = RegionState { start: scene.first(), size: pages, rights: Rights::READ.bits() };
        scene.state.write(PAGE_SIZE, &value)?;
        suite.measure(Call::RegionSetState, Entry::new(Call::RegionSetState).with(&[first, state]))?;
        suite.measure(Call::RegionGetState, Entry::new(Call::RegionGetState).with(&[first, state]))?;
        suite.measure(Call::RegionSearch, Entry::new(Call::RegionSearch).with(&[first, 0]))?;
        let protect = |rights: Rights| Entry::new(Call::RegionProtect).with(&[first, rights.bits()]);
        let cost = suite.cost(&[protect(Rights::empty()), protect(Rights::READ)])?;
        suite.print(Call::RegionProtect, cost.each(2));
        tracking(suite, first, state)?;
        Ok(())
    })
}

/// Of a page that is written, or said to be, each time.
fn tracking(suite: &mut Suite<'_>, region: u64, ranges: u64) -> Result<()> {
    let track = |on| Entry::new(Call::RegionTrack).with(&[region, on]);
    let cost = suite.cost(&[track(1), track(0)])?;
    suite.print(Call::RegionTrack, cost.each(2));
    system_call::region_track(region, true)?;
    let set = Entry::new(Call::RegionSetDirty).with(&[region, 0, PAGE_SIZE]);
    let setting = suite.measure(Call::RegionSetDirty, set)?;
    let get = Entry::new(Call::RegionGetDirty).with(&[region, 0, ranges, ranges + 64, PAGE_SIZE]);
    let cost = suite.cost(&[set, get])?;
    suite.print(Call::RegionGetDirty, cost.less(setting));
    Ok(system_call::region_track(region, false)?)
}

fn ports(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::PortCreate,
        destroy: Call::PortDestroy,
        shift: Call::PortMove,
        reference: Some(Call::PortReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        suite.measure(Call::PortSetState, Entry::new(Call::PortSetState).with(&[first, 1]))?;
        suite.measure(Call::PortGetState, Entry::new(Call::PortGetState).with(&[first]))?;
        Ok(())
    })?;
    let calls = Common {
        create: Call::PortsetCreate,
        destroy: Call::PortsetDestroy,
        shift: Call::PortsetMove,
        reference: Some(Call::PortsetReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        for call in [Call::PortsetGetState, Call::PortsetSetState] {
            suite.measure(call, Entry::new(call).with(&[first]))?;
        }
        Ok(())
    })
}

fn spaces(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::SpaceCreate,
        destroy: Call::SpaceDestroy,
        shift: Call::SpaceMove,
        reference: Some(Call::SpaceReference),
    };
    object(suite, scene, &calls, &[SpaceKind::Native as u64, 4], SPACES, |suite, first| {
        let state = scene.state() + PAGE_SIZE;
        suite.measure(Call::SpaceGetState, Entry::new(Call::SpaceGetState).with(&[first, state]))?;
        suite.measure(Call::SpaceSetState, Entry::new(Call::SpaceSetState).with(&[first, 0, 1 << 40]))?;
        let unchanged = Quotas::UNCHANGED;
        let quotas = Entry::new(Call::SpaceSetQuotas).with(&[first, unchanged, unchanged, unchanged]);
        suite.measure(Call::SpaceSetQuotas, quotas)?;
        let machine = Space::new(SpaceKind::Machine, 32)?;
        scene.state.write(PAGE_SIZE, &MsrEntry { msr: 0x10, mode: MsrEntry::CONSTANT, value: 5 })?;
        let policy = Entry::new(Call::SpaceSetPolicy).with(&[machine.address(), Kind::Msr as u64, state, 1]);
        suite.measure(Call::SpaceSetPolicy, policy)?;
        Ok(())
    })
}

fn threads(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::ThreadCreate,
        destroy: Call::ThreadDestroy,
        shift: Call::ThreadMove,
        reference: Some(Call::ThreadReference),
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        let state = scene.state() + PAGE_SIZE;
        suite.measure(Call::ThreadGetState, Entry::new(Call::ThreadGetState).with(&[first, state, GENERAL]))?;
        suite.measure(Call::ThreadSetState, Entry::new(Call::ThreadSetState).with(&[first, state, GENERAL]))?;
        let scheduler = scene.to_port.address();
        suite.measure(Call::ThreadSetScheduler, Entry::new(Call::ThreadSetScheduler).with(&[first, scheduler, 3]))?;
        suite.measure(Call::ThreadGetScheduler, Entry::new(Call::ThreadGetScheduler).with(&[first]))?;
        suite.measure(
            Call::ThreadGetConnection,
            Entry::new(Call::ThreadGetConnection).with(&[first, 0, state]).returns(Status::NotFound),
        )?;
        // Each thread is the client of the next.
        let connect = Entry::new(Call::ThreadConnect).with(&[first, first + OBJECT_SIZE]);
        let last = first + 2 * ITERATIONS * OBJECT_SIZE;
        system_call::thread_create(last)?;
        suite.measure(Call::ThreadConnect, connect.step(OBJECT_SIZE, OBJECT_SIZE))?;
        let shift = |from, to| Entry::new(Call::ThreadMoveConnection).with(&[from, to, 0]);
        let cost = suite.cost(&[shift(first, last), shift(last, first)])?;
        suite.print(Call::ThreadMoveConnection, cost.each(2));
        Ok(system_call::thread_destroy(last)?)
    })?;
    let interrupt = Entry::new(Call::ThreadInterrupt).with(&[scene.thread.address(), 32]);
    suite.measure(Call::ThreadInterrupt, interrupt)?;
    for call in [Call::ThreadSelf, Call::ThreadSetExceptions, Call::ThreadSetHandlers, Call::ThreadRedirect] {
        suite.measure(call, Entry::new(call))?;
    }
    suite.measure(Call::ThreadSchedule, Entry::new(Call::ThreadSchedule))?;
    suite.measure(Call::ThreadGetSaved, Entry::new(Call::ThreadGetSaved))?;
    // What goes on then is the script, after the call.
    let saved = Entry::new(Call::ThreadSetSaved).with(&[0, 0, 0, script::returned(), 2]);
    let set = suite.measure(Call::ThreadSetSaved, saved)?;
    let cost = suite.cost(&[saved, Entry::new(Call::ThreadReturnFromException)])?;
    suite.print(Call::ThreadReturnFromException, cost.less(set));
    Ok(())
}

fn references(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let calls = Common {
        create: Call::ReferenceCreate,
        destroy: Call::ReferenceDestroy,
        shift: Call::ReferenceMove,
        reference: None,
    };
    object(suite, scene, &calls, &[], ITERATIONS, |suite, first| {
        let from = scene.to_port.address();
        suite.measure(Call::ReferenceCopy, Entry::new(Call::ReferenceCopy).with(&[from, first]))?;
        suite.measure(Call::ReferenceCheck, Entry::new(Call::ReferenceCheck).with(&[first]))?;
        let rights = ReferenceRights::all().bits();
        suite.measure(Call::ReferenceRestrict, Entry::new(Call::ReferenceRestrict).with(&[from, first, rights]))?;
        let grant = Entry::new(Call::ReferenceGrant).with(&[from, first]).step(0, OBJECT_SIZE);
        suite.measure(Call::ReferenceGrant, grant)?;
        let revoke = Entry::new(Call::ReferenceRevoke).with(&[first]).step(OBJECT_SIZE, 0);
        suite.measure(Call::ReferenceRevoke, revoke)?;
        Ok(())
    })
}

fn messages(suite: &mut Suite<'_>, scene: &Scene) -> Result<()> {
    let send = Entry::new(Call::IpcSend).with(&[scene.to_port.address(), 1]);
    let sending = suite.measure(Call::IpcSend, send)?;
    let portset = scene.server.portset().address();
    for call in [Call::IpcReply, Call::IpcReplyWithReference] {
        suite.measure(call, Entry::new(call).returns(Status::Disconnected))?;
    }
    for call in [
        Call::IpcWaitReceive,
        Call::IpcReplyWaitReceive,
        Call::IpcWaitReceiveWithReference,
        Call::IpcReplyWaitReceiveWithReference,
    ] {
        let cost = suite.cost(&[send, Entry::new(call).with(&[portset])])?;
        suite.print(call, cost.less(sending));
    }

    // Both ways a Reference goes with the message, and one is taken.
    let partner = Partner::new()?;
    let call = Serving::new(&partner)?;
    let serve = Entry::new(Call::IpcReplyWaitReceive).with(&[partner.sees(0)]);
    let entry = Entry::new(Call::IpcCall).with(&[call.port.address()]);
    let cost = suite.cost_with(&[], &[entry], &partner, &[], &[serve])?;
    suite.print(Call::IpcCall, cost);
    let [sent, taken] = [partner.sees(2), partner.sees(3)];
    let serve = Entry::new(Call::IpcReplyWaitReceiveWithReference).with(&[partner.sees(0)]).references(sent, taken);
    let (sent, taken) = (scene.to_port.address(), scene.spare.address());
    let entry = Entry::new(Call::IpcCallWithReference).with(&[call.port.address()]).references(sent, taken);
    let cost = suite.cost_with(&[], &[entry], &partner, &[], &[serve])?;
    suite.print(Call::IpcCallWithReference, cost);
    Ok(())
}

/// Objects in a partner's memory by which it serves: a Portset, a Port in it, two References.
pub struct Serving<'a> {
    partner: &'a Partner,
    /// Links to the Port.
    pub port: Reference,
}

impl<'a> Serving<'a> {
    /// Makes them.
    pub fn new(partner: &'a Partner) -> Result<Self> {
        let [portset, port, sent, taken] = [0, 1, 2, 3].map(|number| partner.object(number));
        system_call::portset_create(portset)?;
        system_call::port_create(port)?;
        for reference in [sent, taken] {
            system_call::reference_create(reference)?;
        }
        let link = Reference::new()?;
        system_call::portset_reference(portset, link.address())?;
        system_call::port_set_state(port, 1, link.address())?;
        system_call::port_reference(port, link.address())?;
        system_call::port_reference(port, sent)?;
        Ok(Self { partner, port: link })
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // All of them were created by `new`.
        let [portset, port, sent, taken] = [0, 1, 2, 3].map(|number| self.partner.object(number));
        let _ = system_call::port_destroy(port);
        let _ = system_call::portset_destroy(portset);
        for reference in [sent, taken] {
            let _ = system_call::reference_destroy(reference);
        }
    }
}

/// Fails unless every call there is was measured.
fn complete(suite: &Suite<'_>) -> Result<()> {
    let missing = (0..0x1000u64).filter_map(|number| zerocopy::try_transmute!(number).ok());
    match missing.into_iter().find(|call: &Call| !suite.measured().contains(call)) {
        Some(call) => Err(Failure(format!("{call:?} was not measured"))),
        None => Ok(()),
    }
}
