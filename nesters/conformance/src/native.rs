//! Native children that run a few instructions: a Space with a page of code, some pages of data, and one thread.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, NativeState, OBJECT_SIZE, Rights, SpaceKind};
use protocols::exception::{MISUSE, Misuse, NativeException};
use protocols::libc::system_call::{self, ipc_reply};
use protocols::libnest::server::stop;
use protocols::libnest::{Event, Mapping, Memory, Port, Reference, Run, Space, Thread};
use protocols::virtual_cpu::register::{R8, R10, RAX, RDI, RDX, RSI, RSP};

use crate::code;
use crate::harness::{Bench, Exported, Failure, fail};

/// Where the code of a child is mapped: one page, to be read and executed.
pub const CODE: u64 = 0x40_0000;
/// Where its data are mapped: [`DATA_SIZE`] bytes, with all rights but execution.
pub const DATA: u64 = 0x50_0000;
/// Bytes of data.
pub const DATA_SIZE: u64 = 0x8000;
/// Where nothing is mapped.
pub const HOLE: u64 = 0x60_0000;
/// Frames of kernel memory that a child may use.
pub const ALLOWANCE: u64 = 64;

/// What became of the instructions.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and tests want to take it apart")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// They came to their end: the undefined instruction.
    Done(NativeState),
    /// The API was misused.
    Misused(u64),
    /// Another exception: vector, address.
    Exception(u64, u64),
}

impl Answer {
    /// The answer of a call that was misused.
    pub const fn misuse(misuse: Misuse) -> Self {
        Self::Misused(misuse as u64)
    }
}

/// A child.
#[derive(Debug)]
pub struct Native {
    /// Its first and only thread.
    pub thread: Thread,
    /// Its memory: a page of code, then data.
    pub memory: Memory,
    /// Code and data.
    pub mappings: [Mapping; 2],
    /// All of its memory.
    pub region: Exported,
    /// Its Space.
    pub space: Space,
    /// Its keeper.
    pub port: Port,
    /// The alias of `port`.
    pub alias: u64,
    /// Whether the thread waits for a reply to its exception.
    waits: bool,
}

impl Native {
    /// A child, stopped.
    pub fn new(bench: &mut Bench) -> Result<Self, Failure> {
        let port = bench.port()?;
        let memory = Memory::allocate(PAGE_SIZE + DATA_SIZE).ok_or(Failure("no memory".into()))?;
        let region = Exported::new(&memory)?;
        let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
        space.set_keeper(&port)?;
        let code = Mapping::new(&region, 0, &space, CODE, PAGE_SIZE, Rights::READ | Rights::EXECUTE)?;
        let rights = Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT;
        let data = Mapping::new(&region, PAGE_SIZE, &space, DATA, DATA_SIZE, rights)?;
        let thread = Thread::native(&space, &state(&[]))?;
        let alias = bench.last_alias();
        Ok(Self { thread, memory, mappings: [code, data], region, space, port, alias, waits: false })
    }

    /// The address in the test's own Space of what the child sees at `address` of its data.
    pub fn own_address(&self, address: u64) -> u64 {
        self.memory.address() + PAGE_SIZE + (address - DATA)
    }

    /// Makes a Portset at the begin of the child's data and, after it, a Port in it with the alias 5. Returns a Reference to
    /// the Port.
    pub fn serves(&self) -> Result<Reference, Failure> {
        let (portset, port) = (self.own_address(DATA), self.own_address(DATA + OBJECT_SIZE));
        system_call::portset_create(portset)?;
        system_call::port_create(port)?;
        let reference = Reference::new()?;
        system_call::portset_reference(portset, reference.address())?;
        system_call::port_set_state(port, 5, reference.address())?;
        system_call::port_reference(port, reference.address())?;
        Ok(reference)
    }

    /// Reads a word of the child's data.
    pub fn read(&self, address: u64) -> Result<u64, Failure> {
        Ok(self.memory.read(PAGE_SIZE + (address - DATA))?)
    }

    /// Writes a word of the child's data.
    pub fn write(&self, address: u64, value: u64) -> Result<(), Failure> {
        Ok(self.memory.write(PAGE_SIZE + (address - DATA), &value)?)
    }

    /// Has the child begin `code` with registers set, without waiting for the end.
    pub fn begin(&mut self, code: &[u8], registers: &[(usize, u64)]) -> Result<(), Failure> {
        self.memory.write_bytes(0, code)?;
        if core::mem::take(&mut self.waits) {
            // Its exception was answered so already, if others have been received since: then this is for the last of them.
            let _ = ipc_reply(&stop());
        }
        Ok(self.thread.set_native_state(&state(registers), Run::Go)?)
    }

    /// Has the child run `code` with registers set, and waits for the end.
    pub fn run(&mut self, bench: &mut Bench, code: &[u8], registers: &[(usize, u64)]) -> Result<Answer, Failure> {
        self.begin(code, registers)?;
        let event = bench.receive();
        self.answer(event)
    }

    /// What a message says about the child.
    pub fn answer(&mut self, event: Event) -> Result<Answer, Failure> {
        let Event::Exception { alias, exception } = event else { fail!("got {event:x?} instead of an exception") };
        if alias != self.alias {
            fail!("alias {alias} instead of {}", self.alias);
        }
        self.waits = true;
        Ok(match exception {
            NativeException { vector: MISUSE, error, .. } => Answer::Misused(error),
            NativeException { vector: 6, .. } => Answer::Done(self.thread.native_state()?),
            NativeException { vector, address, .. } => Answer::Exception(vector, address),
        })
    }

    /// Has the child make a call. `Ok` holds its registers afterwards.
    pub fn call(&mut self, bench: &mut Bench, call: Call, arguments: &[u64]) -> Result<Answer, Failure> {
        self.call_number(bench, call as u64, arguments)
    }

    /// [`call`](Self::call) with any number.
    pub fn call_number(&mut self, bench: &mut Bench, call: u64, arguments: &[u64]) -> Result<Answer, Failure> {
        let mut registers = [(RAX, call), (RDI, 0), (RSI, 0), (RDX, 0), (R10, 0), (R8, 0)];
        for ((_, register), &argument) in registers[1..].iter_mut().zip(arguments) {
            *register = argument;
        }
        self.run(bench, code::system_call(), &registers)
    }

    /// [`call`](Self::call), of which only the status matters.
    pub fn status(&mut self, bench: &mut Bench, call: Call, arguments: &[u64]) -> Result<u64, Failure> {
        match self.call(bench, call, arguments)? {
            Answer::Done(state) => Ok(state.gpr[RAX]),
            answer => fail!("{call:?} {arguments:x?}: {answer:x?}"),
        }
    }
}

/// The state of a thread about to run the code with registers set.
fn state(registers: &[(usize, u64)]) -> NativeState {
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    state.gpr[RSP] = DATA + DATA_SIZE;
    for &(register, value) in registers {
        state.gpr[register] = value;
    }
    state
}
