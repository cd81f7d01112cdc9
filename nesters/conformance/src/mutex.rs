//! Mutexes.

use protocols::api::{Call, OBJECT_SIZE, Run, Status};
use protocols::exception::Misuse;
use protocols::libc::mutex::ThisThread;
use protocols::libc::{system_call, time};
use protocols::libnest::{Event, Mutex, Reference, objects};
use protocols::lock_word::WAITERS;
use protocols::policy::Controls;
use protocols::startup::THREAD_ADDRESS;
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{R12, R13, R14, RAX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::hostile::Random;
use crate::native::{Answer, CODE, DATA};
use crate::team::{COND, MUTEX, Team, name};

/// The tests.
pub const TESTS: &[Test] = &[
    ("mutex::uncontended", uncontended),
    ("mutex::waiters_take_turns", waiters_take_turns),
    ("mutex::excludes", excludes),
    ("mutex::deadlines", deadlines),
    ("mutex::status_comes_from_the_caller", status_comes_from_the_caller),
    ("mutex::destroyed_while_waiting", destroyed_while_waiting),
    ("mutex::waiter_is_destroyed", waiter_is_destroyed),
    ("mutex::misuse", misuse),
    ("mutex::state", state),
    ("mutex::moved_while_waiting", moved_while_waiting),
    ("mutex::stopped_while_waiting", stopped_while_waiting),
    ("mutex::recreated_while_waiting", recreated_while_waiting),
    ("mutex::recreated_at_any_time", recreated_at_any_time),
    ("mutex::waiter_loses_its_address", waiter_loses_its_address),
    ("mutex::from_a_machine", from_a_machine),
    ("mutex::machine_and_native_thread", machine_and_native_thread),
    ("mutex::hostile_words", hostile_words),
    ("mutex::shared_between_spaces", shared_between_spaces),
    ("mutex::of_a_program", of_a_program),
];

const LOCK: [u64; 3] = [MUTEX, 0, 0];

fn uncontended(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    require!(team.word()?, 0);
    for call in [Call::MutexLock, Call::MutexTrylock] {
        team.call(bench, 0, call, LOCK, Status::Ok)?;
        require!(team.word()?, name(0));
        team.call(bench, 1, Call::MutexTrylock, LOCK, Status::Held)?;
        require!(team.word()?, name(0));
        team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
        require!(team.word()?, 0);
    }
    Ok(())
}

fn waiters_take_turns(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 4)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    for member in 1..4 {
        team.begin_to_wait(bench, member, Call::MutexLock, LOCK)?;
        require!(team.word()?, name(0) | WAITERS);
    }
    for member in 0..3 {
        team.call(bench, member, Call::MutexUnlock, LOCK, Status::Ok)?;
        team.ends(bench, member + 1, Status::Ok)?;
        let waiters = if member < 2 { WAITERS } else { 0 };
        require!(team.word()?, name(member + 1) | waiters);
        if member < 2 {
            team.waits(bench, 3)?;
        }
    }
    team.call(bench, 3, Call::MutexUnlock, LOCK, Status::Ok)?;
    require!(team.word()?, 0);
    Ok(())
}

fn excludes(bench: &mut Bench) -> Verdict {
    const ROUNDS: u64 = 40;
    const COUNTER: u64 = DATA + 0x2000;
    let team = Team::new(bench, 3)?;
    for member in team.members() {
        let registers = [(R12, name(member)), (R13, ROUNDS), (R14, COUNTER)];
        team.run(member, code::lock_and_count(), &registers, LOCK)?;
    }
    for member in team.members() {
        team.ends(bench, member, Status::Ok)?;
    }
    require!(team.child.read(COUNTER)?, 3 * ROUNDS);
    require!(team.word()?, 0);
    Ok(())
}

