//! A thread that makes the calls that it is told: the other side, for examples and tests.
//!
//! A peer is a native child of a few instructions, in a Space of its own, which its creator keeps. It makes a list of calls one
//! after the other; [`finish`](Peer::finish) waits for the end of the list and says what they returned.

use alloc::vec::Vec;

use super::memory::{Memory, OutOfRange};
use super::objects::{Mapping, Port, Reference, Region, Space, Thread};
use super::server::{Event, Server, stop};
use crate::address::PAGE_SIZE;
use crate::api::{Buffer, Call, NativeState, OBJECT_SIZE, Rights, Run, SpaceKind, Status, Table, Transfer};
use crate::exception::{MISUSE, Misuse, NativeException};
use crate::libc::system_call::{self, Result};
use crate::libc::time;
use crate::virtual_cpu::register::RSP;

/// Where the code of a peer appears: one page.
pub const CODE: u64 = 0x40_0000;
/// Where the memory of a peer appears: first its objects, then its calls, then what they send and receive.
pub const DATA: u64 = 0x50_0000;
/// The address by which the thread of a peer knows itself.
pub const SELF: u64 = DATA - OBJECT_SIZE;

const CALLS: u64 = DATA + PAGE_SIZE;
const BUFFERS: u64 = DATA + 2 * PAGE_SIZE;
const DATA_SIZE: u64 = 4 * PAGE_SIZE;
/// Frames of kernel memory that a peer may use.
const ALLOWANCE: u64 = 64;
/// How long [`Peer::finish`] waits, in ticks of the time stamp counter.
const PATIENCE: u64 = 1 << 34;
/// Registers of a call: RAX, RDI, RSI, RDX, R10, R8, R9, R12, R13, R14, R15, RBX, RBP.
const REGISTERS: usize = 13;

/// Makes the calls whose registers RSP points at, one after the other, and notes there what each returns. The number 0 at the end is
/// of no call.
const PROGRAM: [u8; 54] = [
    0x58, 0x5f, 0x5e, 0x5a, // pop rax; pop rdi; pop rsi; pop rdx
    0x41, 0x5a, 0x41, 0x58, 0x41, 0x59, // pop r10; pop r8; pop r9
    0x41, 0x5c, 0x41, 0x5d, 0x41, 0x5e, 0x41, 0x5f, // pop r12; pop r13; pop r14; pop r15
    0x5b, 0x5d, // pop rbx; pop rbp
    0x0f, 0x05, // syscall
    0x48, 0x89, 0x44, 0x24, 0x98, // mov [rsp - 104], rax
    0x48, 0x89, 0x7c, 0x24, 0xa0, // mov [rsp - 96], rdi
    0x48, 0x89, 0x74, 0x24, 0xa8, // mov [rsp - 88], rsi
    0x48, 0x89, 0x54, 0x24, 0xb0, // mov [rsp - 80], rdx
    0x4c, 0x89, 0x54, 0x24, 0xb8, // mov [rsp - 72], r10
    0x4c, 0x89, 0x44, 0x24, 0xc0, // mov [rsp - 64], r8
    0xeb, 0xca, // and again
];

/// What a call of a peer returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// RAX: a [`Status`].
    pub status: u64,
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
    /// R10.
    pub r10: u64,
    /// R8.
    pub r8: u64,
}

impl Returned {
    /// Whether it returned `status`.
    pub fn is(&self, status: Status) -> bool {
        self.status == status as u64
    }
}

/// A peer. Dropping it ends it, with everything in its memory.
#[derive(Debug)]
pub struct Peer {
    thread: Thread,
    memory: Memory,
    _mappings: [Mapping; 2],
    region: Region,
    space: Space,
    _keeper: Port,
    server: Server,
    calls: usize,
    objects: u64,
    buffered: u64,
}

impl From<OutOfRange> for Status {
    fn from(_: OutOfRange) -> Self {
        Self::Refused
    }
}

impl Peer {
    /// A peer, stopped.
    pub fn new() -> Result<Self> {
        let memory = Memory::allocate(PAGE_SIZE + DATA_SIZE).ok_or(Status::NoMemory)?;
        memory.write_bytes(0, &PROGRAM)?;
        let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
        let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
        let code = Mapping::new(&region, 0, &space, CODE, PAGE_SIZE, Rights::READ | Rights::EXECUTE)?;
        let rights = Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT;
        let data = Mapping::new(&region, PAGE_SIZE, &space, DATA, DATA_SIZE, rights)?;
        let server = Server::new()?;
        let keeper = server.port(0)?;
        space.set_keeper(&keeper)?;
        let thread = Thread::native(&space, &NativeState::default())?;
        system_call::thread_set_self(thread.address(), SELF)?;
        let (mappings, calls, objects, buffered) = ([code, data], 0, 0, 0);
        let _keeper = keeper;
        Ok(Self { thread, memory, _mappings: mappings, region, space, _keeper, server, calls, objects, buffered })
    }

    /// Its thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Its Space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The address in the creator's Space of what the peer sees at `address` of its data.
    pub fn own(&self, address: u64) -> u64 {
        self.memory.address() + offset(address)
    }

    /// A new place for an object in its memory, as the peer sees it.
    pub fn place(&mut self) -> u64 {
        self.objects += 1;
        DATA + (self.objects - 1) % (PAGE_SIZE / OBJECT_SIZE) * OBJECT_SIZE
    }

    /// Gives it a copy of a Reference. Returns where the peer sees it.
    pub fn holds(&mut self, reference: &Reference) -> Result<u64> {
        let place = self.place();
        system_call::reference_create(self.own(place))?;
        system_call::reference_copy(reference.address(), self.own(place))?;
        Ok(place)
    }

