//! Reliable connections when something goes wrong: memory that is missing, threads that stop, are exported or die, parameters that
//! are nonsense.

use protocols::address::PAGE_SIZE;
use protocols::api::{Buffer, Call, ConnectionState, ObjectType, Rights, Side, SpaceKind, Status, Table, Transfer};
use protocols::exception::Misuse;
use protocols::libc::system_call::{self, connection};
use protocols::libc::time;
use protocols::libnest::server::{fail as no_memory, retry};
use protocols::libnest::{Event, Mapping, Memory, Reference, Region, Run, Thread, objects};
use protocols::virtual_cpu::register::{RAX, RDI, RDX, RSI};

use crate::code;
use crate::connection::pattern;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::hostile::{Random, named};
use crate::native::{Answer, CODE, DATA, DATA_SIZE};
use crate::pair::{BULK, IN, NAME, OUT, PARAMETERS, Pair, REFERENCES, What};
use Side::{Client, Server};

/// The tests.
pub const TESTS: &[Test] = &[
    ("connection::missing_memory_is_supplied", missing_memory_is_supplied),
    ("connection::missing_parameters_are_supplied", missing_parameters_are_supplied),
    ("connection::missing_memory_is_its_owners_fault", missing_memory_is_its_owners_fault),
    ("connection::nonsense_in_parameters", nonsense_in_parameters),
    ("connection::overlapping_buffers", overlapping_buffers),
    ("connection::peer_destroyed", peer_destroyed),
    ("connection::stopped_in_every_step", stopped_in_every_step),
    ("connection::recreated_in_every_step", recreated_in_every_step),
    ("connection::restored_from_its_state", restored_from_its_state),
    ("connection::moves_that_are_refused", moves_that_are_refused),
    ("connection::long_transfers_are_preempted", long_transfers_are_preempted),
    ("connection::random_conversations", random_conversations),
];

const BOTH: Rights = Rights::READ.union(Rights::WRITE);

fn code_of(status: Status) -> u64 {
    status as u64
}

/// Connects them and lets the client send 9000 bytes from `from` to `to`; `first` makes its call first, so that the other one's does the work.
fn send(bench: &mut Bench, pair: &mut Pair, from: u64, to: u64, first: Side) -> Verdict {
    pair.connect(bench)?;
    pair.set(Client, What { send: &[(from, 9000)], ..What::default() })?;
    pair.set(Server, What { receive: &[(to, 10_000)], ..What::default() })?;
    for side in [first, first.other()] {
        pair.begin_as_set(side, if side == Client { Call::ClientSendOverReceive } else { Call::ServerReceive })?;
        if side == first {
            pair.both_wait(bench)?;
        }
    }
    Ok(())
}

fn missing_memory_is_supplied(bench: &mut Bench) -> Verdict {
    let keeper = bench.port()?;
    let alias = bench.last_alias();
    let bytes = pattern(9000);
    for lacking in [Client, Server] {
        for first in [Client, Server] {
            let mut pair = Pair::new(bench)?;
            // Of the memory at BULK, each page is another Region, whose keeper is asked in turn.
            let memory = Memory::allocate(3 * PAGE_SIZE).ok_or(Failure("no memory".into()))?;
            let (from, to) = if lacking == Client { (BULK + 100, IN) } else { (OUT, BULK + 100) };
            match lacking {
                Client => memory.write_bytes(100, &bytes)?,
                Server => pair.write(Client, OUT, &bytes)?,
            }
            let mut shown = alloc::vec::Vec::new();
            for page in 0..3 {
                let region = Region::new(&memory, page * PAGE_SIZE, PAGE_SIZE, Rights::empty())?;
                region.set_keeper(&keeper)?;
                let space = &pair.child(lacking).space;
                let at = BULK + page * PAGE_SIZE;
                let mapping = Mapping::new(&region, 0, space, at, PAGE_SIZE, BOTH)?;
                shown.push((mapping, region));
            }
            send(bench, &mut pair, from, to, first)?;
            let wanted = if lacking == Client { Rights::READ } else { Rights::WRITE };
            let mut event = bench.receive();
            for (page, (_, region)) in (0..).zip(&shown) {
                let Event::MemoryFault { alias: of, fault } = event else { fail!("{event:x?}") };
                let address = if page == 0 { BULK + 100 } else { BULK + page * PAGE_SIZE };
                require!((of, fault.address, fault.access), (alias, address, wanted.bits()));
                region.protect(Rights::all())?;
                event = bench.reply(&retry());
            }
            require!(pair.ended(event)?.side, Server);
            let received = if lacking == Server {
                let mut received = alloc::vec![0; 9000];
                memory.read_bytes(100, &mut received)?;
                received
            } else {
                pair.read(Server, IN, 9000)?
            };
            require!(received == bytes, true);
            pair.child(Client).thread.stop()?;
        }
    }
    Ok(())
}

