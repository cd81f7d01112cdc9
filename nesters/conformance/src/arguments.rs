//! Arguments outside what the pages of the calls say, and results that only few programs meet.

use protocols::api::{Call, OBJECT_SIZE, RegionState, SpaceKind, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::{Peer, Reference};
use protocols::policy::{Kind, MAX_CPUID_ENTRIES};
use protocols::scheduling::TimeSource;

use crate::harness::{Bench, Test, Verdict, require};
use crate::native::{Answer, DATA, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("arguments::of_regions", of_regions),
    ("arguments::of_policy", of_policy),
    ("arguments::of_threads", of_threads),
    ("arguments::of_connections", of_connections),
    ("arguments::portset_destroyed_while_waiting", portset_destroyed_while_waiting),
    ("arguments::saved_registers_of_nobody", saved_registers_of_nobody),
    ("arguments::no_memory_for_a_virtual_cpu", no_memory_for_a_virtual_cpu),
    ("arguments::void_scheduler", void_scheduler),
];

const OBJECT: u64 = DATA;
const ANOTHER: u64 = DATA + OBJECT_SIZE;
/// A structure in the child's memory.
const STATE: u64 = DATA + 0x1000;

/// Fails unless each of the calls is that misuse.
fn misused(bench: &mut Bench, child: &mut Native, calls: &[(Call, &[u64], Misuse)]) -> Verdict {
    for &(call, arguments, misuse) in calls {
        let answer = child.call(bench, call, arguments)?;
        require!((call, arguments, answer), (call, arguments, Answer::misuse(misuse)));
    }
    Ok(())
}

fn of_regions(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::RegionCreate, &[OBJECT])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[ANOTHER])?, Status::Ok as u64);
    let good = RegionState { start: DATA, size: 0x1000, rights: 1 };
    for (state, misuse) in [
        (RegionState { start: DATA + 1, ..good }, Misuse::NotAligned),
        (RegionState { size: 0x1001, ..good }, Misuse::NotAligned),
        (RegionState { size: 0, ..good }, Misuse::BadArgument),
        (RegionState { start: !0xfff, ..good }, Misuse::BadArgument),
        (RegionState { start: 1 << 48, ..good }, Misuse::BadArgument),
        (RegionState { rights: 16, ..good }, Misuse::BadArgument),
    ] {
        for (index, word) in [state.start, state.size, state.rights].into_iter().enumerate() {
            child.write(STATE + index as u64 * 8, word)?;
        }
        misused(bench, &mut child, &[(Call::RegionSetState, &[OBJECT, STATE], misuse)])?;
    }
    for (index, word) in [good.start, good.size, good.rights].into_iter().enumerate() {
        child.write(STATE + index as u64 * 8, word)?;
    }
    misused(
        bench,
        &mut child,
        &[
            (Call::RegionSetState, &[OBJECT, STATE, ANOTHER], Misuse::NullReference),
            (Call::RegionSetState, &[OBJECT, STATE, 0, ANOTHER], Misuse::NullReference),
            (Call::RegionSetState, &[OBJECT, STATE, OBJECT], Misuse::WrongType),
            (Call::RegionProtect, &[OBJECT, 16], Misuse::BadArgument),
            (Call::RegionProtect, &[ANOTHER, 1], Misuse::WrongType),
        ],
    )?;
    require!(child.status(bench, Call::RegionSetState, &[OBJECT, STATE])?, Status::Ok as u64);
    Ok(())
}

fn of_policy(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let machine = SpaceKind::Machine as u64;
    require!(child.status(bench, Call::SpaceCreate, &[OBJECT, machine, 32])?, Status::Ok as u64);
    let [cpuid, msr, controls] = [Kind::Cpuid, Kind::Msr, Kind::Controls].map(|kind| kind as u64);
    for (kind, count) in [
        (0, 1),
        (4, 1),
        (u64::MAX, 1),
        (cpuid, 0),
        (cpuid, MAX_CPUID_ENTRIES as u64 + 1),
        (msr, 0),
        (msr, 257),
        (controls, 0),
        (controls, 2),
        (controls, u64::MAX),
    ] {
        misused(bench, &mut child, &[(Call::SpaceSetPolicy, &[OBJECT, kind, STATE, count], Misuse::BadArgument)])?;
    }
    require!(child.status(bench, Call::SpaceSetPolicy, &[OBJECT, controls, STATE, 1])?, Status::Ok as u64);
    Ok(())
}

fn of_threads(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::ThreadCreate, &[OBJECT])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[ANOTHER])?, Status::Ok as u64);
    misused(
        bench,
        &mut child,
        &[
            (Call::ThreadGetState, &[OBJECT, STATE, 1 << 40], Misuse::BadArgument),
            (Call::ThreadSetState, &[OBJECT, 0, 0, ANOTHER], Misuse::NullReference),
            (Call::ThreadSetState, &[OBJECT, 0, 0, 0, 3], Misuse::BadArgument),
            (Call::ThreadInterrupt, &[OBJECT, 256], Misuse::BadArgument),
            (Call::ThreadInterrupt, &[ANOTHER, 32], Misuse::WrongType),
        ],
    )
}

