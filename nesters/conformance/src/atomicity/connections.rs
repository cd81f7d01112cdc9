//! Scenarios of reliable connections: conversations in which the call occurs, with the victim at either end.

use alloc::vec;
use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Buffer, Call, Side, Table, Transfer};
use protocols::libc::system_call::{self, connection};

use super::ipc;
use super::objects::{A, B, CLIENT, PORTSET, R, R2, R3};
use super::plan::{IN, KEPT, OUT, Plan, STRUCTURES, Step};
use super::scene::Scene;
use crate::harness::Verdict;

/// Where the structures of parameter number `n` are: the [`Transfer`], then its tables.
const fn parameters(number: u64) -> u64 {
    STRUCTURES + number * 0x100
}

/// What a call is to send and where it receives: addresses and lengths. A Reference too, if `references`.
#[derive(Clone, Copy)]
struct What {
    send: (u64, u64),
    receive: (u64, u64),
    references: bool,
}

fn set(scene: &Scene<'_>, number: u64, what: What) -> Verdict {
    let place = parameters(number);
    let table = |address, present: bool| Table { address, count: present as u64 };
    let transfer = Transfer {
        send: table(place + 0x80, what.send.1 > 0),
        send_references: table(place + 0xa0, what.references && what.send.1 > 0),
        receive: table(place + 0x90, what.receive.1 > 0),
        receive_references: table(place + 0xa8, what.receive.1 > 0),
    };
    let memory = scene.memory();
    memory.write(place, &transfer)?;
    memory.write(place + 0x80, &Buffer { address: what.send.0, length: what.send.1 })?;
    memory.write(place + 0x90, &Buffer { address: what.receive.0, length: what.receive.1 })?;
    Ok(memory.write(place + 0xa0, &[CLIENT, R])?)
}

/// Bytes that can be told apart, from [`OUT`] on.
fn fill(scene: &Scene<'_>) -> Verdict {
    let words: [u64; 64] = core::array::from_fn(|index| 0x0101_0101_0101_0101 * (index as u64 + 1));
    for page in [OUT, OUT + PAGE_SIZE] {
        for part in 0..PAGE_SIZE / 512 {
            scene.memory().write(page + part * 512, &words)?;
        }
    }
    Ok(())
}

/// Parameters 0 to 3 are the client's, 4 to 7 the server's; each sends some of [`OUT`] and receives into its own part of [`IN`]. The first
/// room of each is too small.
fn conversation(scene: &Scene<'_>, _: Call) -> Verdict {
    scene.port()?;
    for place in [R, R2, R3] {
        scene.reference(place)?;
    }
    fill(scene)?;
    for number in 0..8 {
        let room = if number % 4 == 3 { 24 } else { 400 };
        let what = What {
            send: (OUT + number * 128, 72 + number * 16),
            receive: (IN + number * 512, room),
            references: number % 4 == 1,
        };
        set(scene, number, what)?;
    }
    Ok(())
}

fn step(call: Call, number: u64) -> Step {
    let target = if number < 4 { CLIENT } else { PORTSET };
    Step::new(call, &[target, parameters(number)])
}

fn plans(call: Call, victim: Vec<Step>, partner: Vec<Step>) -> Vec<Plan> {
    let plan = || Plan::new(call, victim.clone(), conversation).moving();
    vec![plan().after(partner.clone()), plan().beside(partner)]
}

/// *Connect*, *send*.
pub fn connect_send(call: Call) -> Vec<Plan> {
    let victim = vec![step(call, 0), step(Call::ClientDisconnect, 0)];
    plans(call, victim, vec![step(Call::ServerWaitReceive, 4)])
}

/// A remote procedure call.
pub fn connect_send_over_receive(call: Call) -> Vec<Plan> {
    let server = vec![step(Call::ServerWaitReceive, 4), step(Call::ServerAckSend, 5), step(Call::ServerDisconnect, 5)];
    plans(call, vec![step(call, 0), step(Call::ClientDisconnect, 0)], server)
}

/// The other calls of a client.
pub fn client(call: Call) -> Vec<Plan> {
    let connect = |number| step(Call::ClientConnectSend, number);
    let request = |number| step(Call::ClientConnectSendOverReceive, number);
    let end = step(Call::ClientDisconnect, 0);
    let wait = step(Call::ServerWaitReceive, 4);
    let answer = step(Call::ServerAckSend, 5);
    let answer_and_go_on = step(Call::ServerAckSendOverReceive, 5);
    let over = step(Call::ServerDisconnect, 5);
    let (victim, partner) = match call {
        Call::ClientSend => (vec![connect(0), step(call, 1), end], vec![wait]),
        Call::ClientSendOverReceive => (vec![connect(0), step(call, 1), end], vec![wait, answer, over]),
        Call::ClientOverReceive => (vec![connect(0), step(call, 1), end], vec![wait, answer, over]),
        Call::ClientReceive => (vec![request(3), step(call, 1), end], vec![wait, answer, over]),
        Call::ClientAckSend => (vec![request(0), step(call, 1), end], vec![wait, answer_and_go_on]),
        Call::ClientAckSendOverReceive => {
            (vec![request(0), step(call, 1), end], vec![wait, answer_and_go_on, step(Call::ServerAckSend, 6), over])
        }
        // Of a peer that receives, and of none.
        _ => (vec![connect(0), step(call, 1), step(call, 1)], vec![wait]),
    };
    plans(call, victim, partner)
}