fn deadlines(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 3)?;
    // A Mutex that is free is locked however late it is.
    team.call(bench, 0, Call::MutexLock, [MUTEX, 1, 0], Status::Ok)?;
    team.call(bench, 1, Call::MutexLock, [MUTEX, 1, 0], Status::TimedOut)?;
    require!(team.word()?, name(0));
    let deadline = bench.microseconds(2000).unwrap_or(1);
    team.begin(1, Call::MutexLock, [MUTEX, deadline, 0])?;
    team.begin_to_wait(bench, 2, Call::MutexLock, LOCK)?;
    team.ends(bench, 1, Status::TimedOut)?;
    if time::now() < deadline {
        fail!("it ended {} ticks before its deadline", deadline - time::now());
    }
    // Who waits longer is not affected, nor is who waited first.
    require!(team.word()?, name(0) | WAITERS);
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 2, Status::Ok)?;
    // A deadline that was not reached does nothing later.
    let deadline = bench.microseconds(3000).unwrap_or(1);
    team.begin(0, Call::MutexLock, [MUTEX, deadline, 0])?;
    team.call(bench, 2, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 0, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    bench.run_until(|| Ok(time::now() > deadline))?;
    team.waits(bench, 1)?;
    require!(team.word()?, name(0) | WAITERS);
    Ok(())
}

fn status_comes_from_the_caller(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    team.call(bench, 0, Call::MutexLock, [MUTEX, 0, Status::TimedOut as u64], Status::TimedOut)?;
    require!(team.word()?, name(0));
    team.begin_to_wait(bench, 1, Call::MutexLock, [MUTEX, 0, 0x1234_5678])?;
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    bench.run_until(|| Ok(team.result(1)? == Some(0x1234_5678)))?;
    require!(team.word()?, name(1));
    Ok(())
}

fn destroyed_while_waiting(bench: &mut Bench) -> Verdict {
    let mut team = Team::new(bench, 4)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    let deadline = bench.microseconds(1_000_000).unwrap_or(1);
    team.begin_to_wait(bench, 2, Call::MutexLock, [MUTEX, deadline, 0])?;
    team.call(bench, 3, Call::MutexDestroy, LOCK, Status::Ok)?;
    team.ends(bench, 1, Status::Destroyed)?;
    team.ends(bench, 2, Status::Destroyed)?;
    require!(team.word()?, name(0));
    require!(team.misuse(bench, 0, Call::MutexUnlock, LOCK)?, Answer::misuse(Misuse::NoObject));
    require!(team.misuse(bench, 1, Call::MutexLock, LOCK)?, Answer::misuse(Misuse::NoObject));
    // A new one at the same place is free.
    team.call(bench, 3, Call::MutexCreate, LOCK, Status::Ok)?;
    require!(team.word()?, 0);
    team.call(bench, 1, Call::MutexLock, LOCK, Status::Ok)?;
    Ok(())
}

fn waiter_is_destroyed(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 4)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    for member in 1..4 {
        team.begin_to_wait(bench, member, Call::MutexLock, LOCK)?;
    }
    system_call::thread_destroy(team.thread(1))?;
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 2, Status::Ok)?;
    require!(team.word()?, name(2) | WAITERS);
    system_call::thread_destroy(team.thread(3))?;
    require!(team.word()?, name(2));
    Ok(())
}

fn misuse(bench: &mut Bench) -> Verdict {
    let mut team = Team::new(bench, 2)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    for call in [Call::MutexLock, Call::MutexTrylock] {
        require!(team.misuse(bench, 0, call, LOCK)?, Answer::misuse(Misuse::AlreadyOwner));
    }
    require!(team.word()?, name(0));
    require!(team.misuse(bench, 1, Call::MutexUnlock, LOCK)?, Answer::misuse(Misuse::NotOwner));
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    require!(team.misuse(bench, 0, Call::MutexUnlock, LOCK)?, Answer::misuse(Misuse::NotOwner));
    for call in [Call::MutexLock, Call::MutexTrylock, Call::MutexUnlock, Call::MutexGetState, Call::MutexSetState] {
        require!(team.misuse(bench, 0, call, [COND, 0, 0])?, Answer::misuse(Misuse::WrongType));
        require!(team.misuse(bench, 0, call, [MUTEX + 8, 0, 0])?, Answer::misuse(Misuse::NotAligned));
        require!(team.misuse(bench, 0, call, [DATA + 0x2000, 0, 0])?, Answer::misuse(Misuse::NoObject));
        require!(team.misuse(bench, 0, call, [0, 0, 0])?, Answer::misuse(Misuse::NoRight));
    }
    // The child's first thread does not see its own object.
    for call in [Call::MutexLock, Call::MutexTrylock, Call::MutexUnlock] {
        let registers = [(RAX, call as u64), (RDI, MUTEX)];
        team.child.begin(code::system_call(), &registers)?;
        let event = bench.receive();
        require!(team.child.answer(event)?, Answer::misuse(Misuse::NoSelf));
        require!(bench.receive_until(Some(1)), Event::TimedOut);
    }
    require!(team.word()?, 0);
    Ok(())
}

