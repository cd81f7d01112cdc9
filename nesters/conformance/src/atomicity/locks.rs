//! Scenarios of Mutexes and Conds.

use alloc::vec;
use alloc::vec::Vec;

use protocols::api::{Call, MutexState, ObjectType};
use protocols::libc::system_call;
use protocols::virtual_cpu::register::{RAX, RDX, RSI};

use super::objects::{A, MUTEX, R};
use super::plan::{Plan, STRUCTURES, Step};
use super::scene::Scene;
use crate::harness::Verdict;

/// Who owns a Mutex and does not give it back.
const STRANGER: u64 = 0xfc0;

fn mutex(scene: &Scene<'_>, _: Call) -> Verdict {
    scene.make(ObjectType::Mutex, A)
}

fn taken_mutex(scene: &Scene<'_>, call: Call) -> Verdict {
    mutex(scene, call)?;
    Ok(system_call::mutex_set_state(scene.own(A), &MutexState { owner: STRANGER })?)
}

fn cond(scene: &Scene<'_>, _: Call) -> Verdict {
    scene.make(ObjectType::Cond, A)?;
    scene.make(ObjectType::Mutex, MUTEX)?;
    scene.reference(R)
}

fn lock() -> Step {
    Step::new(Call::MutexLock, &[A])
}

fn unlock() -> Step {
    Step::new(Call::MutexUnlock, &[A])
}

/// With a thread that waits for it.
pub fn mutex_destroy(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[A], taken_mutex).after(vec![lock()]).ordered()]
}

/// Frees it, for a thread that waits for it; has an owner.
pub fn mutex_set_state(call: Call) -> Vec<Plan> {
    let owned = |scene: &Scene<'_>, call| {
        scene.memory().write(STRUCTURES, &MutexState { owner: 0x40 })?;
        mutex(scene, call)
    };
    vec![Plan::one(call, &[A, STRUCTURES], taken_mutex).after(vec![lock()]), Plan::one(call, &[A, STRUCTURES], owned)]
}

/// Of a free Mutex; one that another gives back; one that nobody does.
pub fn mutex_lock(call: Call) -> Vec<Plan> {
    vec![
        Plan::new(call, vec![lock(), unlock()], mutex),
        Plan::new(call, vec![lock(), unlock()], mutex).after(vec![lock(), Step::pause(), unlock()]),
        Plan::new(call, vec![lock().until(RSI)], taken_mutex),
    ]
}

/// Of a free Mutex, and of one that is not.
pub fn mutex_trylock(call: Call) -> Vec<Plan> {
    let try_it = || vec![Step::new(call, &[A])];
    vec![Plan::new(call, try_it(), mutex), Plan::new(call, try_it(), taken_mutex)]
}

/// For nobody, and for a thread that waits.
pub fn mutex_unlock(call: Call) -> Vec<Plan> {
    vec![
        Plan::new(call, vec![lock(), unlock()], mutex),
        Plan::new(call, vec![lock(), Step::pause(), unlock()], mutex).beside(vec![lock(), unlock()]),
    ]
}

fn in_mutex(steps: &[Step]) -> Vec<Step> {
    let lock = Step::new(Call::MutexLock, &[MUTEX]);
    let unlock = Step::new(Call::MutexUnlock, &[MUTEX]);
    [&[lock], steps, &[unlock]].concat()
}

/// With threads that sleep in it.
pub fn cond_destroy(call: Call) -> Vec<Plan> {
    let sleeper = in_mutex(&[Step::new(Call::CondWait, &[A, MUTEX])]);
    vec![Plan::one(call, &[A], cond).after(sleeper.clone()).beside(sleeper).ordered()]
}

/// Until somebody signals; until a deadline. A thread that is stopped in its sleep wakes: it cannot know that it was not signalled.
pub fn cond_wait(call: Call) -> Vec<Plan> {
    let wait = Step::new(call, &[A, MUTEX]);
    let signal = in_mutex(&[Step::new(Call::CondSignal, &[A])]);
    vec![
        Plan::new(call, in_mutex(core::slice::from_ref(&wait)), cond).beside(signal).ordered(),
        Plan::new(call, in_mutex(&[wait.until(RDX).ignoring(RAX)]), cond),
    ]
}

/// Two threads that sleep, and nobody.
pub fn cond_signal(call: Call) -> Vec<Plan> {
    let sleeper = in_mutex(&[Step::new(Call::CondWait, &[A, MUTEX])]);
    let signal = || in_mutex(&[Step::new(call, &[A])]);
    let with_sleepers = Plan::new(call, signal(), cond).after(sleeper.clone()).beside(sleeper).ordered();
    vec![with_sleepers, Plan::new(call, signal(), cond)]
}
