//! What is true of the kernel between any two steps: the invariants that the crate's modules document.

use crate::arch::physical::read_entry;
use crate::arch::simulated::monitor;
use crate::arena::Id;
use crate::dispatch::{Queued, Source};
use crate::kernel::Kernel;
use crate::list::List;
use crate::memory::hierarchy::{Mapping, Region, Space, translate};
use crate::objects::Object;
use crate::space::Contents;
use crate::thread::{Thread, Wait};
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::Rights;
use std::collections::HashMap;

/// Panics where one does not hold.
pub fn check(kernel: &Kernel) {
    threads(kernel);
    pending_ports(kernel);
    hierarchy(kernel);
    references(kernel);
    tables(kernel);
}

/// The queue that each thread is in, by what it is a queue of.
fn queues(kernel: &Kernel) -> HashMap<String, Queue> {
    let objects = &kernel.objects;
    let mut queues: HashMap<String, Queue> = HashMap::new();
    let mut add = |name: Queue, members: Vec<Id<Thread>>| {
        for id in members {
            if let Some(other) = queues.insert(format!("{id:?}"), name) {
                panic!("{id:?} is in two queues: {other:?}, {name:?}");
            }
        }
    };
    add(Queue::Ready, kernel.ready.members(&objects.threads));
    add(Queue::Asking, kernel.grant.asking().members(&objects.threads));
    for id in objects.payers.ids() {
        add(Queue::Held, objects.payers.get(id).unwrap().time.held().members(&objects.threads));
    }
    for id in objects.ports.ids() {
        add(Queue::Port, objects.ports.get(id).unwrap().clients.members(&objects.threads));
    }
    for id in objects.portsets.ids() {
        add(Queue::Portset, objects.portsets.get(id).unwrap().servers.members(&objects.threads));
    }
    for id in objects.mutexes.ids() {
        add(Queue::Mutex, objects.mutexes.get(id).unwrap().waiters.members(&objects.threads));
    }
    for id in objects.conditions.ids() {
        add(Queue::Cond, objects.conditions.get(id).unwrap().waiters.members(&objects.threads));
    }
    queues
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Ready,
    Asking,
    Port,
    Portset,
    Mutex,
    Cond,
    Held,
}

/// A thread is in at most one queue, and what it waits for says which. Who could run, and has its time from the root, runs or is
/// ready or covered by a donor.
fn threads(kernel: &Kernel) {
    let objects = &kernel.objects;
    let queues = queues(kernel);
    for id in objects.threads.ids() {
        let thread = objects.threads.get(id).unwrap();
        let queue = queues.get(&format!("{id:?}")).copied();
        let expected = match (thread.scheduling.queued, thread.wait) {
            (Queued::Ready, _) => Some(Queue::Ready),
            (Queued::Asking(..), _) => Some(Queue::Asking),
            (Queued::Held(_), _) => Some(Queue::Held),
            (Queued::AtPort(port, _), _) => objects.ports.get(port).map(|_| Queue::Port),
            (Queued::No, Wait::Message(portset)) => {
                let members = objects.portsets.get(portset).expect("a server's Portset exists").servers;
                assert!(members.members(&objects.threads).contains(&id), "{id:?} is not among the servers");
                Some(Queue::Portset)
            }
            (Queued::No, Wait::Server(port)) => {
                let members = objects.ports.get(port).expect("a client's Port exists").clients;
                assert!(members.members(&objects.threads).contains(&id), "{id:?} is not among the clients");
                Some(Queue::Port)
            }
            (Queued::No, Wait::Mutex(mutex)) => objects.mutexes.get(mutex).map(|_| Queue::Mutex),
            (Queued::No, Wait::Cond(cond)) => objects.conditions.get(cond).map(|_| Queue::Cond),
            (Queued::No, _) => None,
        };
        let tell = || {
            let Thread { wait, stopped, scheduling, client, space, .. } = thread;
            format!("{id:?}: {wait:?} stopped={stopped} {scheduling:?} client={client:?} space={space:?}")
        };
        assert_eq!(queue, expected, "{}", tell());
        if let Wait::Reply(server) | Wait::Keeper(server) | Wait::Late(server) = thread.wait {
            let server = objects.threads.get(server).unwrap_or_else(|| panic!("no server: {}", tell()));
            assert_eq!(server.client, Some(id), "its server has another client: {}", tell());
        }
        let could_run = thread.wait == Wait::Nothing && !thread.stopped && thread.space.is_some();
        let is_lost = could_run
            && kernel.current != Some(id)
            && thread.scheduling.queued == Queued::No
            && thread.scheduling.donor.is_none()
            && thread.scheduling.source == Source::Root;
        assert!(!is_lost, "nobody will run {}; {:?} runs on {:?}", tell(), kernel.current, kernel.grant);
        if let Some(space) = thread.space {
            assert!(objects.spaces.get(space).is_some(), "no Space: {}", tell());
        }
    }
    if let Some(id) = kernel.current {
        let thread = objects.threads.get(id).expect("the running thread exists");
        assert_eq!(thread.scheduling.queued, Queued::No, "{id:?} runs and is in a queue");
    }
}