fn state(bench: &mut Bench) -> Verdict {
    let mut team = Team::new(bench, 3)?;
    require!(team.owner()?, 0);
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    require!(team.owner()?, name(0));
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    team.begin_to_wait(bench, 2, Call::MutexLock, LOCK)?;
    require!(team.owner()?, name(0));
    // Another owner; those who wait go on waiting.
    team.set_owner(0x40)?;
    require!(team.word()?, 0x40 | WAITERS);
    team.waits(bench, 1)?;
    // Unlocked from outside.
    team.set_owner(0)?;
    team.ends(bench, 1, Status::Ok)?;
    require!(team.word()?, name(1) | WAITERS);
    // Nothing is asked for, nothing is set.
    team.call(bench, 0, Call::MutexGetState, LOCK, Status::Ok)?;
    team.call(bench, 0, Call::MutexSetState, LOCK, Status::Ok)?;
    require!(team.word()?, name(1) | WAITERS);
    team.child.write(DATA + 0x2000, 0x41)?;
    let set = team.misuse(bench, 0, Call::MutexSetState, [MUTEX, DATA + 0x2000, 0])?;
    require!(set, Answer::misuse(Misuse::BadArgument));
    // It can be referred to.
    let (mutex, reference) = (team.child.own_address(MUTEX), Reference::new()?);
    system_call::mutex_reference(mutex, reference.address())?;
    require!(reference.check()?, Some(protocols::api::ObjectType::Mutex));
    Ok(())
}

fn moved_while_waiting(bench: &mut Bench) -> Verdict {
    const ELSEWHERE: u64 = DATA + 0x800;
    let mut team = Team::new(bench, 3)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    team.call(bench, 2, Call::MutexMove, [MUTEX, ELSEWHERE, 0], Status::Ok)?;
    require!(team.child.read(ELSEWHERE)?, name(0) | WAITERS);
    require!(team.misuse(bench, 0, Call::MutexUnlock, LOCK)?, Answer::misuse(Misuse::NoObject));
    team.waits(bench, 1)?;
    team.call(bench, 0, Call::MutexUnlock, [ELSEWHERE, 0, 0], Status::Ok)?;
    team.ends(bench, 1, Status::Ok)?;
    require!(team.child.read(ELSEWHERE)?, name(1));
    Ok(())
}

/// The registers of a waiting thread must say that it is about to make its call.
fn about_to_lock(team: &Team, member: u64, status: u64) -> Result<protocols::api::NativeState, Failure> {
    let state = team.state(member)?;
    let arguments = [RAX, RDI, RSI, RDX].map(|register| state.gpr[register]);
    require!(arguments, [Call::MutexLock as u64, MUTEX, 0, status]);
    require!((state.rip, state.stopped), (CODE, 1));
    Ok(state)
}

fn stopped_while_waiting(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 3)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    about_to_lock(&team, 1, 0)?;
    // It has lost its turn, and nobody waits.
    require!(team.word()?, name(0));
    team.go(1)?;
    team.waits(bench, 1)?;
    require!(team.word()?, name(0) | WAITERS);
    team.stop(1)?;
    require!(team.word()?, name(0));
    team.begin_to_wait(bench, 2, Call::MutexLock, LOCK)?;
    team.go(1)?;
    team.waits(bench, 1)?;
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 2, Status::Ok)?;
    team.call(bench, 2, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 1, Status::Ok)?;
    require!(team.word()?, name(1));
    Ok(())
}

