//! Destroying objects on which more hangs than goes in one entry of the kernel.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, NativeState, Rights, SpaceKind, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::{Event, Mapping, Memory, Port, Portset, Reference, Region, Space, Thread};
use protocols::virtual_cpu::register::{RAX, RBP, RBX, RDI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, require};
use crate::native::{Answer, CODE, DATA, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("destruction::space_with_much", space_with_much),
    ("destruction::port_with_many_clients", port_with_many_clients),
    ("destruction::portset_with_many_servers", portset_with_many_servers),
    ("destruction::portset_with_much_pending", portset_with_much_pending),
    ("destruction::own_space", own_space),
];

/// More of anything than goes at once.
const MANY: u64 = 150;

fn space_with_much(_: &mut Bench) -> Verdict {
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::READ)?;
    let space = Space::new(SpaceKind::Native, 128)?;
    let show = |number| Mapping::new(&region, 0, &space, (number + 1) * PAGE_SIZE, PAGE_SIZE, Rights::READ);
    let mappings = (0..MANY).map(show).collect::<Result<Vec<_>, _>>()?;
    let export = |number| Region::of_space(&space, (number + 1) * PAGE_SIZE, PAGE_SIZE, Rights::READ);
    let regions = (0..MANY).map(export).collect::<Result<Vec<_>, _>>()?;
    let threads = (0..20).map(|_| Thread::native(&space, &NativeState::default())).collect::<Result<Vec<_>, _>>()?;
    let reference = Reference::new()?;
    drop(space);
    for mapping in &mappings {
        system_call::mapping_get_state(mapping.address(), 0, reference.address())?;
        require!(reference.check()?, None);
    }
    for region in &regions {
        system_call::region_get_state(region.address(), reference.address(), 0)?;
        require!(reference.check()?, None);
    }
    for thread in &threads {
        system_call::thread_get_links(thread.address(), reference.address())?;
        require!(reference.check()?, None);
    }
    Ok(())
}

/// Threads in a child's Space, each of which makes the same call, stores what it returns at a place of its own and rests.
struct Crowd {
    child: Native,
    threads: Vec<Thread>,
}

/// Where the Portset is on which they rest, a Reference, and where their results go.
const REST: u64 = DATA;
const REFERENCE: u64 = DATA + 64;
const RESULTS: u64 = DATA + 0x1000;
const NONE: u64 = 0xdead;

impl Crowd {
    /// None yet.
    fn new(bench: &mut Bench) -> Result<Self, Failure> {
        let mut child = Native::new(bench)?;
        require!(child.status(bench, Call::PortsetCreate, &[REST])?, Status::Ok as u64);
        require!(child.status(bench, Call::ReferenceCreate, &[REFERENCE])?, Status::Ok as u64);
        // The first thread is told to stop.
        require!(bench.receive_until(Some(1)), Event::TimedOut);
        child.memory.write_bytes(0, code::call_and_rest())?;
        Ok(Self { child, threads: Vec::new() })
    }

    /// Has `MANY` of them make a call, and waits until all are in it.
    fn call(&mut self, bench: &mut Bench, call: Call, rdi: u64) -> Verdict {
        for number in 0..MANY {
            self.child.write(RESULTS + number * 16, NONE)?;
            let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
            (state.gpr[RAX], state.gpr[RDI]) = (call as u64, rdi);
            (state.gpr[RBX], state.gpr[RBP]) = (RESULTS + number * 16, REST);
            let thread = Thread::native(&self.child.space, &state)?;
            thread.go()?;
            self.threads.push(thread);
        }
        let soon = bench.microseconds(5000);
        require!(bench.receive_until(soon), Event::TimedOut);
        Ok(())
    }

    /// Fails unless all their calls return `status` soon.
    fn all_end(&self, bench: &mut Bench, status: Status) -> Verdict {
        for number in 0..MANY {
            let result = || self.child.read(RESULTS + number * 16);
            bench.run_until(|| Ok(result()? != NONE))?;
            require!((number, result()?), (number, status as u64));
        }
        Ok(())
    }
}

fn port_with_many_clients(bench: &mut Bench) -> Verdict {
    let mut crowd = Crowd::new(bench)?;
    let portset = Portset::new()?;
    let port = Port::new(&portset, 1)?;
    system_call::port_reference(port.address(), crowd.child.own_address(REFERENCE))?;
    crowd.call(bench, Call::IpcCall, REFERENCE)?;
    drop(port);
    crowd.all_end(bench, Status::InvalidDestination)
}

fn portset_with_many_servers(bench: &mut Bench) -> Verdict {
    let mut crowd = Crowd::new(bench)?;
    let served = DATA + 128;
    system_call::portset_create(crowd.child.own_address(served))?;
    crowd.call(bench, Call::IpcWaitReceive, served)?;
    system_call::portset_destroy(crowd.child.own_address(served))?;
    crowd.all_end(bench, Status::InvalidDestination)
}

fn portset_with_much_pending(_: &mut Bench) -> Verdict {
    let portset = Portset::new()?;
    let ports = (0..MANY).map(|alias| Port::new(&portset, alias)).collect::<Result<Vec<_>, _>>()?;
    for port in &ports {
        port.reference().send(1)?;
    }
    drop(portset);
    // They have kept what was sent, and belong nowhere.
    let portset = Portset::new()?;
    for (number, port) in ports.iter().enumerate() {
        system_call::port_set_state(port.address(), number as u64, portset.reference().address())?;
        let received = system_call::ipc_wait_receive(portset.address(), 1)?;
        require!((received.alias, received.words[0]), (number as u64, 1));
    }
    Ok(())
}

/// A thread cannot destroy the Space that it runs in.
fn own_space(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (away, there) = (child.space.address(), child.own_address(DATA));
    system_call::space_move(away, there)?;
    let answer = child.call(bench, Call::SpaceDestroy, &[DATA])?;
    system_call::space_move(there, away)?;
    require!(answer, Answer::misuse(Misuse::CurrentThread));
    Ok(())
}