    /// Gives it a Portset with a Port in it. Returns where the peer sees the Portset, and a Reference to the Port.
    pub fn serves(&mut self, alias: u64) -> Result<(u64, Reference)> {
        let (portset, port) = (self.place(), self.place());
        system_call::portset_create(self.own(portset))?;
        system_call::port_create(self.own(port))?;
        let reference = Reference::new()?;
        system_call::portset_reference(self.own(portset), reference.address())?;
        system_call::port_set_state(self.own(port), alias, reference.address())?;
        system_call::port_reference(self.own(port), reference.address())?;
        Ok((portset, reference))
    }

    /// Puts a [`Transfer`] of `bytes` to be sent and of `room` bytes to be received into its memory, and returns where the peer sees
    /// it. What it receives comes to [`received`](Self::received).
    pub fn transfer(&mut self, bytes: &[u8], room: u64) -> Result<u64> {
        let place = BUFFERS + self.buffered;
        let buffers = place + size_of::<Transfer>() as u64;
        let sent = buffers + 2 * size_of::<Buffer>() as u64;
        let send = Buffer { address: sent, length: bytes.len() as u64 };
        let receive = Buffer { address: (sent + send.length).next_multiple_of(64), length: room };
        let table = |address, length: u64| Table { address, count: (length != 0).into() };
        let transfer = Transfer {
            send: table(buffers, send.length),
            receive: table(buffers + size_of::<Buffer>() as u64, room),
            ..Transfer::default()
        };
        self.memory.write(offset(place), &transfer)?;
        self.memory.write(offset(buffers), &[send, receive])?;
        self.memory.write_bytes(offset(sent), bytes)?;
        self.buffered = (receive.address + room).next_multiple_of(64) - BUFFERS;
        Ok(place)
    }

    /// What a call with the [`transfer`](Self::transfer) of that length has received.
    pub fn received<const N: usize>(&self, transfer: u64, sent: u64) -> Result<[u8; N]> {
        let end = transfer + (size_of::<Transfer>() + 2 * size_of::<Buffer>()) as u64 + sent;
        Ok(self.memory.read(offset(end.next_multiple_of(64)))?)
    }

    /// Reads a word of its memory.
    pub fn read(&self, address: u64) -> Result<u64> {
        Ok(self.memory.read(offset(address))?)
    }

    /// Writes a word of its memory.
    pub fn write(&self, address: u64, value: u64) -> Result<()> {
        Ok(self.memory.write(offset(address), &value)?)
    }

    /// Has it begin to make calls, each with the values of the first of RDI, RSI, RDX, R10, R8, R9, R12, R13, R14, R15, RBX and RBP; the others
    /// are 0. Lets it run once; does not wait for the end.
    pub fn begin(&mut self, calls: &[(Call, &[u64])]) -> Result<()> {
        for (index, (call, arguments)) in calls.iter().enumerate() {
            let mut registers = [0; REGISTERS];
            registers[0] = *call as u64;
            registers.iter_mut().skip(1).zip(*arguments).for_each(|(register, &argument)| *register = argument);
            self.memory.write(record(index), &registers)?;
        }
        self.memory.write(record(calls.len()), &[0u64; REGISTERS])?;
        self.calls = calls.len();
        let mut state = NativeState { rip: CODE, ..NativeState::default() };
        state.gpr[RSP] = CALLS;
        self.thread.set_native_state(&state, Run::Go)?;
        system_call::thread_yield();
        Ok(())
    }

    /// Waits until it has made all its calls, and says what they returned. `Refused` if it met another exception before.
    pub fn finish(&mut self) -> Result<Vec<Returned>> {
        let exception = self.exception()?;
        if (exception.vector, exception.error, exception.address) != (MISUSE, Misuse::UnknownCall as u64, 0) {
            return Err(Status::Refused);
        }
        let returned = |index| {
            let [status, rdi, rsi, rdx, r10, r8] = self.memory.read(record(index))?;
            Ok(Returned { status, rdi, rsi, rdx, r10, r8 })
        };
        (0..self.calls).map(returned).collect()
    }

    /// [`begin`](Self::begin), then [`finish`](Self::finish).
    pub fn make(&mut self, calls: &[(Call, &[u64])]) -> Result<Vec<Returned>> {
        self.begin(calls)?;
        self.finish()
    }

    /// Waits until it meets an exception, as at the end of its calls. It is stopped then.
    pub fn exception(&mut self) -> Result<NativeException> {
        match self.server.receive(Some(time::now() + PATIENCE)) {
            Event::Exception { exception, .. } => {
                system_call::ipc_reply(&stop())?;
                Ok(exception)
            }
            _ => Err(Status::TimedOut),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Neither protecting nor destroying needs memory, so this cannot fail.
        let _ = self.region.protect(Rights::empty());
        let _ = self.region.destroy_objects();
    }
}

/// The offset in the memory of a peer of what it sees at `address`.
const fn offset(address: u64) -> u64 {
    PAGE_SIZE + address.wrapping_sub(DATA)
}

/// The offset of the registers of a call.
const fn record(index: usize) -> u64 {
    offset(CALLS) + (index * REGISTERS * 8) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_from_objects_and_buffers() {
        assert_eq!((offset(DATA), record(0)), (PAGE_SIZE, 2 * PAGE_SIZE));
        assert_eq!(record(1) - record(0), 104);
        assert!(SELF.is_multiple_of(OBJECT_SIZE));
        assert_eq!(PROGRAM[53] as i8, -54);
    }
}
