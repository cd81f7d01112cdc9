//! Random histories of threads that donate, call, reply, wait, wake, stop and lose their time, checked after every step.
//!
//! What is expected is found without the dispatcher's shortcuts: who could run on whose time by walking from every thread that has
//! time from the root, what is charged by adding up step by step, what schedulers know from the messages that they got.

use super::*;
use crate::arch::View;
use crate::deadlines::Timed;
use crate::memory::hierarchy::Space;
use crate::space::Contents;
use alloc::vec::Vec;
use core::cell::Cell;
use proptest::prelude::*;
use protocols::address::HostPhysical;
use protocols::api::Quotas;
use protocols::virtual_cpu::register::RAX;

const COUNT: usize = 8;
/// Ticks between two steps, less than this.
const MOST_ELAPSED: u64 = 10;

std::thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn clock() -> u64 {
    NOW.get()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Donate(usize, Sensitivity, bool),
    Block,
    Serve,
    Call(usize),
    Reply(bool),
    Receive,
    Wake(usize, bool),
    Expire(usize),
    Cancel(usize),
    Stop(usize),
    Go(usize),
    EndSlice,
    GiveBack,
    Dispatch,
    Destroy(usize),
    Lock(usize),
    Unlock(usize),
}

struct World {
    objects: Objects,
    current: Option<Id<Thread>>,
    ready: Queue,
    grant: Grant,
    threads: Vec<Id<Thread>>,
    ports: Vec<Id<Port>>,
    portsets: Vec<Id<Portset>>,
    /// Its scheduler knows that it could run.
    known: [bool; COUNT],
    used: [u64; COUNT],
    /// Three Spaces, each created from the one before, with limits of CPU time.
    mutexes: Vec<Id<Mutex>>,
    /// Who owns each, as its lock word says.
    owners: [Option<Id<Thread>>; MUTEXES],
    payers: [Id<Payer>; SPACES],
    budgets: [u64; SPACES],
    /// What each has used itself.
    own: [u64; SPACES],
}

const SPACES: usize = 3;
const MUTEXES: usize = 3;
/// Ticks in a period.
const PERIOD: u64 = 100;

impl World {
    /// Threads in the three Spaces in turn, which have `budgets` in each period, 0 for no limit.
    fn new(sources: &[usize], budgets: [u64; SPACES]) -> Self {
        let mut objects = Objects::new(crate::memory::places::Places::on_host(1));
        let mut spaces: Vec<Id<Space>> = Vec::new();
        for budget in budgets {
            let account = match spaces.last() {
                None => objects.open_first_account(1 << 20, 100),
                Some(&parent) => objects.open_account(parent, (4 - spaces.len() as u64) << 16, 0).unwrap(),
            };
            let space = objects.spaces.insert(Space::new(Contents::Unbuilt, account));
            objects.settle_in(space);
            objects.set_share(account.payer().unwrap(), budget * Quotas::WHOLE_CPU / PERIOD, NOW.get(), PERIOD);
            spaces.push(space);
        }
        let payers = [0, 1, 2].map(|index| objects.payer_of(spaces[index]).unwrap());
        let portsets: Vec<_> = (0..COUNT).map(|_| objects.portsets.insert(Portset::default())).collect();
        let ports: Vec<_> = portsets
            .iter()
            .map(|&portset| objects.ports.insert(Port { portset: Some(portset), ..Port::default() }))
            .collect();
        let threads = (0..COUNT).map(|index| {
            let source = match sources[index] {
                other if other < COUNT => Source::Scheduler(ports[other]),
                COUNT => Source::Donated,
                _ => Source::Root,
            };
            let home = spaces[index % SPACES];
            let mut thread = Thread::new((home, 0), source);
            thread.join(home, View::default());
            thread.stopped = false;
            thread.scheduling.value = index as u64;
            objects.threads.insert(thread)
        });
        let threads: Vec<_> = threads.collect();
        let mutexes = (0..MUTEXES).map(|_| objects.mutexes.insert(Mutex::at(HostPhysical::new(0)))).collect();
        let mut world = Self {
            mutexes,
            owners: [None; MUTEXES],
            objects,
            current: None,
            ready: Queue::default(),
            grant: Grant::new(clock, PERIOD),
            threads,
            ports,
            portsets,
            known: [false; COUNT],
            used: [0; COUNT],
            payers,
            budgets,
            own: [0; SPACES],
        };
        for id in world.threads.clone() {
            world.dispatcher().make_ready(id);
        }
        world.settle_asks();
        world
    }

