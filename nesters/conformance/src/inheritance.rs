//! Waiting for a Mutex donates: to its owner, and to whom that waits for in turn.

use protocols::api::{Call, NativeState, OBJECT_SIZE, Run, Sensitivity, Status};
use protocols::libc::system_call::{self as call, Scheduled};
use protocols::libnest::schedule::{FixedPriority, Scheduler};
use protocols::libnest::{Event, Reference, Thread, objects};
use protocols::virtual_cpu::register::{R12, RAX, RBP, RBX, RDI, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{CODE, DATA, Native};
use crate::team::{MUTEX, Team, name};

/// The tests.
pub const TESTS: &[Test] = &[
    ("inheritance::owners_run_on_the_time_of_waiters", owners_run_on_the_time_of_waiters),
    ("inheritance::owners_run_until_the_deadline", owners_run_until_the_deadline),
    ("inheritance::owners_run_until_the_mutex_ends", owners_run_until_the_mutex_ends),
    ("inheritance::priorities_are_not_inverted", priorities_are_not_inverted),
    ("inheritance::time_is_that_of_the_waiters_space", time_is_that_of_the_waiters_space),
    ("inheritance::circles", circles),
    ("inheritance::nonsense_in_the_lock_word", nonsense_in_the_lock_word),
];

/// Where an owner's code is in the page of code, and a server's.
const OWNER: u64 = 0x100;
const SERVER: u64 = 0x200;
/// Where owners count.
const COUNT: u64 = DATA + 0x3000;
/// A second Mutex.
const OTHER: u64 = DATA + 0x3400;
const PORTSET: u64 = DATA + 0x3800;
const PORT: u64 = PORTSET + OBJECT_SIZE;
const NAME: u64 = PORTSET + 2 * OBJECT_SIZE;
const MEMBERS: u64 = 3;
/// How far an owner counts before it unlocks: a moment.
const MOMENT: u64 = 1000;

/// A team whose members have donated time only, and its codes.
fn team(bench: &mut Bench) -> Result<Team, Failure> {
    let mut team = Team::new(bench, MEMBERS)?;
    require!(team.child.status(bench, Call::MutexCreate, &[OTHER])?, Status::Ok as u64);
    require!(bench.receive_until(Some(1)), Event::TimedOut);
    call::portset_create(team.child.own_address(PORTSET))?;
    for member in team.members() {
        call::thread_set_scheduler(team.thread(member), 0, 0)?;
    }
    team.child.memory.write_bytes(OWNER, code::work_and_unlock())?;
    team.child.memory.write_bytes(SERVER, code::lock_for_clients())?;
    Ok(team)
}

fn go(team: &Team, member: u64, entry: u64, registers: &[(usize, u64)]) -> Verdict {
    let mut state = NativeState { rip: CODE + entry, rflags: 2, ..NativeState::default() };
    for &(register, value) in registers {
        state.gpr[register] = value;
    }
    Ok(objects::set_native_thread(team.thread(member), &state, team.child.space.reference(), Run::Go)?)
}

/// Makes a member the owner of a Mutex, which it would unlock after counting to `work` if it had time.
fn own(team: &Team, member: u64, mutex: u64, work: u64) -> Verdict {
    team.child.write(mutex, name(member))?;
    go(team, member, OWNER, &[(R12, work), (RSI, COUNT), (RBP, mutex)])
}

/// Lets the member that has time from the root begin to lock a Mutex. Returns its number.
fn rooted(team: &Team, arguments: [u64; 3]) -> Result<u64, Failure> {
    team.begin(MEMBERS - 1, Call::MutexLock, arguments)?;
    Ok(MEMBERS - 1)
}

/// A team whose last member has time from the root: the child's first thread, which has it, makes that one anew.
fn team_with_root(bench: &mut Bench) -> Result<Team, Failure> {
    let mut team = team(bench)?;
    let last = name(MEMBERS - 1);
    require!(team.child.status(bench, Call::ThreadDestroy, &[last])?, Status::Ok as u64);
    require!(team.child.status(bench, Call::ThreadCreate, &[last])?, Status::Ok as u64);
    require!(bench.receive_until(Some(1)), Event::TimedOut);
    Ok(team)
}

/// Fails unless what an owner counts stands still.
fn stands_still(bench: &mut Bench, team: &Team) -> Result<u64, Failure> {
    let count = team.child.read(COUNT)?;
    let soon = bench.microseconds(5000);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(team.child.read(COUNT)?, count);
    Ok(count)
}

fn owners_run_on_the_time_of_waiters(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    own(&team, 0, MUTEX, MOMENT)?;
    require!(stands_still(bench, &team)?, 0);
    // A chain: the last waits for the first, which waits for the second.
    own(&team, 1, OTHER, MOMENT)?;
    go(&team, 0, SERVER + lock_entry(), &[(RBP, OTHER), (RBX, PORTSET)])?;
    team.child.write(MUTEX, name(0))?;
    let member = rooted(&team, [MUTEX, 0, 0])?;
    // The first has no code to unlock its Mutex, but the second has unlocked its own and is off the CPU.
    bench.run_until(|| Ok(team.child.read(COUNT)? >= MOMENT))?;
    team.waits(bench, member)?;
    stands_still(bench, &team)?;
    Ok(())
}

fn owners_run_until_the_deadline(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    own(&team, 0, MUTEX, u64::MAX)?;
    let deadline = bench.microseconds(10_000).unwrap_or(1);
    let member = rooted(&team, [MUTEX, deadline, 0])?;
    team.ends(bench, member, Status::TimedOut)?;
    if stands_still(bench, &team)? == 0 {
        fail!("the owner never ran");
    }
    // A thread that is stopped while it waits donates no more either.
    let member = rooted(&team, [MUTEX, 0, 0])?;
    let count = team.child.read(COUNT)?;
    bench.run_until(|| Ok(team.child.read(COUNT)? > count))?;
    team.stop(member)?;
    stands_still(bench, &team)?;
    team.go(member)?;
    let count = team.child.read(COUNT)?;
    bench.run_until(|| Ok(team.child.read(COUNT)? > count))
}

fn owners_run_until_the_mutex_ends(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    own(&team, 0, MUTEX, MOMENT)?;
    let member = rooted(&team, [MUTEX, 0, 0])?;
    // It unlocks, and goes on counting, which it has no time for.
    team.ends(bench, member, Status::Ok)?;
    require!(team.child.read(MUTEX)?, name(member));
    stands_still(bench, &team)?;
    own(&team, 0, MUTEX, u64::MAX)?;
    let member = rooted(&team, [MUTEX, 0, 0])?;
    let count = team.child.read(COUNT)?;
    bench.run_until(|| Ok(team.child.read(COUNT)? > count))?;
    call::mutex_destroy(team.child.own_address(MUTEX))?;
    team.ends(bench, member, Status::Destroyed)?;
    stands_still(bench, &team)?;
    Ok(())
}

/// The server's code from where it locks on.
fn lock_entry() -> u64 {
    // Behind `mov rdi, rbx`, `xor r15d, r15d`, `mov eax, 0xa3` and `syscall`.
    3 + 3 + 5 + 2
}

fn priorities_are_not_inverted(bench: &mut Bench) -> Verdict {
    let turn = protocols::libc::time::ticks(1, 1000, bench.frequency());
    let team = team(bench)?;
    // The urgent thread calls a server, which locks for it a Mutex that somebody has who has no time at all.
    let [portset, port, own_name] = [PORTSET, PORT, NAME].map(|address| team.child.own_address(address));
    let reference = Reference::new()?;
    call::port_create(port)?;
    call::portset_reference(portset, reference.address())?;
    call::port_set_state(port, 5, reference.address())?;
    call::reference_create(own_name)?;
    call::port_reference(port, own_name)?;
    go(&team, 1, SERVER, &[(RBX, PORTSET), (RBP, MUTEX)])?;
    let ended = call::thread_schedule(team.thread(1), 0, Sensitivity::Block, 0);
    require!(matches!(ended, Scheduled::Ended { status: Status::Blocked, .. }), true);
    own(&team, 0, MUTEX, u64::MAX)?;

    let mut middle = Native::new(bench)?;
    let mut scheduler = Scheduler::<_, &Thread>::new(FixedPriority::new(turn))?;
    middle.begin(code::count(), &[(RDI, DATA)])?;
    middle.thread.stop()?;
    let before = middle.read(DATA)?;
    team.child.memory.write_bytes(0, code::system_call())?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    (state.gpr[RAX], state.gpr[RDI]) = (Call::IpcCall as u64, NAME);
    scheduler.add(&team.child.thread, 7)?;
    scheduler.add(&middle.thread, 3)?;
    team.child.thread.set_native_state(&state, Run::Go)?;
    middle.thread.go()?;
    let end = bench.microseconds(10_000);
    require!(scheduler.run(end), Event::TimedOut);
    require!(middle.read(DATA)?, before);
    if team.child.read(COUNT)? == 0 {
        fail!("the owner did not run");
    }
    // It comes to its end: the urgent thread goes on, then the one in the middle runs, the owner no more.
    let mut owner = objects::native_thread(team.thread(0))?;
    owner.gpr[R12] = 1;
    objects::set_native_thread(team.thread(0), &owner, team.child.space.reference(), Run::Go)?;
    let end = bench.microseconds(10_000);
    require!(scheduler.run(end), Event::TimedOut);
    let Event::Exception { exception, .. } = bench.receive() else {
        fail!("the urgent thread has not come to its end")
    };
    require!((exception.vector, exception.address), (6, 0));
    require!(team.child.thread.native_state()?.gpr[RAX], Status::Ok as u64);
    if middle.read(DATA)? == before {
        fail!("the one in the middle never ran");
    }
    stands_still(bench, &team)?;
    Ok(())
}

fn time_is_that_of_the_waiters_space(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    own(&team, 0, MUTEX, u64::MAX)?;
    let before = team.child.space.state()?.time;
    rooted(&team, [MUTEX, 0, 0])?;
    let soon = bench.microseconds(20_000);
    require!(bench.receive_until(soon), Event::TimedOut);
    let used = team.child.space.state()?.time - before;
    if used < bench.ticks(10_000) {
        fail!("{used} ticks were used");
    }
    // When that is limited, the owner is held with those that wait.
    team.child.space.set_cpu(1)?;
    let soon = bench.microseconds(200_000);
    require!(bench.receive_until(soon), Event::TimedOut);
    stands_still(bench, &team)?;
    Ok(())
}

fn circles(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    // Two that wait for each other, and one that waits for both.
    for (member, has, wants) in [(0, MUTEX, OTHER), (1, OTHER, MUTEX)] {
        team.child.write(has, name(member))?;
        go(&team, member, SERVER + lock_entry(), &[(RBP, wants), (RBX, PORTSET)])?;
        let deadline = bench.microseconds(2000).unwrap_or(1);
        let ended = call::thread_schedule(team.thread(member), deadline, Sensitivity::Block, 0);
        let Scheduled::Ended { status, .. } = ended else { fail!("got {ended:?}") };
        require!(status, Status::Blocked);
    }
    let member = rooted(&team, [MUTEX, 0, 0])?;
    team.waits(bench, member)?;
    let deadline = bench.microseconds(2000).unwrap_or(1);
    let ended = call::thread_schedule(team.thread(0), deadline, Sensitivity::Block, 0);
    require!(matches!(ended, Scheduled::Ended { .. }), true);
    // Whoever ends the circle lets them go on.
    team.set_owner(0)?;
    Ok(())
}

fn nonsense_in_the_lock_word(bench: &mut Bench) -> Verdict {
    let team = team_with_root(bench)?;
    let own = name(MEMBERS - 1);
    for word in [1 << 12, MUTEX, OTHER, DATA + 0x2000, u64::MAX - 63, 0x7fff_ffff_f000, PORTSET, CODE, own + 64] {
        team.child.write(MUTEX, word)?;
        let deadline = bench.microseconds(1500).unwrap_or(1);
        let member = rooted(&team, [MUTEX, deadline, 0])?;
        team.ends(bench, member, Status::TimedOut)?;
        require!(team.child.read(MUTEX)?, word);
    }
    // The owner is gone.
    own_and_destroy(bench, &team)
}

fn own_and_destroy(bench: &mut Bench, team: &Team) -> Verdict {
    own(team, 0, MUTEX, u64::MAX)?;
    let member = rooted(team, [MUTEX, 0, 0])?;
    bench.run_until(|| Ok(team.child.read(COUNT)? > 0))?;
    call::thread_destroy(team.thread(0))?;
    team.waits(bench, member)?;
    // Its parent gives the Mutex to another, to which is donated from then on.
    own(team, 1, MUTEX, MOMENT)?;
    team.set_owner(name(1))?;
    let count = team.child.read(COUNT)?;
    team.waits(bench, member)?;
    require!(team.child.read(COUNT)?, count);
    // The owner is found by whoever waits next.
    team.stop(member)?;
    team.go(member)?;
    team.ends(bench, member, Status::Ok)
}