fn recreated_while_waiting(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    let state = about_to_lock(&team, 1, 0)?;
    team.recreate(1, &state)?;
    team.waits(bench, 1)?;
    require!(team.word()?, name(0) | WAITERS);
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 1, Status::Ok)?;
    require!(team.word()?, name(1));
    Ok(())
}

fn recreated_at_any_time(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    for delay in (1..4000).step_by(47) {
        team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
        team.begin(1, Call::MutexLock, LOCK)?;
        bench.receive_until(Some(time::now() + delay));
        team.recreate(1, &team.state(1)?)?;
        team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
        team.ends(bench, 1, Status::Ok)?;
        require!((delay, team.word()?), (delay, name(1)));
        team.begin(1, Call::MutexUnlock, LOCK)?;
        bench.receive_until(Some(time::now() + delay));
        team.recreate(1, &team.state(1)?)?;
        team.ends(bench, 1, Status::Ok)?;
        require!((delay, team.word()?), (delay, 0));
    }
    Ok(())
}

fn waiter_loses_its_address(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 3)?;
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.begin_to_wait(bench, 1, Call::MutexLock, LOCK)?;
    team.begin_to_wait(bench, 2, Call::MutexLock, LOCK)?;
    // It is moved by somebody who knows no address that the thread would know it by.
    let (old, new) = (team.thread(1), team.child.own_address(DATA + 0x800));
    system_call::thread_move(old, new)?;
    team.begin(0, Call::MutexUnlock, LOCK)?;
    let Event::Exception { exception, .. } = bench.receive() else { fail!("no exception") };
    require!((exception.error, exception.address), (Misuse::NoSelf as u64, Call::MutexLock as u64));
    team.ends(bench, 0, Status::Ok)?;
    team.ends(bench, 2, Status::Ok)?;
    require!(team.word()?, name(2));
    Ok(())
}

/// A guest's calls, one after the other.
struct Caller {
    guest: Guest,
    started: bool,
}

impl Caller {
    fn new(bench: &mut Bench) -> Result<Self, Failure> {
        let guest = Guest::new(bench, code::guest_call(), &[])?;
        guest.allow(Controls::VMCALL, 0)?;
        Ok(Self { guest, started: false })
    }

    fn begin(&mut self, call: Call, arguments: [u64; 3]) -> Result<(), Failure> {
        let mut state = self.guest.state()?;
        (state.rip, state.gpr[RAX]) = (guest::CODE, call as u64);
        [state.gpr[RDI], state.gpr[RSI], state.gpr[RDX]] = arguments;
        self.guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)
    }

    /// The status of a call, `None` for misuse.
    fn call(&mut self, bench: &mut Bench, call: Call, arguments: [u64; 3]) -> Result<Option<u64>, Failure> {
        self.begin(call, arguments)?;
        let exit = if core::mem::replace(&mut self.started, true) {
            self.guest.reply(bench, Default::default())?
        } else {
            self.guest.start(bench)?
        };
        Ok((guest::port(&exit) == Some(guest::END_PORT)).then_some(exit.rax))
    }
}