/// The calls of a server.
pub fn server(call: Call) -> Vec<Plan> {
    let request = step(Call::ClientConnectSendOverReceive, 0);
    let notification = Step::new(Call::IpcSend, &[CLIENT, 0x30]);
    let wait = |number| step(Call::ServerWaitReceive, number);
    let answer = step(Call::ServerAckSend, 5);
    let end = step(Call::ServerDisconnect, 5);
    let reply = || vec![request.clone(), step(Call::ClientAckSend, 1), step(Call::ClientDisconnect, 1)];
    let (victim, partner) = match call {
        Call::ServerWaitReceive | Call::ServerDisconnect => (vec![wait(4), end], vec![request]),
        Call::ServerReceive => (vec![wait(7), step(call, 5), end], vec![request]),
        Call::ServerAckSend => (vec![wait(4), answer, end], vec![request]),
        Call::ServerSend => (vec![wait(4), answer, step(call, 6), end], vec![request]),
        Call::ServerSendOverReceive => (vec![wait(4), answer, step(call, 6), end], reply()),
        Call::ServerOverReceive => (vec![wait(4), answer, step(call, 6), end], reply()),
        Call::ServerAckSendOverReceive => (vec![wait(4), step(call, 5), end], reply()),
        Call::ServerSendWaitReceive => (vec![wait(4), answer, step(call, 6)], vec![request, notification]),
        Call::ServerAckSendWaitReceive => (vec![wait(4), step(call, 5)], vec![request, notification]),
        // Alerts.
        _ => (vec![wait(4), step(call, 5), end], vec![request]),
    };
    plans(call, victim, partner)
}

/// The calls about the connections of others.
pub fn state(call: Call) -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, call| {
        for place in [A, B, R2] {
            system_call::thread_create(scene.own(place))?;
        }
        scene.reference(R)?;
        if call != Call::ThreadConnect {
            connection::thread_connect(scene.own(A), scene.own(B), Side::Client, [true, false])?;
        }
        Ok(())
    };
    let step = match call {
        Call::ThreadGetConnection => Step::new(call, &[A, Side::Client as u64, STRUCTURES, R]),
        Call::ThreadMoveConnection => Step::new(call, &[A, R2, Side::Client as u64]),
        _ => Step::new(call, &[A, B, Side::Server as u64, 2]),
    };
    vec![Plan::new(call, vec![step], setup)]
}

/// A remote procedure call whose bytes are missing at the victim's end: a keeper supplies the memory.
pub fn faults_in_transfers() -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, call| {
        conversation(scene, call)?;
        scene.kept()?;
        let (out, room) = (KEPT + 100, KEPT + (IN - OUT) + 0xf00);
        set(scene, 0, What { send: (out, 6000), receive: (room, 3000), references: false })?;
        set(scene, 4, What { send: (0, 0), receive: (IN, 0xe00), references: false })?;
        set(scene, 5, What { send: (OUT, 2000), receive: (IN, 0x1000), references: false })
    };
    let call = Call::ClientConnectSendOverReceive;
    let server = vec![
        step(Call::ServerWaitReceive, 4),
        step(Call::ServerReceive, 5),
        step(Call::ServerAckSend, 5),
        step(Call::ServerDisconnect, 5),
    ];
    let plan = || Plan::new(call, vec![step(call, 0), step(Call::ClientDisconnect, 0)], setup).moving();
    vec![plan().after(server.clone()).beside(ipc::keeper()), plan().beside(ipc::keeper()).beside(server).cold()]
}

/// More bytes than the kernel moves at once.
pub fn long_transfers() -> Vec<Plan> {
    const PIECES: u64 = 12;
    const PIECE: u64 = 2 * PAGE_SIZE;
    let setup = |scene: &Scene<'_>, call| {
        conversation(scene, call)?;
        for (number, address) in [(0, OUT), (4, IN)] {
            let tables = parameters(8) + number * 0x80;
            for piece in 0..PIECES {
                scene.memory().write(tables + piece * 16, &Buffer { address, length: PIECE })?;
            }
            let table = Table { address: tables, count: PIECES };
            let (send, receive) = if number == 0 { (table, Table::default()) } else { (Table::default(), table) };
            let transfer = Transfer { send, receive, ..Transfer::default() };
            scene.memory().write(parameters(number), &transfer)?;
        }
        Ok(())
    };
    let call = Call::ClientConnectSend;
    let plan = || Plan::new(call, vec![step(call, 0), step(Call::ClientDisconnect, 0)], setup).moving();
    let server = || vec![step(Call::ServerWaitReceive, 4)];
    vec![plan().after(server()), plan().beside(server())]
}
