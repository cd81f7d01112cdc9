//! Scenarios of References.

use alloc::vec;
use alloc::vec::Vec;

use protocols::api::{Call, ReferenceRights};
use protocols::libc::system_call;

use super::objects::{CLIENT, R, R2, R3, R4};
use super::plan::{Plan, Step};
use super::scene::Scene;
use crate::harness::Verdict;

fn some(scene: &Scene<'_>, _: Call) -> Verdict {
    scene.port()?;
    for place in [R, R2, R3, R4] {
        scene.reference(place)?;
    }
    Ok(system_call::reference_copy(scene.own(CLIENT), scene.own(R))?)
}

/// Of a link, and of none.
pub fn copy(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[R, R2]), Step::new(call, &[R3, R4])], some)]
}

/// Of a link, and of none.
pub fn check(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[R]), Step::new(call, &[R2])], some)]
}

/// With a badge.
pub fn restrict(call: Call) -> Vec<Plan> {
    let rights = ReferenceRights::SEND | ReferenceRights::COPY;
    vec![Plan::one(call, &[R, R2, rights.bits(), 9], some)]
}

/// Once, and of what was granted.
pub fn grant(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[R, R2]), Step::new(call, &[R2, R3])], some)]
}

/// With what was derived.
pub fn revoke(call: Call) -> Vec<Plan> {
    let grant = |from, to| Step::new(Call::ReferenceGrant, &[from, to]);
    let steps = vec![
        grant(R, R2),
        Step::new(Call::ReferenceCopy, &[R2, R3]),
        grant(R3, R4),
        Step::new(call, &[R2]),
        Step::new(Call::ReferenceCheck, &[R4]),
    ];
    vec![Plan::new(call, steps, some)]
}