fn missing_parameters_are_supplied(bench: &mut Bench) -> Verdict {
    // The table of the one that waits, and the parameters themselves of the one that makes its call.
    let keeper = bench.port()?;
    let bytes = pattern(100);
    for lacking in [Client, Server] {
        for first in [Client, Server] {
            let mut pair = Pair::new(bench)?;
            pair.connect(bench)?;
            pair.write(Client, OUT, &bytes)?;
            let what = match lacking {
                Client => What { send: &[(OUT, 100)], ..What::default() },
                Server => What { receive: &[(IN, 100)], ..What::default() },
            };
            let other = match lacking {
                Client => What { receive: &[(IN, 100)], ..What::default() },
                Server => What { send: &[(OUT, 100)], ..What::default() },
            };
            pair.set(lacking, what)?;
            pair.set(lacking.other(), other)?;
            let (_, region, memory) = pair.bulk(lacking, PAGE_SIZE, Rights::empty(), BOTH)?;
            region.set_keeper(&keeper)?;
            let buffer = if lacking == Client { OUT } else { IN };
            memory.write(0x40, &Buffer { address: buffer, length: 100 })?;
            let mut transfer = pair.transfer(lacking)?;
            let table = if lacking == Client { &mut transfer.send } else { &mut transfer.receive };
            table.address = BULK + 0x40;
            pair.set_transfer(lacking, &transfer)?;
            let call = |side| if side == Client { Call::ClientSendOverReceive } else { Call::ServerReceive };
            pair.begin_as_set(first, call(first))?;
            pair.both_wait(bench)?;
            pair.begin_as_set(first.other(), call(first.other()))?;
            let event = bench.receive();
            let Event::MemoryFault { fault, .. } = event else { fail!("{event:x?}") };
            require!((fault.address, fault.access), (BULK + 0x40, BOTH.bits()));
            pair.region(0).protect(Rights::all())?;
            let event = bench.reply(&retry());
            require!(pair.ended(event)?.state()?.gpr[RAX], code_of(Status::Ok));
            require!(pair.read(Server, IN, 100)? == bytes, true);
            pair.child(Client).thread.stop()?;
        }
    }
    Ok(())
}

fn missing_memory_is_its_owners_fault(bench: &mut Bench) -> Verdict {
    let keeper = bench.port()?;
    for lacking in [Client, Server] {
        for first in [Client, Server] {
            let mut pair = Pair::new(bench)?;
            let (_, region, _) = pair.bulk(lacking, 3 * PAGE_SIZE, Rights::empty(), BOTH)?;
            region.set_keeper(&keeper)?;
            let (from, to) = if lacking == Client { (BULK, IN) } else { (OUT, BULK) };
            send(bench, &mut pair, from, to, first)?;
            require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
            let event = bench.reply(&no_memory());
            let ended = pair.ended(event)?;
            require!((ended.side, ended.answer), (lacking, Answer::Exception(14, BULK)));
            // The other one waits as before. The thread that was told of its exception can make its call again.
            pair.both_wait(bench)?;
            pair.region(0).protect(Rights::all())?;
            pair.begin_as_set(
                lacking,
                if lacking == Client { Call::ClientSendOverReceive } else { Call::ServerReceive },
            )?;
            require!(pair.status(bench, Server)?, code_of(Status::Ok));
            pair.child(Client).thread.stop()?;
        }
    }
    Ok(())
}