/// Ports with messages are among the pending ones of their Portset, and each list of those ends.
fn pending_ports(kernel: &Kernel) {
    let objects = &kernel.objects;
    for id in objects.portsets.ids() {
        let portset = objects.portsets.get(id).unwrap();
        let (mut next, mut last) = (portset.first_pending, None);
        let mut count = 0;
        while let Some(port_id) = next {
            let port = objects.ports.get(port_id).expect("a pending Port exists");
            assert!(port.is_pending && port.portset == Some(id), "{port_id:?} is pending elsewhere");
            (last, next) = (next, port.next_pending);
            count += 1;
            assert!(count <= objects.ports.len(), "the pending Ports have no end");
        }
        assert_eq!(portset.last_pending, last, "the last pending Port");
    }
    for id in objects.ports.ids() {
        let port = objects.ports.get(id).unwrap();
        let portset = port.portset.and_then(|id| objects.portsets.get(id));
        if let Some(portset) = portset.filter(|_| port.has_message()) {
            assert!(port.is_pending, "{id:?} has a message and is not pending");
            assert!(portset.servers.first().is_none(), "{id:?} has a message, and a server waits");
        }
    }
}

/// Lists and ranks of Spaces, Regions and Mappings.
fn hierarchy(kernel: &Kernel) {
    let objects = &kernel.objects;
    let shadows: HashMap<_, _> =
        objects.mappings.ids().filter_map(|id| Some((objects.shadow_of(id)?.number(), id))).collect();
    for id in objects.mappings.ids() {
        let mapping = objects.mappings.get(id).unwrap();
        let region = mapping.region.and_then(|id| Some((id, objects.regions.get(id)?)));
        if let Some((_, region)) = region {
            let mut at = region.mappings.first();
            while at.is_some_and(|at| at != id) {
                at = at.and_then(|at| List::<Mapping>::after(&objects.mappings, at));
            }
            assert_eq!(at, Some(id), "a Mapping is not among those of its Region");
        }
        let upper = mapping.space.and_then(|id| objects.spaces.get(id));
        if let Some(upper) = upper.filter(|_| mapping.size != 0) {
            // That of a shadow is in no Space's map, and like the Mapping that it belongs to.
            let listed = shadows.get(&id.number()).copied().unwrap_or(id);
            let found = upper.mappings.at_or_before(mapping.start);
            assert_eq!(found, Some((mapping.start, listed)), "a Mapping is not among those of its Space");
            let after = upper.mappings.at_or_after(mapping.start + 1);
            assert!(after.is_none_or(|(next, _)| next >= mapping.start + mapping.size), "two Mappings overlap");
            let lower = region.and_then(|(_, region)| objects.spaces.get(region.space?));
            // Physical memory shows nothing: it needs no rank.
            if let Some(lower) = lower.filter(|lower| !matches!(lower.contents, Contents::Physical)) {
                assert!(
                    lower.rank < upper.rank,
                    "{id:?} shows a Space of rank {} in one of {}",
                    lower.rank,
                    upper.rank
                );
            }
        }
    }
    for (&shadow, &id) in &shadows {
        let place = |mapping: &Mapping| (mapping.space, mapping.start, mapping.offset, mapping.size);
        let shadow = objects.mappings.ids().find(|id| id.number() == shadow).and_then(|id| objects.mappings.get(id));
        let shadow = shadow.expect("the Mapping of a shadow exists");
        let mapping = objects.mappings.get(id).unwrap();
        assert_eq!(place(shadow), place(mapping), "{id:?} and its shadow are apart");
    }
    for id in objects.regions.ids() {
        let space = objects.regions.get(id).unwrap().space.and_then(|id| objects.spaces.get(id));
        if let Some(space) = space {
            let mut at = space.regions.first();
            while at.is_some_and(|at| at != id) {
                at = at.and_then(|at| List::<Region>::after(&objects.regions, at));
            }
            assert_eq!(at, Some(id), "a Region is not among those of its Space");
        }
    }
    for id in objects.spaces.ids() {
        let account = &objects.spaces.get(id).unwrap().account;
        let (allowance, used) = account.frames();
        assert!(used <= allowance, "{id:?} uses {used} of {allowance} frames");
    }
}