    fn dispatcher(&mut self) -> Dispatcher<'_> {
        let Self { objects, current, ready, grant, .. } = self;
        Dispatcher { objects, current, ready, grant }
    }

    fn thread(&mut self, index: usize) -> Option<&mut Thread> {
        self.objects.threads.get_mut(self.threads[index])
    }

    fn index(&self, id: Id<Thread>) -> usize {
        self.threads.iter().position(|&other| other == id).unwrap()
    }

    /// Lets all ask, and schedulers that donate receive.
    fn settle_asks(&mut self) {
        while self.dispatcher().is_asking() {
            let Some(port) = self.dispatcher().next_asker() else { continue };
            let portset = self.objects.ports.get(port).unwrap().portset.unwrap();
            if let Some(donor) = self.objects.portsets.get(portset).unwrap().donor {
                self.receive(port);
                self.note_target(donor);
                self.dispatcher().end_donation(donor, End::Message);
            }
        }
    }

    /// Receives whoever asks at a Port.
    fn receive(&mut self, port: Id<Port>) {
        let objects = &mut self.objects;
        let clients = &mut objects.ports.get_mut(port).unwrap().clients;
        if let Some(id) = clients.pop_front(&mut objects.threads) {
            let thread = objects.threads.get_mut(id).unwrap();
            let Queued::AtPort(at, word) = thread.scheduling.queued else { panic!("who asks is not queued") };
            assert_eq!(at, port);
            thread.scheduling.queued = Queued::No;
            self.known[word as usize] = true;
        }
    }

    /// A scheduler that donates is told that its target could go on.
    fn note_target(&mut self, donor: Id<Thread>) {
        let thread = self.objects.threads.get(donor).unwrap();
        let Wait::Donation(target) = thread.wait else { return };
        let Some(client) = self.objects.threads.get(target) else { return };
        if let Source::Scheduler(port) = client.scheduling.source
            && thread.scheduling.portset == self.objects.ports.get(port).unwrap().portset
        {
            let index = self.index(target);
            self.known[index] = true;
        }
    }

    /// Schedulers learn from the ends of donations that their targets cannot run.
    fn note_blocked(&mut self, before: &[Option<Wait>]) {
        for (&id, before) in self.threads.iter().zip(before) {
            let Some(thread) = self.objects.threads.get(id) else { continue };
            if let Some(Wait::Donation(target)) = before
                && thread.wait == Wait::Nothing
                && thread.gpr()[RAX] == Status::Blocked as u64
                && let Some(index) = self.threads.iter().position(|other| other == target)
            {
                self.known[index] = false;
            }
        }
    }

    fn waits(&self) -> Vec<Option<Wait>> {
        self.threads.iter().map(|&id| self.objects.threads.get(id).map(|thread| thread.wait)).collect()
    }

    /// The thread that runs waits, for a while or for good.
    fn wait(&mut self, wait: Wait) {
        let Some(id) = self.current.take() else { return };
        self.objects.threads.get_mut(id).unwrap().wait = wait;
    }

    /// Charges `elapsed` to the targets of the chain that runs.
    fn charge(&mut self, elapsed: u64) {
        if let Some(payer) = self.expected_payer() {
            self.own[payer] += elapsed;
        }
        let mut donor = self.grant.donor;
        while let Some(id) = donor {
            let thread = self.objects.threads.get(id).unwrap();
            if let Wait::Donation(target) = thread.wait
                && let Some(index) = self.threads.iter().position(|&other| other == target)
            {
                self.used[index] += elapsed;
            }
            donor = self.objects.threads.get(id).unwrap().scheduling.outer;
        }
    }

    /// The timer has fired.
    fn look_at_limits(&mut self) {
        self.dispatcher().look_at_limits();
        self.settle_asks();
    }

    fn perform(&mut self, step: Step) {
        let current = self.current;
        match step {
            Step::Donate(target, sensitivity, with_portset) => {
                let Some(id) = current.filter(|&id| id != self.threads[target]) else { return };
                if self.thread(target).is_none() {
                    return;
                }
                let index = self.index(id);
                let portset = with_portset.then(|| self.portsets[index]);
                if with_portset && self.objects.ports.get(self.ports[index]).unwrap().clients.first().is_some() {
                    return self.receive(self.ports[index]);
                }
                let target = self.threads[target];
                if sensitivity == Sensitivity::Block
                    && portset.is_none()
                    && self.dispatcher().donate_quickly(id, target)
                {
                    return;
                }
                let circular = self.dispatcher().leads_to(target, id);
                self.objects.threads.get_mut(id).unwrap().finish(Status::Ok as u64);
                let done = self.dispatcher().donate(id, target, sensitivity, portset);
                assert_eq!(circular, done == Err(Status::Circular));
                let thread = self.objects.threads.get(id).unwrap();
                if thread.wait == Wait::Nothing && thread.gpr()[RAX] == Status::Blocked as u64 {
                    let index = self.index(target);
                    self.known[index] = false;
                }
            }
            Step::Block => self.wait(Wait::Interrupt),
            Step::Serve => {
                if let Some(id) = current {
                    let index = self.index(id);
                    let client = self.objects.threads.get_mut(id).unwrap().client.take();
                    self.wait(Wait::Message(self.portsets[index]));
                    // Nobody waits for a reply that will not come.
                    if let Some(client) = client
                        && let Some(thread) = self.objects.threads.get_mut(client)
                        && thread.wait.is_for(id)
                    {
                        thread.wait = Wait::Nothing;
                        self.dispatcher().make_ready(client);
                    }
                }
            }
            Step::Call(server) => {
                let server_id = self.threads[server];
                let Some(client) = current else { return };
                let Some(thread) = self.thread(server) else { return };
                if matches!(thread.wait, Wait::Message(_)) && !thread.stopped {
                    thread.wait = Wait::Nothing;
                    thread.client = Some(client);
                    self.wait(Wait::Reply(server_id));
                    self.current = Some(server_id);
                }
            }
            Step::Reply(waits) => {
                let Some(server) = current else { return };
                let index = self.index(server);
                let Some(client) = self.objects.threads.get_mut(server).unwrap().client.take() else { return };
                let Some(thread) = self.objects.threads.get_mut(client) else { return };
                if !thread.wait.is_for(server) {
                    return;
                }
                let attached = thread.wait == Wait::Reply(server);
                thread.wait = Wait::Nothing;
                if attached && waits && !thread.stopped {
                    self.wait(Wait::Message(self.portsets[index]));
                    self.current = Some(client);
                } else {
                    self.dispatcher().make_ready(client);
                    self.dispatcher().check_running();
                }
            }
            Step::Receive => {
                if let Some(id) = current {
                    let index = self.index(id);
                    self.receive(self.ports[index]);
                }
            }
            Step::Wake(index, now) => {
                let id = self.threads[index];
                let Some(thread) = self.thread(index) else { return };
                if matches!(thread.wait, Wait::Interrupt | Wait::Message(_)) {
                    thread.wait = Wait::Nothing;
                    if now {
                        self.dispatcher().wake(id);
                    } else {
                        self.dispatcher().make_ready(id);
                    }
                }
            }
            Step::Expire(index) => {
                let id = self.threads[index];
                if self.thread(index).is_some_and(|thread| matches!(thread.wait, Wait::Donation(_))) {
                    self.note_target(id);
                    self.dispatcher().end_donation(id, End::With(Status::TimedOut));
                }
            }
            Step::Cancel(index) => {
                let id = self.threads[index];
                if current != Some(id)
                    && self.thread(index).is_some_and(|thread| matches!(thread.wait, Wait::Donation(_)))
                {
                    self.dispatcher().end_donation(id, End::Cancelled);
                    self.dispatcher().make_ready(id);
                }
            }
            Step::Stop(index) => {
                let id = self.threads[index];
                self.leave_mutex(id);
                if let Some(thread) = self.thread(index) {
                    thread.stopped = true;
                    self.dispatcher().unready(id);
                    self.dispatcher().check_running();
                }
            }
            Step::Go(index) => {
                let id = self.threads[index];
                if let Some(thread) = self.thread(index) {
                    thread.stopped = false;
                    self.dispatcher().go_on(id);
                }
            }
            Step::EndSlice => self.dispatcher().end_slice(),
            Step::GiveBack => {
                if let Some(id) = current {
                    if self.dispatcher().give_back_quickly(id, |_| true).is_some() {
                        return;
                    }
                    if let Some(donor) = self.grant.donor {
                        self.note_target(donor);
                    }
                    self.dispatcher().give_back();
                }
            }
            Step::Dispatch => {}
            Step::Lock(number) => {
                let Some(id) = current else { return };
                let mutex = self.mutexes[number];
                let owner = self.owners[number].filter(|&owner| self.objects.threads.get(owner).is_some());
                if owner.is_none() || owner == Some(id) {
                    self.owners[number] = Some(id);
                    return;
                }
                self.objects.set_mutex_owner(mutex, owner);
                let objects = &mut self.objects;
                objects.mutexes.get_mut(mutex).unwrap().waiters.push_back(&mut objects.threads, id);
                self.wait(Wait::Mutex(mutex));
                self.dispatcher().donate_to(id);
            }
            Step::Unlock(number) => {
                let Some(id) = current.filter(|_| self.owners[number] == current) else { return };
                let mutex = self.mutexes[number];
                let objects = &mut self.objects;
                let waiters = &mut objects.mutexes.get_mut(mutex).unwrap().waiters;
                let next = waiters.pop_front(&mut objects.threads);
                let others = waiters.first().is_some();
                self.owners[number] = next;
                objects.set_mutex_owner(mutex, next.filter(|_| others));
                if let Some(next) = next {
                    objects.threads.get_mut(next).unwrap().wait = Wait::Nothing;
                    self.dispatcher().make_ready(next);
                }
                assert!(next != Some(id));
                self.dispatcher().check_running();
            }
            Step::Destroy(index) => {
                let id = self.threads[index];
                if current == Some(id) || self.thread(index).is_none() {
                    return;
                }
                self.leave_mutex(id);
                self.dispatcher().unready(id);
                if matches!(self.thread(index).unwrap().wait, Wait::Donation(_)) {
                    self.dispatcher().end_donation(id, End::Cancelled);
                }
                if let Some(donor) = self.dispatcher().donor_of(id) {
                    self.dispatcher().end_donation(donor, End::With(Status::NotFound));
                }
                self.dispatcher().unready(id);
                let clients = self.threads.clone();
                self.objects.threads.remove(id);
                for client in clients {
                    if let Some(thread) = self.objects.threads.get_mut(client)
                        && thread.wait.is_for(id)
                    {
                        thread.wait = Wait::Nothing;
                        self.dispatcher().make_ready(client);
                    }
                }
                self.dispatcher().check_running();
            }
        }
    }

    /// Takes a thread out of those that wait for a Mutex.
    fn leave_mutex(&mut self, id: Id<Thread>) {
        let Some(Wait::Mutex(mutex)) = self.objects.threads.get(id).map(|thread| thread.wait) else { return };
        let objects = &mut self.objects;
        let waiters = &mut objects.mutexes.get_mut(mutex).unwrap().waiters;
        waiters.remove(&mut objects.threads, id);
        if waiters.first().is_none() {
            objects.set_mutex_owner(mutex, None);
        }
        objects.threads.get_mut(id).unwrap().wait = Wait::Nothing;
    }

    /// All whose time `id` could use, in the order in which they come: those that wait for it, and so on.
    fn clients(&self, id: Id<Thread>, found: &mut Vec<Id<Thread>>) {
        found.push(id);
        let thread = self.objects.threads.get(id).unwrap();
        let waits = |client: Id<Thread>| self.objects.threads.get(client).is_some_and(|client| client.wait.is_for(id));
        thread.client.filter(|&client| waits(client)).into_iter().for_each(|client| self.clients(client, found));
        let mut mutex = thread.owned.first();
        while let Some(owned) = mutex {
            let mut waiter = self.objects.mutexes.get(owned).unwrap().waiters.first();
            while let Some(id) = waiter {
                self.clients(id, found);
                waiter = Queue::after(&self.objects.threads, id);
            }
            mutex = List::after(&self.objects.mutexes, owned);
        }
    }

    /// Whether the chain that begins with a thread ends with one that can run.
    fn could_run(&self, id: Id<Thread>) -> bool {
        let (mut at, mut locks) = (id, false);
        for _ in 0..=COUNT {
            let Some(thread) = self.objects.threads.get(at) else { return false };
            if thread.stopped {
                return false;
            }
            at = match thread.wait {
                Wait::Nothing => return true,
                Wait::Donation(next) | Wait::Reply(next) | Wait::Keeper(next) | Wait::Late(next) => next,
                Wait::Mutex(mutex) => match self.objects.mutexes.get(mutex).and_then(Mutex::owner) {
                    Some(owner) => {
                        locks = true;
                        owner
                    }
                    None => return false,
                },
                _ => return false,
            };
        }
        // Only threads that lock wrongly wait for themselves.
        assert!(locks, "a chain has a cycle");
        false
    }

    /// Which Space the thread's time comes from.
    fn space(&self, id: Id<Thread>) -> usize {
        let payer = self.objects.payer_of(self.objects.threads.get(id).unwrap().space.unwrap());
        self.payers.iter().position(|&other| Some(other) == payer).unwrap()
    }

    fn is_exhausted(&self, id: Id<Thread>) -> bool {
        (0..=self.space(id)).any(|space| {
            let time = &self.objects.payers.get(self.payers[space]).unwrap().time;
            time.exhausted && time.is_limited()
        })
    }

    /// Whose time is used: that of the outermost of all whom the chain leads to who has any.
    fn expected_payer(&self) -> Option<usize> {
        let mut head = self.current?;
        let mut donor = self.grant.donor;
        while let Some(id) = donor {
            head = id;
            donor = self.objects.threads.get(id).unwrap().scheduling.outer;
        }
        let mut clients = Vec::new();
        self.clients(head, &mut clients);
        let root = |&id: &Id<Thread>| self.objects.threads.get(id).unwrap().scheduling.source == Source::Root;
        let paying = clients.into_iter().rfind(|id| root(id) && !self.is_exhausted(*id));
        paying.map(|id| self.space(id))
    }

    /// What the payer whose time is used has not passed up to `space`, if it is below.
    fn late_below(&self, space: usize) -> u64 {
        let present = self.payers[space + 1..].iter().find(|&&payer| Some(payer) == self.grant.payer);
        present.map_or(0, |&payer| self.objects.payers.get(payer).unwrap().time.unpassed())
    }

    /// Time is accounted for, and nobody has more than the limits let all above have.
    fn check_time(&mut self) -> Result<(), TestCaseError> {
        self.dispatcher().account();
        self.dispatcher().pass_time_up();
        let periods = NOW.get() / PERIOD + 1;
        for space in 0..SPACES {
            let (_, own, below) = self.objects.payers.get(self.payers[space]).unwrap().time.used();
            // Without limits it is somebody's, exactly; whose is seen when somebody else is chosen to run.
            let all: u64 = self.own[space..].iter().sum();
            // But for what is not passed up of the one whose time is used.
            let below = below + self.late_below(space);
            prop_assert!(below == all || space > 0 && self.objects.limits == 0, "{below} of {all}");
            prop_assert!(own == self.own[space] || self.objects.limits == 0, "{} of {}", own, self.own[space]);
            let budget = self.budgets[space];
            prop_assert!(budget == 0 || below <= budget * periods + MOST_ELAPSED, "{} of {}", below, budget * periods);
        }
        for &id in &self.threads {
            let Some(thread) = self.objects.threads.get(id) else { continue };
            if let Queued::Held(payer) = thread.scheduling.queued {
                let payer = self.objects.payers.get(payer).unwrap();
                prop_assert!(payer.timed_ref().time().is_some(), "{id:?} is held for ever");
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        // Exactly one thread runs, one that can, or nobody with time from the root has anybody who could.
        match self.current {
            Some(id) => {
                let thread = self.objects.threads.get(id).unwrap();
                prop_assert!(thread.wait == Wait::Nothing && !thread.stopped);
                prop_assert_eq!(thread.scheduling.queued, Queued::No);
                if self.grant.donor.is_none() {
                    prop_assert!(self.dispatcher().support(id).root, "somebody runs on root time for nobody");
                }
            }
            None => {
                prop_assert_eq!(self.grant.donor, None);
                for &id in &self.threads {
                    let root = |thread: &Thread| thread.scheduling.source == Source::Root;
                    if self.objects.threads.get(id).is_some_and(root) {
                        prop_assert!(!self.could_run(id) || self.is_exhausted(id), "{id:?} could run and nobody does");
                    }
                }
            }
        }
        // The chain that runs leads from time of the root to the thread that runs; whoever waits in it does so as part of it.
        let mut end = self.current;
        let mut donor = self.grant.donor;
        while let Some(id) = donor {
            let thread = self.objects.threads.get(id).unwrap();
            let Wait::Donation(target) = thread.wait else { panic!("a donor does not donate") };
            donor = thread.scheduling.outer;
            let dispatcher = self.dispatcher();
            prop_assert!(end.is_some_and(|end| dispatcher.leads_to(target, end)));
            end = Some(id);
        }
        if let Some(head) = end {
            prop_assert!(self.dispatcher().support(head).root);
        }
        // Nobody who could run is forgotten.
        for index in 0..COUNT {
            let id = self.threads[index];
            let Some(thread) = self.objects.threads.get(id) else { continue };
            let (runs, queued) = (thread.can_run(), thread.scheduling.queued);
            prop_assert!(runs || queued == Queued::No, "{index} is queued and cannot run");
            if !runs || queued != Queued::No || self.current == Some(id) || self.dispatcher().is_active(id) {
                continue;
            }
            let support = self.dispatcher().support(id);
            // A thread with time of its own that works for one in the running chain has only lost its place in it for now.
            let covered = self.grant.donor.is_some_and(|_| {
                core::iter::successors(self.grant.donor, |&donor| self.dispatcher().outer(donor))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .any(|donor| self.dispatcher().leads_to(donor, id))
            });
            if covered {
                continue;
            }
            prop_assert!(!support.root, "{index} has time from the root and is in no queue");
            if let Some((owner, port)) = support.asks {
                let portset = self.objects.ports.get(port).unwrap().portset;
                let donor = self.dispatcher().donor_of(owner).map(|donor| self.objects.threads.get(donor).unwrap());
                let donates = donor.is_some_and(|donor| donor.scheduling.portset == portset);
                let known = self.known[self.index(owner)];
                prop_assert!(donates || known, "nobody knows that {index} could run");
            }
            let mut clients = Vec::new();
            self.clients(id, &mut clients);
            for at in clients {
                if self.objects.threads.get(at).unwrap().stopped {
                    break;
                }
                let donor = self.dispatcher().donor_of(at).map(|donor| self.objects.threads.get(donor).unwrap());
                prop_assert!(!donor.is_some_and(|donor| donor.scheduling.dormant), "{index} could run, a donor sleeps");
            }
        }
        for index in 0..COUNT {
            let expected = self.used[index];
            if let Some(thread) = self.thread(index) {
                prop_assert_eq!(thread.scheduling.used, expected);
            }
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let index = 0..COUNT;
    let sensitivity = prop_oneof![Just(Sensitivity::Block), Just(Sensitivity::Switch), Just(Sensitivity::Conflict)];
    prop_oneof![
        6 => (index.clone(), sensitivity, any::<bool>()).prop_map(|(i, s, p)| Step::Donate(i, s, p)),
        2 => Just(Step::Block),
        3 => Just(Step::Serve),
        4 => index.clone().prop_map(Step::Call),
        3 => any::<bool>().prop_map(Step::Reply),
        3 => Just(Step::Receive),
        4 => (index.clone(), any::<bool>()).prop_map(|(i, now)| Step::Wake(i, now)),
        2 => index.clone().prop_map(Step::Expire),
        1 => index.clone().prop_map(Step::Cancel),
        1 => index.clone().prop_map(Step::Stop),
        2 => index.clone().prop_map(Step::Go),
        2 => Just(Step::EndSlice),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Dispatch),
        1 => index.prop_map(Step::Destroy),
        4 => (0..MUTEXES).prop_map(Step::Lock),
        2 => (0..MUTEXES).prop_map(Step::Unlock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn the_cpu_goes_where_it_is_given(
        sources in prop::collection::vec(0..COUNT + 5, COUNT),
        steps in prop::collection::vec((steps(), 0..MOST_ELAPSED), 0..120),
        limited in any::<bool>(),
        budgets in prop::array::uniform3(0u64..60),
    ) {
        NOW.set(0);
        let mut world = World::new(&sources, if limited { budgets } else { [0; SPACES] });
        for (step, elapsed) in steps {
            NOW.set(NOW.get() + elapsed);
            world.charge(elapsed);
            let before = world.waits();
            world.look_at_limits();
            world.note_blocked(&before);
            let before = world.waits();
            world.perform(step);
            world.note_blocked(&before);
            world.settle_asks();
            if world.current.is_none() {
                let before = world.waits();
                world.dispatcher().resume();
                world.note_blocked(&before);
                world.settle_asks();
            }
            world.dispatcher().settle();
            world.check()?;
            world.check_time()?;
            world.dispatcher().check_running();
            world.settle_asks();
            if world.current.is_none() {
                let before = world.waits();
                world.dispatcher().resume();
                world.note_blocked(&before);
                world.settle_asks();
            }
        }
    }
}

#[test]
fn time_can_be_handed_to_whom_a_thread_waits_for() {
    let mut world = World::new(&[COUNT + 1; COUNT], [0; SPACES]);
    world.dispatcher().resume();
    let [first, third] = [world.threads[0], world.threads[2]];
    assert_eq!(world.current, Some(first));
    world.perform(Step::Block);
    world.dispatcher().donate_to(third);
    assert_eq!(world.current, Some(third));
    // Nobody gets it who cannot run, nor anybody but the next of a chain while somebody donates.
    world.perform(Step::Block);
    world.dispatcher().donate_to(first);
    assert_eq!(world.current, None);
    world.dispatcher().resume();
    assert_eq!(world.current, Some(world.threads[1]));
}