fn nonsense_in_parameters(bench: &mut Bench) -> Verdict {
    const NON_CANONICAL: u64 = 1 << 63;
    const KERNEL: u64 = 0xffff_8000_0000_0000;
    const END: u64 = u64::MAX - 0xf;
    let misaligned = Answer::misuse(Misuse::NotAligned);
    let table = |address, count| Table { address, count };
    // The table of Buffers, the first Buffer of a good one, and what becomes of the thread.
    let cases: [(Table, Option<Buffer>, Answer); 13] = [
        (table(NON_CANONICAL, 1), None, Answer::Exception(14, NON_CANONICAL)),
        (table(KERNEL, 1), None, Answer::Exception(14, KERNEL)),
        (table(END, u64::MAX), None, Answer::Exception(14, END)),
        (table(0, 1), None, Answer::Exception(14, 0)),
        (table(PARAMETERS + 8, 1), None, misaligned),
        (table(PARAMETERS + 1, 1), None, misaligned),
        (table(CODE, 1), None, Answer::Exception(14, CODE)),
        (
            table(PARAMETERS + 0x600, 1),
            Some(Buffer { address: NON_CANONICAL, length: 1 }),
            Answer::Exception(14, NON_CANONICAL),
        ),
        (
            table(PARAMETERS + 0x600, 1),
            Some(Buffer { address: KERNEL, length: u64::MAX }),
            Answer::Exception(14, KERNEL),
        ),
        (
            table(PARAMETERS + 0x600, 1),
            Some(Buffer { address: u64::MAX, length: u64::MAX }),
            Answer::Exception(14, u64::MAX),
        ),
        (table(PARAMETERS + 0x600, 1), Some(Buffer { address: 8, length: 1 }), Answer::Exception(14, 8)),
        // A table that goes on for ever, of empty Buffers, to the end of the child's data.
        (table(OUT, u64::MAX), Some(Buffer { address: 0, length: 0 }), Answer::Exception(14, DATA + DATA_SIZE)),
        // A Buffer that goes on for ever.
        (
            table(PARAMETERS + 0x600, 1),
            Some(Buffer { address: IN, length: u64::MAX }),
            Answer::Exception(14, DATA + DATA_SIZE),
        ),
    ];
    for bad in [Client, Server] {
        for first in [Client, Server] {
            let mut pair = Pair::new(bench)?;
            let good = bad.other();
            // As much as a bad one could want.
            pair.bulk(good, 16 * PAGE_SIZE, Rights::all(), BOTH)?;
            for (table, buffer, answer) in cases {
                pair.connect(bench)?;
                let all = [(BULK, 16 * PAGE_SIZE)];
                let what = if good == Client {
                    What { send: &all, ..What::default() }
                } else {
                    What { receive: &all, ..What::default() }
                };
                pair.set(good, what)?;
                let transfer = match bad {
                    Client => Transfer { send: table, ..Transfer::default() },
                    Server => Transfer { receive: table, ..Transfer::default() },
                };
                pair.write(bad, PARAMETERS, &[0; 0x1000])?;
                if let Some(buffer) = buffer {
                    for place in (table.address..table.address + 0x40).step_by(16) {
                        pair.put(bad, place, &buffer)?;
                    }
                }
                if table.address == OUT {
                    pair.write(bad, OUT, &[0; 0x6000])?;
                }
                pair.set_transfer(bad, &transfer)?;
                for side in [first, first.other()] {
                    pair.begin_as_set(side, if side == Client { Call::ClientSend } else { Call::ServerReceive })?;
                    if side == first {
                        pair.both_wait(bench)?;
                    }
                }
                let mut ended = alloc::vec![pair.end(bench)?];
                if matches!(answer, Answer::Misused(_)) {
                    // The connection is over.
                    ended.push(pair.end(bench)?);
                    ended.sort_by_key(|ended| ended.side != bad);
                    let status = if good == Client { Status::SendDisconnected } else { Status::ReceiveDisconnected };
                    require!(ended[1].state()?.gpr[RAX], code_of(status));
                }
                let seen = (bad, first, table, buffer, ended[0].answer);
                require!(seen, (bad, first, table, buffer, answer));
                pair.child(good).thread.stop()?;
            }
            // Parameters themselves.
            pair.connect(bench)?;
            for (address, answer) in
                [(PARAMETERS + 32, misaligned), (KERNEL, Answer::Exception(14, KERNEL)), (0, Answer::Exception(14, 0))]
            {
                let call = if bad == Client { Call::ClientSend } else { Call::ServerReceive };
                pair.child(bad).begin(code::system_call(), &[(RAX, call as u64), (RSI, address)])?;
                if bad == Server && address.is_multiple_of(64) {
                    // A receiver's are looked at when there is something to receive.
                    pair.begin(Client, Call::ClientSend, What { send: &[(OUT, 1)], ..What::default() })?;
                }
                require!((address, pair.end(bench)?.answer), (address, answer));
                pair.child(good).thread.stop()?;
            }
        }
    }
    // Memory that may not be written is no room.
    let mut pair = Pair::new(bench)?;
    pair.bulk(Server, PAGE_SIZE, Rights::all(), Rights::READ)?;
    send(bench, &mut pair, OUT, BULK, Server)?;
    let ended = pair.end(bench)?;
    require!((ended.side, ended.answer), (Server, Answer::Exception(14, BULK)));
    Ok(pair.child(Client).thread.stop()?)
}

