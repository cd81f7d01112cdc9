//! Measurements with a native child: a thread in a Space of its own.

use crate::program::{Cost, ITERATIONS, Printer};
use crate::{code, faults, messages};
use alloc::vec::Vec;
use core::hint::black_box;
use protocols::address::PAGE_SIZE;
use protocols::api::{MutexState, NativeState, OBJECT_SIZE, Run};
use protocols::libc::mutex::ThisThread;
use protocols::libc::system_call;
use protocols::libc::time::{now, transitions};
use protocols::libnest::server::{self, Event};
use protocols::libnest::{
    Mapping, Memory, Mutex, Port, Region, Result, Rights, Server, Space, SpaceKind, Status, Thread, objects,
};
use protocols::virtual_cpu::register::{R12, R13, R14, R15, RSP};

pub const CODE: u64 = 0x40_0000;
const RESULTS: u64 = 0x40_1000;
/// Where its Reference to its parent lies.
pub const REFERENCE: u64 = 0x40_2000;
const MUTEX: u64 = REFERENCE + OBJECT_SIZE;
const THREADS: [u64; 2] = [REFERENCE + 2 * OBJECT_SIZE, REFERENCE + 3 * OBJECT_SIZE];
const THREAD: u64 = REFERENCE + 4 * OBJECT_SIZE;
/// Where the code of the second thread lies.
const PARTNER: u64 = CODE + 0x800;
const STACK_END: u64 = 0x40_4000;
/// A page that loops with messages may use, parameters of theirs, and a copy of these.
pub const MESSAGE: u64 = 0x40_4000;
pub const PARAMETERS: u64 = REFERENCE + 0x400;
pub const COPY: u64 = REFERENCE + 0x800;
const TOUCHED: u64 = 0x80_0000;
const ALLOWANCE: u64 = 64;
const RBX: usize = 3;
const RBP: usize = 5;

/// The child and what its parent holds of it.
pub struct Child {
    pub server: Server,
    space: Space,
    pub memory: Memory,
    thread: Thread,
    port: Port,
    _region: Region,
    _mapping: Mapping,
}

impl Child {
    /// A child with five pages of memory, stopped.
    pub fn new() -> Result<Self> {
        let server = Server::new()?;
        let memory = Memory::allocate(5 * PAGE_SIZE).ok_or(Status::NoMemory)?;
        let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
        let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
        let mapping = Mapping::new(&region, 0, &space, CODE, memory.size(), Rights::all())?;
        let port = server.port(1)?;
        space.set_keeper(&port)?;
        // The child's Reference to its parent lies in the child's memory.
        let reference = memory.address() + (REFERENCE - CODE);
        system_call::reference_create(reference)?;
        system_call::port_reference(port.address(), reference)?;
        let thread = Thread::native(&space, &NativeState::default())?;
        Ok(Self { server, space, memory, thread, port, _region: region, _mapping: mapping })
    }

    /// Its Space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Runs a loop with `r15`, serving what it asks with `serve`.
    pub fn run(&mut self, code: &[u8], r15: u64, mut serve: impl FnMut(&Space, u64) -> Result<()>) -> Result<Cost> {
        let before = transitions();
        self.go(code, r15)?;
        let mut event = self.server.receive(None);
        loop {
            // Calls are answered with what they bring.
            while let Event::Call { words, .. } = event {
                event = self.server.reply_and_receive(&words, None);
            }
            let reply = match event {
                Event::Exception { exception, .. } if exception.vector == 14 => {
                    serve(&self.space, exception.address)?;
                    server::resume()
                }
                _ => break,
            };
            event = self.server.reply_and_receive(&reply, None);
        }
        let transitions = transitions() - before;
        let _ = system_call::ipc_reply(&server::stop());
        Ok(Cost { ticks: self.ticks()?, transitions })
    }

    /// Lets a loop begin.
    pub fn go(&self, code: &[u8], r15: u64) -> Result<()> {
        self.memory.write_bytes(0, code).map_err(|_| Status::NoMemory)?;
        let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
        state.gpr[RBX] = ITERATIONS;
        state.gpr[RBP] = RESULTS;
        state.gpr[RSP] = STACK_END;
        (state.gpr[R13], state.gpr[R14], state.gpr[R15]) = (COPY, PARAMETERS, r15);
        self.thread.set_native_state(&state, Run::Go)
    }

