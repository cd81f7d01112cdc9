//! Conds.

use protocols::api::{Call, ObjectType, Status};
use protocols::exception::Misuse;
use protocols::libc::mutex::ThisThread;
use protocols::libc::{system_call, time};
use protocols::libnest::{Condition, Mutex, Reference};
use protocols::lock_word::WAITERS;
use protocols::virtual_cpu::register::{RAX, RDI, RDX, RSI};

use crate::harness::{Bench, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA};
use crate::team::{COND, MUTEX, Team, name};

/// The tests.
pub const TESTS: &[Test] = &[
    ("cond::signal_wakes_one", signal_wakes_one),
    ("cond::broadcast_wakes_all", broadcast_wakes_all),
    ("cond::nobody_sleeps", nobody_sleeps),
    ("cond::signalled_by_the_owner", signalled_by_the_owner),
    ("cond::deadlines", deadlines),
    ("cond::timed_out_while_the_mutex_is_held", timed_out_while_the_mutex_is_held),
    ("cond::destroyed_while_asleep", destroyed_while_asleep),
    ("cond::mutex_destroyed_while_asleep", mutex_destroyed_while_asleep),
    ("cond::misuse", misuse),
    ("cond::stopped_while_asleep", stopped_while_asleep),
    ("cond::recreated_while_asleep", recreated_while_asleep),
    ("cond::recreated_at_any_time", recreated_at_any_time),
    ("cond::moved_while_asleep", moved_while_asleep),
    ("cond::of_a_program", of_a_program),
];

const LOCK: [u64; 3] = [MUTEX, 0, 0];
const WAIT: [u64; 3] = [COND, MUTEX, 0];
const SIGNAL: [u64; 3] = [COND, 0, 0];

/// Has threads fall asleep, one after the other. The Mutex is free then.
fn asleep(team: &Team, bench: &mut Bench, members: core::ops::Range<u64>, deadline: u64) -> Verdict {
    for member in members {
        team.call(bench, member, Call::MutexLock, LOCK, Status::Ok)?;
        team.begin(member, Call::CondWait, [COND, MUTEX, deadline])?;
        bench.run_until(|| Ok(team.word()? == 0))?;
        require!((member, team.result(member)?), (member, None));
    }
    Ok(())
}

fn signal_wakes_one(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 4)?;
    asleep(&team, bench, 0..3, 0)?;
    for member in 0..3 {
        team.call(bench, 3, Call::CondSignal, SIGNAL, Status::Ok)?;
        team.ends(bench, member, Status::Ok)?;
        require!(team.word()?, name(member));
        if member < 2 {
            team.waits(bench, member + 1)?;
        }
        team.call(bench, member, Call::MutexUnlock, LOCK, Status::Ok)?;
    }
    Ok(())
}

fn broadcast_wakes_all(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 4)?;
    asleep(&team, bench, 0..3, 0)?;
    team.call(bench, 3, Call::CondBroadcast, SIGNAL, Status::Ok)?;
    for member in 0..3 {
        team.ends(bench, member, Status::Ok)?;
        let waiters = if member < 2 { WAITERS } else { 0 };
        require!(team.word()?, name(member) | waiters);
        team.call(bench, member, Call::MutexUnlock, LOCK, Status::Ok)?;
    }
    require!(team.word()?, 0);
    Ok(())
}

fn nobody_sleeps(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    team.call(bench, 0, Call::CondSignal, SIGNAL, Status::Ok)?;
    team.call(bench, 0, Call::CondBroadcast, SIGNAL, Status::Ok)?;
    // Nothing was remembered.
    asleep(&team, bench, 1..2, 0)?;
    team.waits(bench, 1)
}

fn signalled_by_the_owner(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    asleep(&team, bench, 0..1, 0)?;
    team.call(bench, 1, Call::MutexLock, LOCK, Status::Ok)?;
    team.call(bench, 1, Call::CondSignal, SIGNAL, Status::Ok)?;
    team.waits(bench, 0)?;
    require!(team.word()?, name(1) | WAITERS);
    team.call(bench, 1, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 0, Status::Ok)?;
    require!(team.word()?, name(0));
    Ok(())
}