fn overlapping_buffers(bench: &mut Bench) -> Verdict {
    // Bytes over the receiver's own parameters, its table, and both buffers the same memory: whatever comes of it is the receiver's.
    let mut pair = Pair::new(bench)?;
    pair.write(Client, OUT, &[0xa5; 0x3000])?;
    for at in [PARAMETERS, PARAMETERS + 0x200, PARAMETERS - 30] {
        pair.connect(bench)?;
        pair.begin(
            Server,
            Call::ServerReceive,
            What { receive: &[(at, 0x800), (at, 0x800), (IN, 100)], ..What::default() },
        )?;
        pair.both_wait(bench)?;
        pair.begin(Client, Call::ClientSend, What { send: &[(OUT, 0x1100)], ..What::default() })?;
        pair.end(bench)?;
        pair.child(Client).thread.stop()?;
    }
    let memory = Memory::allocate(2 * PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, 2 * PAGE_SIZE, Rights::all())?;
    let shown =
        [Client, Server].map(|side| Mapping::new(&region, 0, &pair.child(side).space, BULK, 2 * PAGE_SIZE, BOTH));
    let bytes = pattern(6000);
    memory.write_bytes(0, &bytes)?;
    pair.connect(bench)?;
    pair.begin(Server, Call::ServerReceive, What { receive: &[(BULK + 1000, 6000)], ..What::default() })?;
    pair.begin(Client, Call::ClientSend, What { send: &[(BULK, 6000)], ..What::default() })?;
    require!(pair.status(bench, Client)?, code_of(Status::Ok));
    let mut received = alloc::vec![0; 6000];
    memory.read_bytes(1000, &mut received)?;
    require!(received == bytes, true);
    drop(shown);
    Ok(pair.child(Server).thread.stop()?)
}

