//! CPU inheritance scheduling: donations and their ends, schedulers, and that nobody gets more time than was given.

use alloc::vec::Vec;
use protocols::api::{Call, MessageKind, NativeState, OBJECT_SIZE, Rights, Run, Sensitivity, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call::{self, Received, Scheduled};
use protocols::libnest::schedule::{FixedPriority, Policy, RoundRobin, Scheduler, Stride};
use protocols::libnest::{Event, Mapping, Port, Reference, Region, Server, Thread, objects};
use protocols::scheduling::TimeSource;
use protocols::virtual_cpu::register::{R8, R9, R10, RAX, RBX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("scheduling::clients_ask_and_wait", clients_ask_and_wait),
    ("scheduling::until_the_deadline", until_the_deadline),
    ("scheduling::until_the_target_waits", until_the_target_waits),
    ("scheduling::until_there_is_a_message", until_there_is_a_message),
    ("scheduling::messages_come_first", messages_come_first),
    ("scheduling::given_back", given_back),
    ("scheduling::target_destroyed", target_destroyed),
    ("scheduling::target_donated_to_by_another", target_donated_to_by_another),
    ("scheduling::portset_destroyed", portset_destroyed),
    ("scheduling::one_donor_for_each_portset", one_donor_for_each_portset),
    ("scheduling::circles", circles),
    ("scheduling::misuse", misuse),
    ("scheduling::switches_only", switches_only),
    ("scheduling::conflicts_only", conflicts_only),
    ("scheduling::servers_run_on_the_time_of_clients", servers_run_on_the_time_of_clients),
    ("scheduling::replies_hand_no_time_over", replies_hand_no_time_over),
    ("scheduling::new_threads_have_no_time", new_threads_have_no_time),
    ("scheduling::source_is_told", source_is_told),
    ("scheduling::donors_stop_and_go_on", donors_stop_and_go_on),
    ("scheduling::scheduler_port_destroyed", scheduler_port_destroyed),
    ("scheduling::scheduler_revoked", scheduler_revoked),
    ("scheduling::virtual_cpus", virtual_cpus),
    ("scheduling::round_robin", round_robin),
    ("scheduling::fixed_priority", fixed_priority),
    ("scheduling::stride", stride),
    ("scheduling::nested_schedulers_get_no_more", nested_schedulers_get_no_more),
    ("scheduling::floods_of_wakeups", floods_of_wakeups),
];

/// A scheduler made of single calls.
struct Hand {
    server: Server,
    port: Port,
}

const ALIAS: u64 = 0x5c4ed;

impl Hand {
    fn new() -> Result<Self, Failure> {
        let server = Server::new()?;
        let port = server.port(ALIAS)?;
        Ok(Self { server, port })
    }

    /// Donates to a thread, for so many microseconds at most.
    fn donate(&self, bench: &Bench, target: &Thread, microseconds: u64, sensitivity: Sensitivity) -> Scheduled {
        let deadline = bench.microseconds(microseconds).unwrap_or(1);
        system_call::thread_schedule(target.address(), deadline, sensitivity, self.server.portset().address())
    }

    /// The word of the thread that asks, if one does within a millisecond.
    fn asked(&mut self, bench: &Bench) -> Result<Option<u64>, Failure> {
        match self.server.receive(bench.microseconds(1000)) {
            Event::Wakeup { alias: ALIAS, value } => Ok(Some(value)),
            Event::TimedOut => Ok(None),
            event => fail!("got {event:x?} instead of a wake-up"),
        }
    }
}

fn ended(scheduled: Scheduled) -> Result<(Status, u64, u64), Failure> {
    match scheduled {
        Scheduled::Ended { status, value, used } => Ok((status, value, used)),
        Scheduled::Message(message) => fail!("got {message:x?} instead of the end of a donation"),
    }
}

fn message(scheduled: Scheduled) -> Result<Received, Failure> {
    match scheduled {
        Scheduled::Message(message) => Ok(message),
        Scheduled::Ended { status, .. } => fail!("the donation ended with {status:?} instead of a message"),
    }
}

/// A child whose thread `hand` schedules, known by `value`, about to run `code`.
fn client(
    bench: &mut Bench,
    hand: &Hand,
    value: u64,
    code: &[u8],
    registers: &[(usize, u64)],
) -> Result<Native, Failure> {
    let mut child = Native::new(bench)?;
    child.thread.set_scheduler(Some(&hand.port), value)?;
    child.begin(code, registers)?;
    Ok(child)
}

fn counter(bench: &mut Bench, hand: &Hand, value: u64) -> Result<Native, Failure> {
    client(bench, hand, value, code::count(), &[(RDI, DATA)])
}

/// A client that waits on a Portset of its own, at `DATA`; a notification to the Reference wakes it, once.
fn sleeper(bench: &mut Bench, hand: &Hand, value: u64) -> Result<(Native, Reference), Failure> {
    let child = client(bench, hand, value, code::system_call(), &[(RAX, Call::IpcWaitReceive as u64), (RDI, DATA)])?;
    let reference = child.serves()?;
    Ok((child, reference))
}

/// Gives a child a Reference at `address` to what `reference` links to.
fn give(child: &Native, address: u64, reference: &Reference) -> Result<(), Failure> {
    let own = child.own_address(address);
    system_call::reference_create(own)?;
    Ok(system_call::reference_copy(reference.address(), own)?)
}

/// Creates a thread of a child's whose object it sees at `address`, stopped, with donated time only.
fn second_thread(child: &Native, address: u64, registers: &[(usize, u64)], entry: u64) -> Verdict {
    let own = child.own_address(address);
    system_call::thread_create(own)?;
    system_call::thread_set_scheduler(own, 0, 0)?;
    let mut state = NativeState { rip: entry, rflags: 2, ..NativeState::default() };
    for &(register, value) in registers {
        state.gpr[register] = value;
    }
    Ok(objects::set_native_thread(own, &state, child.space.reference(), Run::Go)?)
}

fn clients_ask_and_wait(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let child = counter(bench, &hand, 77)?;
    require!(hand.asked(bench)?, Some(77));
    // Asking once is enough, and does not make it run.
    require!(hand.asked(bench)?, None);
    require!(child.read(DATA)?, 0);
    Ok(())
}

fn until_the_deadline(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let child = counter(bench, &hand, 77)?;
    require!(hand.asked(bench)?, Some(77));
    let (status, value, used) = ended(hand.donate(bench, &child.thread, 2000, Sensitivity::Block))?;
    require!((status, value), (Status::TimedOut, 77));
    let count = child.read(DATA)?;
    if count == 0 || used == 0 {
        fail!("it counted to {count} in {used} ticks");
    }
    // It stands still, and its scheduler is expected to know that it could run.
    require!(hand.asked(bench)?, None);
    require!(child.read(DATA)?, count);
    // A deadline that has passed gives nothing.
    let late = system_call::thread_schedule(child.thread.address(), 1, Sensitivity::Block, 0);
    require!(ended(late)?, (Status::TimedOut, 77, used));
    require!(child.read(DATA)?, count);
    Ok(())
}

fn until_the_target_waits(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let (child, reference) = sleeper(bench, &hand, 3)?;
    require!(hand.asked(bench)?, Some(3));
    let (status, value, _) = ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!((status, value), (Status::Blocked, 3));
    let (status, ..) = ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!(status, Status::Blocked);
    reference.send(1)?;
    require!(hand.asked(bench)?, Some(3));
    // Its exception is for its keeper, for which it waits.
    let (status, ..) = ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!(status, Status::Blocked);
    // A stopped thread cannot run either.
    let child = counter(bench, &hand, 4)?;
    child.thread.stop()?;
    let (status, value, _) = ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!((status, value), (Status::Blocked, 4));
    child.thread.go()?;
    require!(hand.asked(bench)?, Some(4));
    Ok(())
}

fn until_there_is_a_message(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let registers = [(RAX, Call::IpcSend as u64), (RDI, DATA), (RSI, 0x50)];
    let child = client(bench, &hand, 1, code::system_call(), &registers)?;
    give(&child, DATA, hand.port.reference())?;
    require!(hand.asked(bench)?, Some(1));
    let received = message(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!((received.alias, received.kind, received.words[0]), (ALIAS, MessageKind::Notification, 0x50));
    // It is in the middle of its code, which it goes on with.
    require!(hand.asked(bench)?, None);
    require!(ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    Ok(())
}

fn messages_come_first(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let child = counter(bench, &hand, 1)?;
    require!(hand.asked(bench)?, Some(1));
    hand.port.reference().send(7)?;
    let received = message(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!((received.kind, received.words[0]), (MessageKind::Notification, 7));
    require!(child.read(DATA)?, 0);
    Ok(())
}

fn given_back(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let child = client(bench, &hand, 9, code::system_call(), &[(RAX, Call::ThreadSchedule as u64), (RSI, 8)])?;
    require!(hand.asked(bench)?, Some(9));
    let (status, value, _) = ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!((status, value), (Status::Yielded, 9));
    require!(hand.asked(bench)?, None);
    // Those with time from the root take turns.
    let mut other = Native::new(bench)?;
    other.begin(code::count(), &[(RDI, DATA)])?;
    for _ in 0..100 {
        system_call::thread_yield();
        if other.read(DATA)? > 0 {
            return Ok(());
        }
    }
    fail!("nobody else had a turn")
}

fn target_destroyed(bench: &mut Bench) -> Verdict {
    let hand = Hand::new()?;
    let mut destroyer = Native::new(bench)?;
    let target = destroyer.own_address(DATA);
    system_call::thread_create(target)?;
    system_call::thread_set_scheduler(target, 0, 0x77)?;
    destroyer.begin(code::system_call(), &[(RAX, Call::ThreadDestroy as u64), (RDI, DATA)])?;
    // The target is in no Space, so that the destroyer runs.
    let scheduled = system_call::thread_schedule(
        target,
        bench.microseconds(500_000).unwrap_or(1),
        Sensitivity::Switch,
        hand.server.portset().address(),
    );
    let (status, value, _) = ended(scheduled)?;
    require!((status, value), (Status::NotFound, 0x77));
    Ok(())
}

/// A child with time from the root that donates to the thread at [`TARGET`], with the Portset at `DATA`.
fn donor(bench: &mut Bench, sensitivity: Sensitivity) -> Result<Native, Failure> {
    let mut child = Native::new(bench)?;
    child.serves()?;
    system_call::thread_create(child.own_address(TARGET))?;
    let registers =
        [(RAX, Call::ThreadSchedule as u64), (RDI, TARGET), (RSI, 0), (RDX, sensitivity as u64), (R10, DATA)];
    child.begin(code::system_call(), &registers)?;
    Ok(child)
}

const TARGET: u64 = DATA + 0x400;

/// Lets others run for a while in which nobody is heard of.
fn let_run(bench: &mut Bench) -> Verdict {
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    Ok(())
}

/// What a call that a child has made returned in RAX.
fn returned(bench: &mut Bench, child: &mut Native) -> Result<u64, Failure> {
    let event = bench.receive();
    match child.answer(event)? {
        Answer::Done(state) => Ok(state.gpr[RAX]),
        answer => fail!("{answer:x?}"),
    }
}

fn target_donated_to_by_another(bench: &mut Bench) -> Verdict {
    let mut child = donor(bench, Sensitivity::Switch)?;
    let_run(bench)?;
    let target = child.own_address(TARGET);
    let (status, ..) = ended(system_call::thread_schedule(target, 0, Sensitivity::Block, 0))?;
    require!(status, Status::Blocked);
    require!(returned(bench, &mut child)?, Status::Disconnected as u64);
    Ok(())
}

fn portset_destroyed(bench: &mut Bench) -> Verdict {
    let mut child = donor(bench, Sensitivity::Switch)?;
    let_run(bench)?;
    system_call::portset_destroy(child.own_address(DATA))?;
    require!(returned(bench, &mut child)?, Status::InvalidDestination as u64);
    Ok(())
}

fn one_donor_for_each_portset(bench: &mut Bench) -> Verdict {
    let child = donor(bench, Sensitivity::Switch)?;
    let_run(bench)?;
    system_call::thread_create(child.own_address(TARGET + OBJECT_SIZE))?;
    let registers = [(RAX, Call::ThreadSchedule as u64), (RDI, TARGET + OBJECT_SIZE), (R10, DATA)];
    let own = child.own_address(TARGET + 2 * OBJECT_SIZE);
    system_call::thread_create(own)?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    for (register, value) in registers {
        state.gpr[register] = value;
    }
    let space = child.space.reference();
    objects::set_native_thread(own, &state, space, Run::Go)?;
    let event = bench.receive();
    let Event::Exception { alias, exception } = event else { fail!("got {event:x?}") };
    require!((alias, exception.vector), (child.alias, 6));
    let ended = objects::native_thread(own)?;
    require!(ended.gpr[RAX], Status::Refused as u64);
    child.thread.stop()?;
    Ok(())
}

fn circles(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    // A client that waits for its scheduler's own reply.
    let child = client(bench, &hand, 1, code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, DATA)])?;
    give(&child, DATA, hand.port.reference())?;
    require!(hand.asked(bench)?, Some(1));
    let received = message(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?;
    require!(received.kind, MessageKind::Call);
    let (status, ..) = ended(system_call::thread_schedule(child.thread.address(), 0, Sensitivity::Block, 0))?;
    require!(status, Status::Circular);
    drop(child);
    // Two threads that donate to each other.
    let mut child = Native::new(bench)?;
    let (one, other) = (TARGET, TARGET + OBJECT_SIZE);
    child.memory.write_bytes(0, code::system_call())?;
    let schedule = |target| [(RAX, Call::ThreadSchedule as u64), (RDI, target)];
    second_thread(&child, one, &schedule(other), CODE)?;
    second_thread(&child, other, &schedule(one), CODE)?;
    let (status, ..) = ended(system_call::thread_schedule(child.own_address(one), 0, Sensitivity::Block, 0))?;
    // The second is refused and meets its undefined instruction.
    require!(status, Status::Blocked);
    let event = bench.receive();
    let Event::Exception { exception, .. } = event else { fail!("got {event:x?}") };
    require!(exception.vector, 6);
    let state = objects::native_thread(child.own_address(other))?;
    require!(state.gpr[RAX], Status::Circular as u64);
    child.begin(code::count(), &[(RDI, DATA)])?;
    Ok(())
}

fn misuse(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (thread, port, reference) = (DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE);
    require!(child.status(bench, Call::ThreadCreate, &[thread])?, 0);
    require!(child.status(bench, Call::PortCreate, &[port])?, 0);
    require!(child.status(bench, Call::ReferenceCreate, &[reference])?, 0);
    let answer = Answer::misuse;
    let schedule = Call::ThreadSchedule;
    require!(child.call(bench, schedule, &[thread, 0, 3])?, answer(Misuse::BadArgument));
    require!(child.call(bench, schedule, &[thread, 0, u64::MAX])?, answer(Misuse::BadArgument));
    require!(child.call(bench, schedule, &[port])?, answer(Misuse::WrongType));
    require!(child.call(bench, schedule, &[thread, 0, 0, port])?, answer(Misuse::WrongType));
    require!(child.call(bench, schedule, &[DATA + 0x800])?, answer(Misuse::NoObject));
    require!(child.call(bench, schedule, &[HOLE])?, answer(Misuse::NoRight));
    let set = Call::ThreadSetScheduler;
    require!(child.call(bench, set, &[thread, reference, 0])?, answer(Misuse::NullReference));
    require!(child.call(bench, set, &[port, 0, 0])?, answer(Misuse::WrongType));
    require!(child.status(bench, Call::ThreadReference, &[thread, reference])?, 0);
    require!(child.call(bench, set, &[thread, reference, 0])?, answer(Misuse::WrongType));
    // Who can only read a thread can donate to it, not say where it has its time from.
    let region = Region::new(&child.memory, 0x1000, 0x1000, Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, 0x1000, Rights::READ)?;
    require!(child.call(bench, set, &[HOLE, 0, 0])?, answer(Misuse::NoRight));
    require!(child.status(bench, schedule, &[HOLE])?, Status::Blocked as u64);
    // Itself.
    child.memory.write_bytes(0, code::system_call())?;
    second_thread(&child, DATA + 0x400, &[(RAX, schedule as u64), (RDI, DATA + 0x400)], CODE)?;
    let scheduled = system_call::thread_schedule(child.own_address(DATA + 0x400), 0, Sensitivity::Block, 0);
    require!(ended(scheduled)?.0, Status::Blocked);
    let event = bench.receive();
    require!(child.answer(event)?, answer(Misuse::CurrentThread));
    Ok(())
}

/// A client that sleeps by now.
fn sleeping(bench: &mut Bench, hand: &mut Hand, value: u64) -> Result<(Native, Reference), Failure> {
    let (sleeper, reference) = sleeper(bench, hand, value)?;
    require!(hand.asked(bench)?, Some(value));
    require!(ended(hand.donate(bench, &sleeper.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    Ok((sleeper, reference))
}

/// A child with time from the root that wakes a sleeper when the caller has had its turn to donate: some slices from now.
fn waker(bench: &mut Bench, reference: &Reference) -> Result<Native, Failure> {
    let mut waker = Native::new(bench)?;
    give(&waker, DATA, reference)?;
    let later = bench.microseconds(30_000).unwrap_or(1);
    waker.begin(code::send_at(), &[(RDI, DATA), (RSI, 1), (R9, later)])?;
    Ok(waker)
}

fn switches_only(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    // The target cannot run, which is not told; that another client could is.
    let (_sleeper, reference) = sleeping(bench, &mut hand, 1)?;
    let (other, _) = sleeping(bench, &mut hand, 2)?;
    let _waker = waker(bench, &reference)?;
    let received = message(hand.donate(bench, &other.thread, 500_000, Sensitivity::Switch))?;
    require!((received.kind, received.words[0]), (MessageKind::Wakeup, 1));
    // The same client goes on without the scheduler: it is woken, runs to its exception, and waits again.
    let (sleeper, reference) = sleeping(bench, &mut hand, 1)?;
    let _waker = waker(bench, &reference)?;
    let (status, ..) = ended(hand.donate(bench, &sleeper.thread, 100_000, Sensitivity::Switch))?;
    require!(status, Status::TimedOut);
    require!(hand.asked(bench)?, None);
    Ok(())
}

fn conflicts_only(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let (sleeper, reference) = sleeping(bench, &mut hand, 1)?;
    let (other, _) = sleeping(bench, &mut hand, 2)?;
    let _waker = waker(bench, &reference)?;
    // Nobody is told that the other client has the donation now.
    let (status, value, _) = ended(hand.donate(bench, &other.thread, 100_000, Sensitivity::Conflict))?;
    require!((status, value), (Status::TimedOut, 1));
    // Those of the waker and of the sleeper, which have run to their ends.
    for _ in 0..2 {
        require!(matches!(bench.receive(), Event::Exception { .. }), true);
    }
    drop(sleeper);
    // Two that could run are a conflict.
    let counting = counter(bench, &hand, 3)?;
    require!(hand.asked(bench)?, Some(3));
    let (_sleeper, reference) = sleeping(bench, &mut hand, 1)?;
    let _waker = waker(bench, &reference)?;
    let received = message(hand.donate(bench, &counting.thread, 500_000, Sensitivity::Conflict))?;
    require!((received.kind, received.words[0]), (MessageKind::Wakeup, 1));
    Ok(())
}

fn servers_run_on_the_time_of_clients(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    // The server has no time of its own; it needs some to begin waiting.
    let mut server = Native::new(bench)?;
    let reference = server.serves()?;
    server.begin(code::serve_for_ever(), &[(RDI, DATA)])?;
    server.thread.set_scheduler(None, 0)?;
    let (status, ..) = ended(system_call::thread_schedule(server.thread.address(), 0, Sensitivity::Block, 0))?;
    require!(status, Status::Blocked);
    let caller = client(bench, &hand, 1, code::call_and_count(), &[(RDI, DATA), (RBX, DATA + 0x800)])?;
    give(&caller, DATA, &reference)?;
    require!(hand.asked(bench)?, Some(1));
    let before = caller.thread.time_used()?;
    for _ in 0..10 {
        let (status, ..) = ended(hand.donate(bench, &caller.thread, 1000, Sensitivity::Block))?;
        require!(status, Status::TimedOut);
    }
    let count = caller.read(DATA + 0x800)?;
    if count < 10 {
        fail!("{count} calls were served");
    }
    // Neither runs without a donation; the time of both is the client's.
    let_run(bench)?;
    require!(caller.read(DATA + 0x800)?, count);
    let used = caller.thread.time_used()? - before;
    let most = protocols::libc::time::ticks(15_000, 1_000_000, bench.frequency());
    if used == 0 || used > most {
        fail!("{used} ticks were charged, at most {most} were given");
    }
    Ok(())
}

fn replies_hand_no_time_over(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let registers = [(RDI, DATA), (RBX, DATA + 0x800)];
    let caller = client(bench, &hand, 1, code::call_and_count(), &registers)?;
    // We serve it, with time from the root.
    let server = Server::new()?;
    let port = server.port(6)?;
    give(&caller, DATA, port.reference())?;
    require!(hand.asked(bench)?, Some(1));
    require!(ended(hand.donate(bench, &caller.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    let portset = server.portset().address();
    let received = system_call::ipc_wait_receive(portset, 0)?;
    require!(received.kind, MessageKind::Call);
    // Whatever it is replied by, it has to ask for time to go on.
    let soon = bench.microseconds(2000).unwrap_or(1);
    let again = system_call::ipc_reply_wait_receive(portset, soon, &[0; 8]);
    require!(again.err(), Some(Status::TimedOut));
    require!(caller.read(DATA + 0x800)?, 0);
    require!(hand.asked(bench)?, Some(1));
    require!(ended(hand.donate(bench, &caller.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    require!(caller.read(DATA + 0x800)?, 1);
    require!(system_call::ipc_wait_receive(portset, 0)?.kind, MessageKind::Call);
    system_call::ipc_reply(&[0; 8])?;
    require!(hand.asked(bench)?, Some(1));
    require!(caller.read(DATA + 0x800)?, 1);
    Ok(())
}

fn new_threads_have_no_time(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let creator =
        client(bench, &hand, 1, code::system_call(), &[(RAX, Call::ThreadCreate as u64), (RDI, DATA + 0x400)])?;
    require!(hand.asked(bench)?, Some(1));
    require!(ended(hand.donate(bench, &creator.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    let own = creator.own_address(DATA + 0x400);
    require!(system_call::thread_get_scheduler(own, 0)?, (TimeSource::Donated, 0, 0));
    creator.memory.write_bytes(0, code::count())?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    state.gpr[RDI] = DATA;
    objects::set_native_thread(own, &state, creator.space.reference(), Run::Go)?;
    require!(hand.asked(bench)?, None);
    require!(creator.read(DATA)?, 0);
    let deadline = bench.microseconds(1000).unwrap_or(1);
    require!(ended(system_call::thread_schedule(own, deadline, Sensitivity::Block, 0))?.0, Status::TimedOut);
    require!(creator.read(DATA)? > 0, true);
    Ok(())
}

fn source_is_told(bench: &mut Bench) -> Verdict {
    let hand = Hand::new()?;
    let child = Native::new(bench)?;
    let reference = Reference::new()?;
    let get = || system_call::thread_get_scheduler(child.thread.address(), reference.address());
    require!(get()?, (TimeSource::Root, 0, 0));
    require!(reference.check()?, None);
    child.thread.set_scheduler(Some(&hand.port), u64::MAX)?;
    require!(get()?, (TimeSource::Scheduler, u64::MAX, 0));
    reference.send(1)?;
    let mut hand = hand;
    require!(hand.server.receive(Some(1)), Event::Notification { alias: ALIAS, bits: 1 });
    child.thread.set_scheduler(None, 5)?;
    require!(get()?, (TimeSource::Donated, 5, 0));
    require!(reference.check()?, None);
    Ok(())
}

fn donors_stop_and_go_on(bench: &mut Bench) -> Verdict {
    let mut child = donor(bench, Sensitivity::Switch)?;
    let_run(bench)?;
    // It is about to make its call.
    let state = child.thread.native_state()?;
    require!((state.gpr[RAX], state.gpr[RDI], state.rip), (Call::ThreadSchedule as u64, TARGET, CODE));
    child.thread.go()?;
    let_run(bench)?;
    // Set to something else, it gives its donation up.
    require!(matches!(child.run(bench, code::breakpoint(), &[])?, Answer::Exception(3, _)), true);
    let target = child.own_address(TARGET);
    require!(ended(system_call::thread_schedule(target, 0, Sensitivity::Block, 0))?.0, Status::Blocked);
    // A stopped scheduler's client has no time; when it goes on, the client does.
    let mut hand = Hand::new()?;
    let mut nested = Nested::new(bench)?;
    nested.child.thread.set_scheduler(Some(&hand.port), 1)?;
    nested.begin()?;
    require!(hand.asked(bench)?, Some(1));
    require!(ended(hand.donate(bench, &nested.child.thread, 3000, Sensitivity::Block))?.0, Status::TimedOut);
    let count = nested.count()?;
    require!(count > 0, true);
    nested.child.thread.stop()?;
    require!(ended(hand.donate(bench, &nested.child.thread, 3000, Sensitivity::Block))?.0, Status::Blocked);
    require!(nested.count()?, count);
    nested.child.thread.go()?;
    require!(hand.asked(bench)?, Some(1));
    require!(ended(hand.donate(bench, &nested.child.thread, 3000, Sensitivity::Block))?.0, Status::TimedOut);
    require!(nested.count()? > count, true);
    Ok(())
}

fn scheduler_port_destroyed(bench: &mut Bench) -> Verdict {
    let hand = Hand::new()?;
    let child = counter(bench, &hand, 1)?;
    drop(hand);
    let_run(bench)?;
    require!(child.read(DATA)?, 0);
    let mut hand = Hand::new()?;
    child.thread.set_scheduler(Some(&hand.port), 2)?;
    require!(hand.asked(bench)?, Some(2));
    Ok(())
}

fn scheduler_revoked(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let (mut child, reference) = sleeper(bench, &hand, 1)?;
    // Through a copy of a grant, which nothing else is asked through.
    let grant = hand.port.reference().grant()?;
    let copy = Reference::new()?;
    system_call::reference_copy(grant.granting().address(), copy.address())?;
    system_call::thread_set_scheduler(child.thread.address(), copy.address(), 2)?;
    let get = || system_call::thread_get_scheduler(child.thread.address(), copy.address());
    while let Some(word) = hand.asked(bench)? {
        require!(matches!(word, 1 | 2), true);
    }
    require!(ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    require!(get()?.0, TimeSource::Scheduler);
    drop(grant);
    require!(get()?.0, TimeSource::Donated);
    require!(copy.check()?, None);
    reference.send(1)?;
    require!(hand.asked(bench)?, None);
    // It can still be donated to, and be given another.
    require!(ended(hand.donate(bench, &child.thread, 5000, Sensitivity::Block))?.0, Status::Blocked);
    let other = counter(bench, &hand, 5)?;
    require!(hand.asked(bench)?, Some(5));
    drop(other);
    let event = bench.receive();
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    child.thread.set_scheduler(Some(&hand.port), 3)?;
    child.begin(code::count(), &[(RDI, DATA + 0x800)])?;
    require!(hand.asked(bench)?, Some(3));
    Ok(())
}

fn virtual_cpus(bench: &mut Bench) -> Verdict {
    let mut hand = Hand::new()?;
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, guest::DATA)])?;
    guest.cpu.set_scheduler(Some(&hand.port), 6)?;
    guest.cpu.go()?;
    require!(hand.asked(bench)?, Some(6));
    require!(guest.memory.read::<u64>(guest::DATA)?, 0);
    require!(ended(hand.donate(bench, &guest.cpu, 3000, Sensitivity::Block))?.0, Status::TimedOut);
    let count = guest.memory.read::<u64>(guest::DATA)?;
    require!(count > 0, true);
    require!(hand.asked(bench)?, None);
    require!(guest.memory.read::<u64>(guest::DATA)?, count);
    // HLT is waiting, a posted interrupt a wake-up.
    let guest = Guest::new(bench, code::guest_wait(), &[])?;
    guest.cpu.set_scheduler(Some(&hand.port), 7)?;
    guest.cpu.go()?;
    require!(hand.asked(bench)?, Some(7));
    require!(ended(hand.donate(bench, &guest.cpu, 100_000, Sensitivity::Block))?.0, Status::Blocked);
    guest.cpu.interrupt(0x20)?;
    require!(hand.asked(bench)?, Some(7));
    // Through the other door.
    let registers = [(RAX, Call::ThreadSchedule as u64), (RDI, 0)];
    let mut guest = Guest::new(bench, code::guest_call(), &registers)?;
    guest.allow(protocols::policy::Controls::VMCALL, 0)?;
    let exit = guest.start(bench)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), Status::Ok as u64));
    Ok(())
}

/// Runs counting children under a policy for so many milliseconds; returns what each counted to.
fn counts<P: Policy>(
    bench: &mut Bench,
    policy: P,
    shares: impl IntoIterator<Item = P::Share>,
    milliseconds: u64,
) -> Result<Vec<u64>, Failure> {
    let mut scheduler = Scheduler::new(policy)?;
    let mut children = Vec::new();
    let shares: Vec<_> = shares.into_iter().collect();
    for _ in &shares {
        let mut child = Native::new(bench)?;
        // One turn each before, so that nobody's time goes into first touches.
        child.begin(code::count(), &[(RDI, DATA)])?;
        bench.run_until(|| Ok(child.read(DATA)? > 0))?;
        child.thread.stop()?;
        children.push(child);
    }
    for (child, share) in children.iter().zip(shares) {
        scheduler.add(&child.thread, share)?;
    }
    for child in &mut children.iter() {
        child.write(DATA, 0)?;
        child.thread.go()?;
    }
    let end = bench.microseconds(milliseconds * 1000);
    require!(scheduler.run(end), Event::TimedOut);
    children.iter().map(|child| child.read(DATA)).collect()
}

/// Fails unless `counts` are in proportion to `shares` within a tenth.
fn in_proportion(counts: &[u64], shares: &[u64]) -> Verdict {
    let (all, total) = (counts.iter().sum::<u64>(), shares.iter().sum::<u64>());
    for (&count, &share) in counts.iter().zip(shares) {
        let fair = all * share / total;
        if all == 0 || count.abs_diff(fair) > fair / 10 {
            fail!("{counts:?} are not in proportion to {shares:?}");
        }
    }
    Ok(())
}

/// Milliseconds in a turn: many times what emulators let pass between looking at the clock.
const TURN: u64 = 1;

fn turn(bench: &Bench) -> u64 {
    protocols::libc::time::ticks(TURN, 1000, bench.frequency())
}

fn round_robin(bench: &mut Bench) -> Verdict {
    let counts = counts(bench, RoundRobin::new(turn(bench)), [(); 3], 90 * TURN)?;
    in_proportion(&counts, &[1, 1, 1])
}

fn fixed_priority(bench: &mut Bench) -> Verdict {
    let found = counts(bench, FixedPriority::new(turn(bench)), [1, 7, 7], 40 * TURN)?;
    require!(found[0], 0);
    in_proportion(&found[1..], &[1, 1])
}

fn stride(bench: &mut Bench) -> Verdict {
    let found = counts(bench, Stride::new(turn(bench)), [3, 1], 100 * TURN)?;
    in_proportion(&found, &[3, 1])?;
    let found = counts(bench, Stride::new(turn(bench)), [1, 2, 5], 160 * TURN)?;
    in_proportion(&found, &[1, 2, 5])
}

/// A child whose first thread schedules two others, each for half a turn.
struct Nested {
    child: Native,
    slice: u64,
}

/// Where the code of its others is.
const COUNT: u64 = 0x100;

impl Nested {
    fn new(bench: &mut Bench) -> Result<Self, Failure> {
        let child = Native::new(bench)?;
        Ok(Self { child, slice: turn(bench) / 2 })
    }

    fn begin(&mut self) -> Verdict {
        let (one, other) = (TARGET, TARGET + OBJECT_SIZE);
        self.child.memory.write_bytes(COUNT, code::count())?;
        second_thread(&self.child, one, &[(RDI, DATA)], CODE + COUNT)?;
        second_thread(&self.child, other, &[(RDI, DATA + 8)], CODE + COUNT)?;
        self.child.begin(code::schedule_two_for_ever(), &[(RBX, one), (R8, other), (R9, self.slice)])
    }

    fn count(&self) -> Result<u64, Failure> {
        Ok(self.child.read(DATA)? + self.child.read(DATA + 8)?)
    }
}

fn nested_schedulers_get_no_more(bench: &mut Bench) -> Verdict {
    let mut nested = Nested::new(bench)?;
    let mut single = Native::new(bench)?;
    nested.child.thread.set_scheduler(None, 0)?;
    single.thread.set_scheduler(None, 0)?;
    single.begin(code::count(), &[(RDI, DATA)])?;
    let mut scheduler = Scheduler::new(Stride::new(turn(bench)))?;
    nested.begin()?;
    scheduler.add(&nested.child.thread, 1)?;
    scheduler.add(&single.thread, 1)?;
    let before = [&nested.child.thread, &single.thread].map(Thread::time_used);
    let end = bench.microseconds(100 * TURN * 1000);
    require!(scheduler.run(end), Event::TimedOut);
    let after = [&nested.child.thread, &single.thread].map(Thread::time_used);
    let used = [after[0]? - before[0]?, after[1]? - before[1]?];
    in_proportion(&used, &[1, 1])?;
    let (both, one) = (nested.count()?, single.read(DATA)?);
    // Its own scheduling costs it something, nobody else.
    if both > one + one / 10 || both < one / 2 {
        fail!("two under a nested scheduler counted to {both}, one beside it to {one}");
    }
    in_proportion(&[nested.child.read(DATA)?, nested.child.read(DATA + 8)?], &[1, 1])
}

fn floods_of_wakeups(bench: &mut Bench) -> Verdict {
    // Somebody with time from the root wakes a client again and again; another client gets on all the same.
    let mut scheduler = Scheduler::new(RoundRobin::new(turn(bench)))?;
    let mut woken = Native::new(bench)?;
    let reference = woken.serves()?;
    let mut counting = Native::new(bench)?;
    woken.begin(code::serve_for_ever(), &[(RDI, DATA)])?;
    let_run(bench)?;
    counting.thread.set_scheduler(None, 0)?;
    counting.begin(code::count(), &[(RDI, DATA)])?;
    scheduler.add(&woken.thread, ())?;
    scheduler.add(&counting.thread, ())?;
    let mut waker = Native::new(bench)?;
    give(&waker, DATA, &reference)?;
    waker.begin(code::send_for_ever(), &[(RDI, DATA), (RSI, 1)])?;
    let deadline = bench.deadline();
    while counting.read(DATA)? == 0 {
        let end = bench.microseconds(10_000);
        require!(scheduler.run(end), Event::TimedOut);
        if deadline.is_some_and(|deadline| protocols::libc::time::now() > deadline) {
            fail!("the other client never ran");
        }
    }
    Ok(())
}