fn deadlines(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    // One that has passed: the Mutex is not even unlocked.
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    team.call(bench, 0, Call::CondWait, [COND, MUTEX, 1], Status::TimedOut)?;
    require!(team.word()?, name(0));
    let deadline = bench.microseconds(2000).unwrap_or(1);
    team.call(bench, 0, Call::CondWait, [COND, MUTEX, deadline], Status::TimedOut)?;
    if time::now() < deadline {
        fail!("it ended {} ticks before its deadline", deadline - time::now());
    }
    require!(team.word()?, name(0));
    team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    // One that is not reached does nothing later.
    let deadline = bench.microseconds(3000).unwrap_or(1);
    asleep(&team, bench, 0..1, deadline)?;
    team.call(bench, 1, Call::CondSignal, SIGNAL, Status::Ok)?;
    team.ends(bench, 0, Status::Ok)?;
    team.begin(0, Call::CondWait, WAIT)?;
    bench.run_until(|| Ok(time::now() > deadline))?;
    team.waits(bench, 0)
}

fn timed_out_while_the_mutex_is_held(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    let deadline = bench.microseconds(3000).unwrap_or(1);
    asleep(&team, bench, 0..1, deadline)?;
    team.call(bench, 1, Call::MutexLock, LOCK, Status::Ok)?;
    bench.run_until(|| Ok(time::now() > deadline))?;
    team.waits(bench, 0)?;
    require!(team.word()?, name(1) | WAITERS);
    // Stopped now, it says what it will return.
    let state = team.state(0)?;
    let arguments = [RAX, RDI, RSI, RDX].map(|register| state.gpr[register]);
    require!(arguments, [Call::MutexLock as u64, MUTEX, 0, Status::TimedOut as u64]);
    team.go(0)?;
    team.waits(bench, 0)?;
    team.call(bench, 1, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 0, Status::TimedOut)?;
    require!(team.word()?, name(0));
    Ok(())
}

fn destroyed_while_asleep(bench: &mut Bench) -> Verdict {
    let mut team = Team::new(bench, 3)?;
    asleep(&team, bench, 0..2, 0)?;
    team.call(bench, 2, Call::CondDestroy, SIGNAL, Status::Ok)?;
    for member in 0..2 {
        team.ends(bench, member, Status::Destroyed)?;
        require!(team.word()? & !WAITERS, name(member));
        team.call(bench, member, Call::MutexUnlock, LOCK, Status::Ok)?;
    }
    require!(team.misuse(bench, 2, Call::CondSignal, SIGNAL)?, Answer::misuse(Misuse::NoObject));
    Ok(())
}

fn mutex_destroyed_while_asleep(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    asleep(&team, bench, 0..1, 0)?;
    team.call(bench, 1, Call::MutexDestroy, LOCK, Status::Ok)?;
    team.waits(bench, 0)?;
    team.call(bench, 1, Call::CondSignal, SIGNAL, Status::Ok)?;
    team.ends(bench, 0, Status::Destroyed)
}

fn misuse(bench: &mut Bench) -> Verdict {
    let mut team = Team::new(bench, 2)?;
    require!(team.misuse(bench, 0, Call::CondWait, WAIT)?, Answer::misuse(Misuse::NotOwner));
    team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
    require!(team.misuse(bench, 1, Call::CondWait, WAIT)?, Answer::misuse(Misuse::NotOwner));
    for (arguments, why) in [
        ([MUTEX, MUTEX, 0], Misuse::WrongType),
        ([COND, COND, 0], Misuse::WrongType),
        ([COND + 1, MUTEX, 0], Misuse::NotAligned),
        ([COND, DATA + 0x2000, 0], Misuse::NoObject),
        ([COND, 0, 0], Misuse::NoRight),
    ] {
        require!(team.misuse(bench, 0, Call::CondWait, arguments)?, Answer::misuse(why));
    }
    for call in [Call::CondSignal, Call::CondBroadcast, Call::CondGetState, Call::CondSetState] {
        require!(team.misuse(bench, 0, call, LOCK)?, Answer::misuse(Misuse::WrongType));
        require!(team.misuse(bench, 0, call, [DATA + 0x2000, 0, 0])?, Answer::misuse(Misuse::NoObject));
    }
    require!(team.word()?, name(0));
    for call in [Call::CondGetState, Call::CondSetState] {
        team.call(bench, 0, call, SIGNAL, Status::Ok)?;
    }
    let reference = Reference::new()?;
    system_call::cond_reference(team.child.own_address(COND), reference.address())?;
    require!(reference.check()?, Some(ObjectType::Cond));
    Ok(())
}

