//! Scenarios of short messages.

use alloc::vec;
use alloc::vec::Vec;

use protocols::api::{Call, ObjectType, Rights};
use protocols::libc::system_call;
use protocols::virtual_cpu::register::{R15, RAX};

use super::objects::{A, CLIENT, KEEPERS, MAPPING, PORT, PORTSET, R, R2, R3, R4, REGION};
use super::plan::{Plan, Step};
use super::scene::Scene;
use crate::harness::Verdict;

/// A Port, and what References are sent and taken: R to R2 by clients, R3 to R4 by servers.
fn port(scene: &Scene<'_>, _: Call) -> Verdict {
    scene.port()?;
    scene.make(ObjectType::Mutex, A)?;
    for place in [R, R2, R3, R4] {
        scene.reference(place)?;
    }
    system_call::mutex_reference(scene.own(A), scene.own(R))?;
    Ok(system_call::portset_reference(scene.own(PORTSET), scene.own(R3))?)
}

fn with_reference(call: Call) -> bool {
    call as u64 & 8 != 0
}

fn receive(with_reference: bool) -> Step {
    if with_reference {
        Step::new(Call::IpcWaitReceiveWithReference, &[PORTSET]).references(0, R4)
    } else {
        Step::new(Call::IpcWaitReceive, &[PORTSET])
    }
}

fn reply(with_reference: bool, first: u64) -> Step {
    if with_reference {
        Step::new(Call::IpcReplyWithReference, &[]).message(first).references(R3, 0)
    } else {
        Step::new(Call::IpcReply, &[]).message(first)
    }
}

fn calling(with_reference: bool, first: u64) -> Step {
    if with_reference {
        Step::new(Call::IpcCallWithReference, &[CLIENT]).message(first).references(R, R2)
    } else {
        Step::new(Call::IpcCall, &[CLIENT]).message(first)
    }
}

/// To a server that waits, and to one that comes later.
pub fn call(call: Call) -> Vec<Plan> {
    let references = with_reference(call);
    let server = || vec![receive(references), reply(references, 0x500), Step::back(2)];
    let client = || Plan::new(call, vec![calling(references, 0x100)], port);
    vec![client().after(server()), client().beside(server())]
}

/// To a server that waits, and to one that comes later. Nothing is sent twice.
pub fn send(call: Call) -> Vec<Plan> {
    let server = || vec![receive(false), receive(false).with(R15, 1)];
    let sender = || Plan::one(call, &[CLIENT, 0x30], port);
    vec![sender().after(server()), sender().beside(server())]
}

/// The victim is the server.
pub fn reply_to(call: Call) -> Vec<Plan> {
    let references = with_reference(call);
    let server = || Plan::new(call, vec![receive(references), reply(references, 0x500)], port);
    let client = || vec![calling(references, 0x100)];
    vec![server().after(client()), server().beside(client())]
}

/// A call, a notification, nothing until a deadline.
pub fn wait_receive(call: Call) -> Vec<Plan> {
    let references = with_reference(call);
    let notification = vec![Step::new(Call::IpcSend, &[CLIENT, 0x30])];
    let client = vec![calling(references, 0x100)];
    vec![
        Plan::new(call, vec![receive(references), reply(references, 0x500)], port).beside(client),
        Plan::new(call, vec![receive(references)], port).beside(notification),
        Plan::new(call, vec![receive(references).until(R15)], port),
    ]
}

/// One call after the other.
pub fn reply_wait_receive(call: Call) -> Vec<Plan> {
    let references = with_reference(call);
    let middle = Step::new(call, &[PORTSET]).message(0x700);
    let middle = if references { middle.references(R3, R4) } else { middle };
    let server = || Plan::new(call, vec![receive(references), middle.clone(), reply(references, 0x500)], port);
    let client = || vec![calling(references, 0x100), calling(references, 0x200)];
    vec![server().after(client()), server().beside(client())]
}

/// While a client waits for a server.
pub fn port_destroy(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[PORT], port).after(vec![calling(false, 0x100)])]
}

/// Puts it into a Portset at which a server waits, while a client waits for one.
pub fn port_set_state(call: Call) -> Vec<Plan> {
    let outside = |scene: &Scene<'_>, call| {
        port(scene, call)?;
        system_call::port_create(scene.own(MAPPING))?;
        system_call::reference_create(scene.own(REGION))?;
        Ok(system_call::port_reference(scene.own(MAPPING), scene.own(REGION))?)
    };
    let client = vec![Step::new(Call::IpcCall, &[REGION]).message(0x100)];
    let server = vec![receive(false), reply(false, 0x500)];
    vec![Plan::one(call, &[MAPPING, 9, R3, 1], outside).after(client).beside(server)]
}

/// A keeper receives, supplies all memory of [`REGION`], and replies.
pub fn supplying() -> [Step; 3] {
    [
        Step::new(Call::IpcWaitReceive, &[KEEPERS]),
        Step::new(Call::RegionProtect, &[REGION, Rights::all().bits()]),
        Step::new(Call::IpcReply, &[]),
    ]
}

/// A keeper that does so for ever.
pub fn keeper() -> Vec<Step> {
    let [receive, supply, reply] = supplying();
    // A thread that was stopped meanwhile does not wait for the reply.
    vec![receive, supply, reply.ignoring(RAX), Step::back(3)]
}