    /// What the loop that has ended has measured.
    pub fn ticks(&self) -> Result<u64> {
        Ok(self.result(8)?.wrapping_sub(self.result(0)?))
    }

    fn result(&self, offset: u64) -> Result<u64> {
        self.memory.read(RESULTS - CODE + offset).map_err(|_| Status::NotFound)
    }

    /// Measures what it costs two threads to pass a Mutex to each other, [`ITERATIONS`] times in all.
    fn measure_contended(&mut self) -> Result<Cost> {
        let own = |address: u64| self.memory.address() + (address - CODE);
        let space = self.space.reference();
        objects::create_mutex_in(&self.memory, MUTEX - CODE)?;
        for thread in THREADS {
            system_call::thread_create(own(thread))?;
        }
        let begin = |thread: u64, code: u64, iterations: u64| {
            let mut state = NativeState { rip: code, rflags: 2, ..NativeState::default() };
            (state.gpr[RBX], state.gpr[RBP]) = (iterations, if code == CODE { RESULTS } else { RESULTS + 0x40 });
            (state.gpr[R12], state.gpr[R15]) = (thread, MUTEX);
            objects::set_native_thread(own(thread), &state, space, Run::Unchanged)?;
            system_call::thread_set_self(own(thread), thread)?;
            objects::run_thread(own(thread), Run::Go)
        };
        self.memory.write_bytes(0, code::native_relock()).map_err(|_| Status::NoMemory)?;
        self.memory.write_bytes(PARTNER - CODE, code::native_lock()).map_err(|_| Status::NoMemory)?;
        // The first thread has the Mutex already, the other waits for it, and has more to do than the first.
        system_call::mutex_set_state(own(MUTEX), &MutexState { owner: THREADS[0] })?;
        begin(THREADS[1], PARTNER, u64::MAX)?;
        let soon = Some(now() + 100_000);
        if self.server.receive(soon) != Event::TimedOut {
            return Err(Status::Refused);
        }
        let before = transitions();
        // Each iteration has two; all of them fit into a time slice, at whose end either might run alone.
        begin(THREADS[0], CODE, ITERATIONS / 4)?;
        self.server.receive(None);
        let transitions = transitions() - before;
        let _ = system_call::ipc_reply(&server::stop());
        for thread in THREADS {
            system_call::thread_destroy(own(thread))?;
        }
        system_call::mutex_destroy(own(MUTEX))?;
        let (start, end): (u64, u64) = (self.result(0)?, self.result(8)?);
        Ok(Cost { ticks: 2 * end.wrapping_sub(start), transitions: 2 * transitions })
    }

    /// Runs a loop twice; the second time counts.
    pub fn measure(&mut self, code: &[u8], r15: u64) -> Result<Cost> {
        let refuse = |_: &Space, _| Err(Status::Disconnected);
        self.run(code, r15, refuse)?;
        self.run(code, r15, refuse)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It was created by `new`.
        let _ = system_call::reference_destroy(self.memory.address() + (REFERENCE - CODE));
    }
}

/// What it costs a program to lock and unlock a Mutex that nobody else wants; first what the loop around it costs.
fn measure_uncontended() -> Result<(Cost, Cost)> {
    let this = ThisThread::get().ok_or(Status::Unsupported)?;
    let mutex = Mutex::new(())?;
    let measure = |operation: &dyn Fn() -> Result<()>| {
        let mut cost = Cost { ticks: 0, transitions: 0 };
        for _ in 0..2 {
            let (start, before) = (now(), transitions());
            operation()?;
            cost = Cost { ticks: now() - start, transitions: transitions() - before };
        }
        Ok::<_, Status>(cost)
    };
    let nothing = measure(&|| {
        for _ in 0..ITERATIONS {
            black_box(&mutex);
        }
        Ok(())
    })?;
    let lock = measure(&|| {
        for _ in 0..ITERATIONS {
            drop(black_box(&mutex).lock(this)?);
        }
        Ok(())
    })?;
    Ok((nothing, lock))
}