/// References are counted where they link to.
fn references(kernel: &Kernel) {
    let objects = &kernel.objects;
    let (mut ports, mut regions) = (HashMap::new(), HashMap::new());
    for id in objects.references.ids() {
        let capability = objects.references.get(id).unwrap().capability();
        let Some(capability) = capability.filter(|capability| objects.is_valid(capability)) else { continue };
        match capability.target {
            Object::Port(id) => *ports.entry(id.number()).or_insert(0) += 1,
            Object::Region(id) => *regions.entry(id.number()).or_insert(0) += 1,
            _ => {}
        }
    }
    for id in objects.ports.ids() {
        let counted = objects.ports.get(id).unwrap().references;
        assert_eq!(counted, ports.get(&id.number()).copied().unwrap_or(0), "References to Port {id:?}");
    }
    for id in objects.regions.ids() {
        let counted = objects.regions.get(id).unwrap().references;
        assert_eq!(counted, regions.get(&id.number()).copied().unwrap_or(0), "References to Region {id:?}");
    }
}

/// Tables hold nothing that the Mappings do not say.
fn tables(kernel: &Kernel) {
    for id in kernel.objects.spaces.ids() {
        match &kernel.objects.spaces.get(id).unwrap().contents {
            Contents::Native(table) => table_entries(kernel, id, table.root(), 3, 0),
            Contents::Machine(machine) => {
                for (at, to, rights) in monitor::pages(machine.number()) {
                    check_page(kernel, id, at, to, u64::from(rights));
                }
            }
            Contents::Physical | Contents::Unbuilt => {}
        }
    }
}

/// The entries of a table of ring 3's half, `level` levels above that of pages.
fn table_entries(kernel: &Kernel, space: Id<Space>, table: HostPhysical, level: u32, base: u64) {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const LARGE: u64 = 0x80;
    const ADDRESS: u64 = 0xf_ffff_ffff_f000;
    let count = if level == 3 { 256 } else { 512 };
    for index in 0..count {
        let entry = read_entry(table, index);
        if entry & PRESENT == 0 {
            continue;
        }
        let at = base | (index as u64) << (12 + 9 * level);
        if level > 0 && entry & LARGE == 0 {
            table_entries(kernel, space, HostPhysical::new(entry & ADDRESS), level - 1, at);
            continue;
        }
        let rights = Rights::READ.bits() | if entry & WRITABLE != 0 { Rights::WRITE.bits() } else { 0 };
        let size = 1 << (12 + 9 * level);
        let physical = entry & ADDRESS & !(size - 1);
        for page in [0, size - PAGE_SIZE] {
            check_page(kernel, space, at + page, physical + page, rights);
        }
    }
}

fn check_page(kernel: &Kernel, space: Id<Space>, at: u64, physical: u64, rights: u64) {
    let want = Rights::from_bits_truncate(rights);
    match translate(&kernel.hierarchy(), space, at, want) {
        Ok(found) => assert_eq!(found.physical.get(), physical, "{at:#x} of {space:?} leads elsewhere"),
        Err(fault) => panic!("{at:#x} of {space:?} is accessible with {want:?}, and should not: {fault:?}"),
    }
}