fn from_a_machine(bench: &mut Bench) -> Verdict {
    const GUEST_MUTEX: u64 = guest::DATA;
    const GUEST_COND: u64 = guest::DATA + OBJECT_SIZE;
    const OWN: u64 = guest::DATA + 0x400;
    let mut caller = Caller::new(bench)?;
    let mut call = |bench: &mut Bench, call, arguments| caller.call(bench, call, arguments);
    let (ok, misuse) = (Some(Status::Ok as u64), None);
    require!(call(bench, Call::MutexCreate, [GUEST_MUTEX, 0, 0])?, ok);
    require!(call(bench, Call::CondCreate, [GUEST_COND, 0, 0])?, ok);
    require!(call(bench, Call::MutexLock, [GUEST_MUTEX, 0, 0])?, misuse);
    system_call::thread_set_self(caller.guest.cpu.address(), OWN)?;
    let mut call = |bench: &mut Bench, call, arguments| {
        let status = caller.call(bench, call, arguments)?;
        Ok::<_, Failure>((status, caller.guest.memory.read::<u64>(GUEST_MUTEX)?))
    };
    let lock = [GUEST_MUTEX, 0, 0];
    require!(call(bench, Call::MutexLock, lock)?, (ok, OWN));
    require!(call(bench, Call::MutexLock, lock)?, (misuse, OWN));
    require!(call(bench, Call::MutexUnlock, lock)?, (ok, 0));
    require!(call(bench, Call::MutexTrylock, lock)?, (ok, OWN));
    require!(call(bench, Call::CondWait, [GUEST_COND, GUEST_MUTEX, 1])?, (Some(Status::TimedOut as u64), OWN));
    let soon = bench.microseconds(500).unwrap_or(1);
    require!(call(bench, Call::CondWait, [GUEST_COND, GUEST_MUTEX, soon])?, (Some(Status::TimedOut as u64), OWN));
    require!(call(bench, Call::CondSignal, [GUEST_COND, 0, 0])?, (ok, OWN));
    require!(call(bench, Call::CondBroadcast, [GUEST_COND, 0, 0])?, (ok, OWN));
    require!(call(bench, Call::MutexMove, [GUEST_MUTEX, GUEST_MUTEX + 128, 0])?, (ok, OWN));
    require!(call(bench, Call::MutexMove, [GUEST_MUTEX + 128, GUEST_MUTEX, 0])?, (ok, OWN));
    require!(call(bench, Call::MutexUnlock, lock)?, (ok, 0));
    require!(call(bench, Call::MutexUnlock, lock)?, (misuse, 0));
    caller.guest.memory.write(GUEST_MUTEX, &0x40_u64)?;
    let mut call = |bench: &mut Bench, call, arguments| caller.call(bench, call, arguments);
    require!(call(bench, Call::MutexTrylock, lock)?, Some(Status::Held as u64));
    require!(call(bench, Call::MutexLock, [GUEST_MUTEX, 1, 0])?, Some(Status::TimedOut as u64));
    let soon = bench.microseconds(500).unwrap_or(1);
    require!(call(bench, Call::MutexLock, [GUEST_MUTEX, soon, 0])?, Some(Status::TimedOut as u64));
    Ok(())
}

fn machine_and_native_thread(bench: &mut Bench) -> Verdict {
    // A native child sees the machine's memory, and the Mutex in it.
    const GUEST_MUTEX: u64 = guest::DATA;
    const OWN: u64 = guest::DATA + 0x400;
    const WINDOW: u64 = crate::native::HOLE;
    let team = Team::new(bench, 1)?;
    let mut caller = Caller::new(bench)?;
    let all = protocols::api::Rights::all();
    let size = protocols::address::PAGE_SIZE;
    let _window =
        protocols::libnest::Mapping::new(&caller.guest.region, GUEST_MUTEX, &team.child.space, WINDOW, size, all)?;
    system_call::thread_set_self(caller.guest.cpu.address(), OWN)?;
    require!(caller.call(bench, Call::MutexCreate, [GUEST_MUTEX, 0, 0])?, Some(0));
    require!(caller.call(bench, Call::MutexLock, [GUEST_MUTEX, 0, 0])?, Some(0));
    // While the virtual CPU waits for the reply to its exit, the native thread waits for the Mutex.
    team.begin(0, Call::MutexLock, [WINDOW, 0, 0])?;
    caller.begin(Call::MutexUnlock, [GUEST_MUTEX, 0, 0])?;
    let event = bench.reply(&protocols::libnest::server::machine(Default::default()));
    let exit = caller.guest.exit(event)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), 0));
    team.ends(bench, 0, Status::Ok)?;
    require!(caller.guest.memory.read::<u64>(GUEST_MUTEX)?, name(0));
    // And the other way round; stopped and let go meanwhile, and its registers still say what it was about to do.
    caller.begin(Call::MutexLock, [GUEST_MUTEX, 0, 0])?;
    caller.guest.cpu.go()?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(caller.guest.memory.read::<u64>(GUEST_MUTEX)?, name(0) | WAITERS);
    let state = caller.guest.state()?;
    require!((state.rip, state.gpr[RAX], state.gpr[RDI]), (guest::CODE, Call::MutexLock as u64, GUEST_MUTEX));
    require!(caller.guest.memory.read::<u64>(GUEST_MUTEX)?, name(0));
    caller.guest.cpu.go()?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    team.begin(0, Call::MutexUnlock, [WINDOW, 0, 0])?;
    let event = bench.receive();
    let exit = caller.guest.exit(event)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), 0));
    require!(caller.guest.memory.read::<u64>(GUEST_MUTEX)?, OWN);
    Ok(())
}