/// Measures the operations of native children.
pub fn measure(printer: &mut Printer) -> Result<()> {
    let mut child = Child::new()?;
    let empty = child.measure(code::native_empty(), 0)?;
    let null = child.measure(code::null_system_call(), 0)?;
    printer.print("api.null.syscall", null, empty);
    let call = child.measure(code::ipc_call(), REFERENCE)?;
    printer.print("ipc.rpc", call, empty);
    messages::measure(printer, &mut child)?;

    let (nothing, lock) = measure_uncontended()?;
    printer.print("mutex.uncontended", lock, nothing);
    child.measure_contended()?;
    printer.print("mutex.contended", child.measure_contended()?, Cost { ticks: 0, transitions: 0 });
    let thread = child.memory.address() + (THREAD - CODE);
    system_call::thread_create(thread)?;
    let state = child.measure(code::thread_state(), THREAD)?;
    printer.print("thread.state", state, empty);
    system_call::thread_destroy(thread)?;

    let switches = switch(&mut child, empty)?;
    printer.print("thread.switch", switches, Cost { ticks: 0, transitions: 0 });

    // One page of the Region for all: what is measured is the way of the fault, the Mapping and the reply.
    let page = Memory::allocate(PAGE_SIZE).ok_or(Status::NoMemory)?;
    let region = Region::new(&page, 0, PAGE_SIZE, Rights::READ)?;
    let mut mappings = Places::new(&region, &child.space)?;
    let step = child.measure(code::native_step(), TOUCHED)?;
    let mut next = 0;
    let touched = child.run(code::native_touch(), TOUCHED, |space, address| {
        next += 1;
        mappings.map(next - 1, space, address & !(PAGE_SIZE - 1))
    })?;
    printer.print("fault.unmapped.native", touched, step);
    drop(mappings);
    faults::measure(printer, &mut child)?;
    let _ = &child.port;
    Ok(())
}

/// Switches between the child and a thread in another Space, of which each iteration has two: the child donates its time, the
/// other gives it back.
fn switch(child: &mut Child, empty: Cost) -> Result<Cost> {
    let other = Child::new()?;
    other.memory.write_bytes(0, code::give_back()).map_err(|_| Status::NoMemory)?;
    // The child's own memory holds the other's Thread.
    let thread = child.memory.address() + (THREADS[0] - CODE);
    system_call::thread_create(thread)?;
    system_call::thread_set_scheduler(thread, 0, 0)?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    (state.gpr[RBX], state.gpr[RBP]) = (u64::MAX, RESULTS);
    objects::set_native_thread(thread, &state, other.space.reference(), Run::Go)?;
    let cost = child.measure(code::schedule(), THREADS[0])?;
    system_call::thread_destroy(thread)?;
    let half = |value: u64, less: u64| value.saturating_sub(less) / 2;
    Ok(Cost { ticks: half(cost.ticks, empty.ticks), transitions: half(cost.transitions, empty.transitions) })
}

/// Mapping objects that wait to be used, one for each page that a loop touches.
pub struct Places<'a> {
    mappings: Vec<Mapping>,
    region: &'a Region,
}

/// Where the waiting Mappings are parked in the Space, out of the loops' way.
const PARKED: u64 = 0x40_0000_0000;

impl<'a> Places<'a> {
    /// `ITERATIONS` Mappings of the first page of `region` into `space`.
    pub fn new(region: &'a Region, space: &Space) -> Result<Self> {
        let park = |number| Mapping::new(region, 0, space, PARKED + number * PAGE_SIZE, PAGE_SIZE, Rights::READ);
        let mappings = (0..ITERATIONS).map(park).collect::<Result<Vec<_>>>()?;
        Ok(Self { mappings, region })
    }

    /// Moves the Mapping `number` to `address` in `space`.
    pub fn map(&mut self, number: usize, space: &Space, address: u64) -> Result<()> {
        let mapping = self.mappings.get_mut(number).ok_or(Status::NotFound)?;
        mapping.set(self.region, 0, space, address, PAGE_SIZE, Rights::READ)
    }
}