fn peer_destroyed(bench: &mut Bench) -> Verdict {
    for dying in [Client, Server] {
        for with_space in [false, true] {
            for waits in [true, false] {
                let mut pair = Pair::new(bench)?;
                pair.connect(bench)?;
                let left = dying.other();
                let what = What { send: &[(OUT, 10)], receive: &[(IN, 10)], ..What::default() };
                let (call, status) = match left {
                    Client => (Call::ClientSend, Status::SendDisconnected),
                    Server => (Call::ServerReceive, Status::ReceiveDisconnected),
                };
                if waits {
                    pair.begin(left, call, what)?;
                    pair.both_wait(bench)?;
                }
                let native = pair.child(dying);
                if with_space {
                    system_call::space_destroy(native.space.address())?;
                    // The handle's object is to exist for as long as the handle.
                    system_call::space_create(native.space.address(), SpaceKind::Native, 4.into())?;
                } else {
                    system_call::thread_destroy(native.thread.address())?;
                    system_call::thread_create(native.thread.address())?;
                }
                if !waits {
                    pair.begin(left, call, what)?;
                }
                require!(pair.status(bench, left)?, code_of(Status::Alerted));
                require!(pair.call(bench, left, call, what)?, code_of(status));
            }
        }
    }
    Ok(())
}

/// A conversation of one message of 400,000 bytes each way, in the middle of which both threads are stopped again and again, in what they then are
/// about to do, and `meanwhile` something is done to one of them.
fn interrupted_conversation(bench: &mut Bench, mut meanwhile: impl FnMut(&mut Pair, Side, u32) -> Verdict) -> Verdict {
    const LENGTH: u64 = 400_000;
    const HALF: u64 = 100 * PAGE_SIZE;
    let bytes = pattern(LENGTH as usize);
    let mut pair = Pair::new(bench)?;
    for side in [Client, Server] {
        pair.bulk(side, 2 * HALF, Rights::all(), BOTH)?.2.write_bytes(7, &bytes)?;
    }
    let room = BULK + HALF + 1;
    let what = What { send: &[(BULK + 7, LENGTH)], receive: &[(room, LENGTH)], ..What::default() };
    pair.begin(Client, Call::ClientConnectSendOverReceive, what)?;
    let mut calls = alloc::vec::Vec::new();
    let mut round = 0;
    let mut serving = Call::ServerWaitReceive;
    pair.begin(Server, serving, what)?;
    loop {
        for side in [Client, Server] {
            // Wherever it is, it is about to make a call of the conversation; or it has come to the end.
            round += 1;
            let soon = bench.microseconds(3 + u64::from(round % 37));
            match bench.receive_until(soon) {
                Event::TimedOut => {}
                event => {
                    let ended = pair.ended(event)?;
                    let status = ended.state()?.gpr[RAX];
                    match (ended.side, serving) {
                        (Server, Call::ServerWaitReceive) => {
                            require!(status, code_of(Status::Ok));
                            serving = Call::ServerAckSendWaitReceive;
                            pair.begin(Server, serving, what)?;
                        }
                        (Client, Call::ServerAckSendWaitReceive) => {
                            require!(status, code_of(Status::ReceiveDisconnected));
                            for number in 0..2 {
                                let mut received = alloc::vec![0; LENGTH as usize];
                                pair.memory(number).read_bytes(HALF + 1, &mut received)?;
                                require!((number, received == bytes), (number, true));
                            }
                            // They were stopped in most of what their calls are cut into.
                            calls.sort_unstable();
                            calls.dedup();
                            require!((&calls[..], calls.len() >= 6), (&calls[..], true));
                            return Ok(pair.child(Server).thread.stop()?);
                        }
                        (side, _) => fail!("{side:?} ended with {status}"),
                    }
                }
            }
            pair.child(side).thread.stop()?;
            let state = pair.child(side).thread.native_state()?;
            calls.push(state.gpr[RAX]);
            meanwhile(&mut pair, side, round)?;
            pair.child(side).thread.go()?;
            if round > 5000 {
                fail!("the conversation does not end");
            }
        }
    }
}

fn stopped_in_every_step(bench: &mut Bench) -> Verdict {
    interrupted_conversation(bench, |_, _, _| Ok(()))
}