fn hostile_words(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    hostile_words_with(bench, seed).map_err(|Failure(why)| Failure(alloc::format!("{why} (seed={seed})")))
}

/// Threads lock, wait and unlock while the word changes under them. The kernel must come to an end each time, and work
/// as ever afterwards.
fn hostile_words_with(bench: &mut Bench, seed: u64) -> Verdict {
    let team = Team::new(bench, 3)?;
    let mut random = Random::new(seed);
    let calls = [
        Call::MutexLock,
        Call::MutexTrylock,
        Call::MutexUnlock,
        Call::CondWait,
        Call::CondSignal,
        Call::CondBroadcast,
        Call::MutexSetState,
    ];
    for _ in 0..300 {
        let word = random.word();
        let word = random.pick(&[word, word % 0x1000, 0, WAITERS, name(0), name(1) | WAITERS, name(2), u64::MAX]);
        team.child.write(MUTEX, word)?;
        let member = random.word() % 3;
        let call = random.pick(&calls);
        let soon = bench.microseconds(random.word() % 200).unwrap_or(1);
        let deadline = random.pick(&[0, 1, soon]);
        let arguments = match call {
            Call::CondWait => [COND, MUTEX, deadline],
            Call::CondSignal | Call::CondBroadcast => [COND, 0, 0],
            Call::MutexSetState => [MUTEX, MUTEX, 0],
            _ => [MUTEX, deadline, random.word()],
        };
        objects::run_thread(team.thread(member), Run::Stop)?;
        team.begin(member, call, arguments)?;
        let soon = bench.microseconds(50);
        match bench.receive_until(soon) {
            Event::TimedOut | Event::Exception { .. } => {}
            event => fail!("{event:x?}"),
        }
    }
    team.rest()?;
    bench.receive_until(Some(1));
    team.set_owner(0)?;
    for member in team.members() {
        team.call(bench, member, Call::MutexLock, LOCK, Status::Ok)?;
        require!(team.word()?, name(member));
        team.call(bench, member, Call::MutexUnlock, LOCK, Status::Ok)?;
    }
    Ok(())
}

fn shared_between_spaces(bench: &mut Bench) -> Verdict {
    // We take the child's Mutex ourselves, in our own view of its memory.
    let team = Team::new(bench, 1)?;
    let mutex = team.child.own_address(MUTEX);
    system_call::mutex_lock(mutex, 0)?;
    require!(team.word()?, THREAD_ADDRESS);
    team.begin_to_wait(bench, 0, Call::MutexLock, LOCK)?;
    system_call::mutex_unlock(mutex)?;
    team.ends(bench, 0, Status::Ok)?;
    require!(system_call::mutex_trylock(mutex), Err(Status::Held));
    let soon = bench.microseconds(500).unwrap_or(1);
    require!(system_call::mutex_lock(mutex, soon), Err(Status::TimedOut));
    team.begin(0, Call::MutexUnlock, LOCK)?;
    system_call::mutex_lock(mutex, 0)?;
    require!(team.owner()?, THREAD_ADDRESS);
    Ok(())
}

fn of_a_program(_: &mut Bench) -> Verdict {
    let Some(this) = ThisThread::get() else { fail!("the program's thread does not see its own object") };
    let mutex = Mutex::new(1u64)?;
    for round in 1..10 {
        let mut guard = mutex.lock(this)?;
        require!(*guard, round);
        *guard += 1;
    }
    match mutex.try_lock(this)? {
        Some(guard) => require!(*guard, 10),
        None => fail!("a free Mutex is held"),
    }
    drop(mutex.lock_until(this, Some(1))?);
    require!(mutex.reference()?.check()?, Some(protocols::api::ObjectType::Mutex));
    Ok(())
}