fn stopped_while_asleep(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    asleep(&team, bench, 0..1, 0)?;
    team.stop(0)?;
    team.call(bench, 1, Call::CondSignal, SIGNAL, Status::Ok)?;
    team.waits(bench, 0)?;
    require!(team.word()?, 0);
    // It wakes for no reason, with the Mutex.
    team.go(0)?;
    team.ends(bench, 0, Status::Ok)?;
    require!(team.word()?, name(0));
    Ok(())
}

fn recreated_while_asleep(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    asleep(&team, bench, 0..1, 0)?;
    let state = team.state(0)?;
    let arguments = [RAX, RDI, RSI, RDX].map(|register| state.gpr[register]);
    require!(arguments, [Call::MutexLock as u64, MUTEX, 0, Status::Ok as u64]);
    require!((state.rip, state.stopped), (CODE, 1));
    team.call(bench, 1, Call::MutexLock, LOCK, Status::Ok)?;
    team.recreate(0, &state)?;
    team.waits(bench, 0)?;
    team.call(bench, 1, Call::MutexUnlock, LOCK, Status::Ok)?;
    team.ends(bench, 0, Status::Ok)?;
    require!(team.word()?, name(0));
    Ok(())
}

fn recreated_at_any_time(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    for delay in (1..4000).step_by(53) {
        team.call(bench, 0, Call::MutexLock, LOCK, Status::Ok)?;
        // It sleeps; it is recreated on its way there, while it sleeps, or on its way back to the Mutex.
        team.begin(0, Call::CondWait, WAIT)?;
        bench.receive_until(Some(time::now() + delay / 2));
        team.begin(1, Call::CondBroadcast, SIGNAL)?;
        bench.receive_until(Some(time::now() + delay));
        team.recreate(0, &team.state(0)?)?;
        team.ends(bench, 1, Status::Ok)?;
        // It may be on its way to sleep still, if it was recreated before it got there.
        bench.receive_until(Some(time::now() + 4000));
        team.call(bench, 1, Call::CondBroadcast, SIGNAL, Status::Ok)?;
        team.ends(bench, 0, Status::Ok)?;
        require!((delay, team.word()?), (delay, name(0)));
        team.call(bench, 0, Call::MutexUnlock, LOCK, Status::Ok)?;
    }
    Ok(())
}

fn moved_while_asleep(bench: &mut Bench) -> Verdict {
    const ELSEWHERE: u64 = DATA + 0x800;
    let team = Team::new(bench, 2)?;
    asleep(&team, bench, 0..1, 0)?;
    team.call(bench, 1, Call::CondMove, [COND, ELSEWHERE, 0], Status::Ok)?;
    team.waits(bench, 0)?;
    team.call(bench, 1, Call::CondSignal, [ELSEWHERE, 0, 0], Status::Ok)?;
    team.ends(bench, 0, Status::Ok)
}

fn of_a_program(bench: &mut Bench) -> Verdict {
    let Some(this) = ThisThread::get() else { fail!("the program's thread does not see its own object") };
    let (mutex, condition) = (Mutex::new(7u64)?, Condition::new()?);
    condition.signal()?;
    condition.broadcast()?;
    for deadline in [Some(1), bench.microseconds(500)] {
        let (mut guard, timed_out) = condition.wait(mutex.lock(this)?, deadline)?;
        require!((*guard, timed_out), (7, true));
        *guard = 7;
    }
    require!(condition.reference()?.check()?, Some(ObjectType::Cond));
    Ok(())
}