fn recreated_in_every_step(bench: &mut Bench) -> Verdict {
    interrupted_conversation(bench, |pair, side, _| {
        // Its ends are kept by another thread while it is destroyed and made anew, at the same address.
        let child = pair.child(side);
        let state = child.thread.native_state()?;
        let keeping = Thread::native(&child.space, &state)?;
        let moved = connection::thread_move_connection(child.thread.address(), keeping.address(), side);
        if !matches!(moved, Ok(()) | Err(Status::NotFound)) {
            fail!("{moved:?}");
        }
        let at = child.thread.address();
        system_call::thread_destroy(at)?;
        system_call::thread_create(at)?;
        objects::set_native_thread(at, &state, child.space.reference(), Run::Stop)?;
        if moved.is_ok() {
            connection::thread_move_connection(keeping.address(), at, side)?;
        }
        Ok(())
    })
}

fn restored_from_its_state(bench: &mut Bench) -> Verdict {
    // Both threads are gone; what was exported of them makes the same connection again, in the middle of a message.
    let mut pair = Pair::new(bench)?;
    pair.write(Client, OUT, b"client")?;
    pair.connect(bench)?;
    pair.begin(
        Client,
        Call::ClientSendOverReceive,
        What { send: &[(OUT, 6)], receive: &[(IN, 9)], ..What::default() },
    )?;
    let receive = What { receive: &[(IN, 3)], ..What::default() };
    require!(pair.call(bench, Server, Call::ServerReceive, receive)?, code_of(Status::MoreData));
    let state = pair.child(Client).thread.native_state()?;
    require!(pair.call(bench, Server, Call::ServerAlert, What::default())?, code_of(Status::Ok));
    let [client, server] = [Client, Server].map(|side| pair.child(side).thread.address());
    let exported = connection::thread_get_connection(client, Client, 0)?;
    require!(exported, ConnectionState { connected: 1, sends: 1, alerted: 1 });
    for (side, thread) in [(Client, client), (Server, server)] {
        system_call::thread_destroy(thread)?;
        system_call::thread_create(thread)?;
        objects::set_native_thread(thread, &state, pair.child(side).space.reference(), Run::Stop)?;
    }
    connection::thread_connect(client, server, Client, [true, false])?;
    pair.child(Client).thread.go()?;
    let ended = pair.end(bench)?.state()?;
    require!((ended.gpr[RAX], ended.gpr[RDX]), (code_of(Status::Alerted), Call::ClientSendOverReceive as u64));
    pair.begin_as_set(Client, Call::ClientSendOverReceive)?;
    let receive = What { receive: &[(IN + 3, 10)], ..What::default() };
    require!(pair.call(bench, Server, Call::ServerReceive, receive)?, code_of(Status::Ok));
    require!(pair.read(Server, IN, 6)?, b"client");
    Ok(pair.child(Client).thread.stop()?)
}

fn moves_that_are_refused(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let (client, server) = (pair.child(Client).thread.address(), pair.child(Server).thread.address());
    require!(connection::thread_move_connection(client, server, Client), Err(Status::NotFound));
    require!(connection::thread_connect(client, client, Client, [false; 2]), Err(Status::Refused));
    let none = ConnectionState::default();
    require!(connection::thread_get_connection(client, Client, 0)?, none);
    pair.connect(bench)?;
    require!(connection::thread_connect(client, server, Client, [false; 2]), Err(Status::Refused));
    require!(connection::thread_move_connection(client, client, Client), Err(Status::Refused));
    require!(connection::thread_move_connection(client, server, Client), Err(Status::Refused));
    require!(connection::thread_move_connection(client, server, Server), Err(Status::NotFound));
    let reference = Reference::new()?;
    let state = connection::thread_get_connection(client, Client, reference.address())?;
    require!(state, ConnectionState { connected: 1, sends: 1, alerted: 0 });
    require!(reference.check()?, Some(ObjectType::Thread));
    Ok(())
}