fn of_connections(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for thread in [OBJECT, ANOTHER] {
        require!(child.status(bench, Call::ThreadCreate, &[thread])?, Status::Ok as u64);
    }
    misused(
        bench,
        &mut child,
        &[
            (Call::ThreadGetConnection, &[OBJECT, 3, STATE], Misuse::BadArgument),
            (Call::ThreadMoveConnection, &[OBJECT, ANOTHER, 3], Misuse::BadArgument),
            (Call::ThreadConnect, &[OBJECT, ANOTHER, 2], Misuse::BadArgument),
            (Call::ThreadConnect, &[OBJECT, ANOTHER, 0, 4], Misuse::BadArgument),
        ],
    )?;
    require!(child.status(bench, Call::ThreadConnect, &[OBJECT, OBJECT])?, Status::Refused as u64);
    require!(child.status(bench, Call::ThreadMoveConnection, &[OBJECT, ANOTHER])?, Status::NotFound as u64);
    require!(child.status(bench, Call::ThreadConnect, &[OBJECT, ANOTHER])?, Status::Ok as u64);
    // Neither to the same thread, nor to the peer.
    for to in [OBJECT, ANOTHER] {
        require!(child.status(bench, Call::ThreadMoveConnection, &[OBJECT, to])?, Status::Refused as u64);
    }
    Ok(())
}

/// Whatever form of waiting a server has chosen.
fn portset_destroyed_while_waiting(_: &mut Bench) -> Verdict {
    for call in [
        Call::IpcWaitReceive,
        Call::IpcReplyWaitReceive,
        Call::IpcWaitReceiveWithReference,
        Call::IpcReplyWaitReceiveWithReference,
        Call::ServerWaitReceive,
    ] {
        let mut peer = Peer::new()?;
        let (portset, _port) = peer.serves(1)?;
        let transfer = peer.transfer(b"", 8)?;
        peer.begin(&[(call, &[portset, transfer])])?;
        system_call::portset_destroy(peer.own(portset))?;
        let ended = peer.finish()?[0].status;
        require!((call, ended), (call, Status::InvalidDestination as u64));
    }
    Ok(())
}

/// A thread without a handler has saved nothing, and none of its registers change when it looks.
fn saved_registers_of_nobody(_: &mut Bench) -> Verdict {
    let mut peer = Peer::new()?;
    let place = peer.holds(&Reference::new()?)?;
    let returned = peer.make(&[(Call::ThreadGetSaved, &[1, 2, 3, 4, 5]), (Call::ReferenceCheck, &[place])])?;
    require!((returned[0].rdi, returned[0].rsi, returned[0].rdx, returned[0].r10), (0, 0, 0, 0));
    require!((returned[1].rdi, returned[1].rsi, returned[1].rdx), (place, 0, 0));
    Ok(())
}

/// A Space whose allowance suffices for the tables of a machine but for no virtual CPU.
fn no_memory_for_a_virtual_cpu(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let [space, thread, to_space, of_thread] = [0, 1, 2, 3].map(|index| OBJECT + index * OBJECT_SIZE);
    for reference in [to_space, of_thread] {
        require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    }
    let (no_memory, mut refused) = (Status::NoMemory as u64, 0);
    for allowance in 1..32 {
        if child.status(bench, Call::SpaceCreate, &[space, SpaceKind::Machine as u64, allowance])? == no_memory {
            continue;
        }
        require!(child.status(bench, Call::SpaceReference, &[space, to_space])?, Status::Ok as u64);
        require!(child.status(bench, Call::ThreadCreate, &[thread])?, Status::Ok as u64);
        if child.status(bench, Call::ThreadSetState, &[thread, 0, 0, to_space])? == no_memory {
            refused += 1;
            // It is in no Space, and nothing is lost.
            require!(child.status(bench, Call::ThreadGetState, &[thread, 0, 0, of_thread])?, Status::Ok as u64);
            require!(system_call::reference_check(child.own_address(of_thread))?, None);
        }
        require!(child.status(bench, Call::ThreadDestroy, &[thread])?, Status::Ok as u64);
        require!(child.status(bench, Call::SpaceDestroy, &[space])?, Status::Ok as u64);
    }
    require!((1..31).contains(&refused), true);
    Ok(())
}

fn void_scheduler(bench: &mut Bench) -> Verdict {
    let peer = Peer::new()?;
    let thread = peer.thread().address();
    let void = bench.port()?.reference().duplicate()?;
    require!(void.check()?, None);
    let set = system_call::thread_set_scheduler(thread, void.address(), 1);
    require!(set, Err(Status::InvalidDestination));
    // Nothing has changed.
    let (source, word, _) = system_call::thread_get_scheduler(thread, 0)?;
    require!((source, word), (TimeSource::Root, 0));
    Ok(())
}