fn long_transfers_are_preempted(bench: &mut Bench) -> Verdict {
    // The bench sleeps to a deadline in the middle of a transfer of 4 MiB.
    const LENGTH: u64 = 4 << 20;
    let mut pair = Pair::new(bench)?;
    for side in [Client, Server] {
        pair.bulk(side, LENGTH, Rights::all(), BOTH)?;
    }
    pair.begin(Server, Call::ServerWaitReceive, What { receive: &[(BULK, LENGTH)], ..What::default() })?;
    pair.begin(Client, Call::ClientConnectSend, What { send: &[(BULK, LENGTH)], ..What::default() })?;
    let soon = bench.microseconds(500);
    require!(bench.receive_until(soon), Event::TimedOut);
    let late = time::now() - soon.unwrap_or(0);
    let sent = LENGTH - pair.first(Client, pair.transfer(Client)?.send)?.length;
    if sent == 0 || sent == LENGTH || late > bench.ticks(500) {
        fail!("{sent} bytes were sent, {late} ticks after the deadline");
    }
    require!(pair.status(bench, Client)?, code_of(Status::Ok));
    Ok(pair.child(Server).thread.stop()?)
}

fn random_conversations(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    named(random_conversations_with(bench, seed), seed)
}

/// Both make any calls with any parameters, some of them nonsense, are stopped and made anew anywhere: the kernel goes on, and afterwards they
/// converse as if nothing had been.
fn random_conversations_with(bench: &mut Bench, seed: u64) -> Verdict {
    let mut random = Random::new(seed);
    let mut pair = Pair::new(bench)?;
    for side in [Client, Server] {
        system_call::reference_create(pair.child(side).own_address(REFERENCES))?;
    }
    for _ in 0..3000 {
        let side = random.pick(&[Client, Server]);
        pair.child(side).thread.stop()?;
        let pieces = [(); 4].map(|()| {
            let any = random.word();
            let address = random.pick(&[OUT, IN, IN + 4095, PARAMETERS, DATA + DATA_SIZE - 8, 0, any, BULK]);
            (address, random.pick(&[0, 1, 100, 4096, 20_000, u64::MAX]))
        });
        let places = [REFERENCES, REFERENCES, NAME, OUT, random.word()];
        let count = random.word() as usize % 4;
        let what = What {
            send: &pieces[..count],
            receive: &pieces[count..],
            send_references: &places[..random.word() as usize % 5],
            receive_references: &places[..random.word() as usize % 5],
        };
        pair.set(side, what)?;
        let number = if side == Client { 0xb0 } else { 0xc0 } + random.word() % 16;
        let parameters = random.pick(&[PARAMETERS, PARAMETERS, PARAMETERS, OUT, PARAMETERS + 8, 0]);
        pair.child(side).begin(code::system_call(), &[(RAX, number), (RDI, NAME), (RSI, parameters)])?;
        let soon = bench.microseconds(50);
        match bench.receive_until(soon) {
            Event::TimedOut => {}
            event => drop(pair.ended(event)?),
        }
        match random.word() % 16 {
            0 => {
                let at = pair.child(side).thread.address();
                system_call::thread_destroy(at)?;
                system_call::thread_create(at)?;
                let state = protocols::api::NativeState::default();
                objects::set_native_thread(at, &state, pair.child(side).space.reference(), Run::Stop)?;
            }
            1 => {
                let [client, server] = [Client, Server].map(|side| pair.child(side).thread.address());
                let sender = random.pick(&[Client, Server]);
                // It may be refused.
                let _ = connection::thread_connect(client, server, sender, [random.word() & 1 == 1, false]);
                let _ = connection::thread_move_connection(client, server, random.pick(&[Client, Server]));
            }
            _ => {}
        }
    }
    for side in [Client, Server] {
        pair.child(side).thread.stop()?;
    }
    let mut pair = Pair::new(bench)?;
    send(bench, &mut pair, OUT, IN, Client)?;
    require!(pair.status(bench, Server)?, code_of(Status::Ok));
    Ok(pair.child(Client).thread.stop()?)
}
