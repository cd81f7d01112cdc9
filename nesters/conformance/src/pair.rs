//! Two native children that talk to each other: a client and a server, which make one call at a time.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Buffer, Call, NativeState, OBJECT_SIZE, Rights, Side, Table, Transfer};
use protocols::libc::system_call;
use protocols::libnest::server::stop;
use protocols::libnest::{Event, Mapping, Memory, Reference, Region};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};

use crate::code;
use crate::harness::{Bench, Failure, fail};
use crate::native::{Answer, DATA, Native};

/// Where the client has its Reference, the server its Portset.
pub const NAME: u64 = DATA;
const PORT: u64 = DATA + OBJECT_SIZE;
/// Where parameters are.
pub const PARAMETERS: u64 = DATA + 0x1000;
const SEND: u64 = DATA + 0x1100;
const RECEIVE: u64 = DATA + 0x1200;
const SEND_REFERENCES: u64 = DATA + 0x1300;
const RECEIVE_REFERENCES: u64 = DATA + 0x1380;
/// Where References are to be created.
pub const REFERENCES: u64 = DATA + 0x1400;
/// Where bytes to send are, a page and more of them.
pub const OUT: u64 = DATA + 0x2000;
/// Where bytes are received.
pub const IN: u64 = DATA + 0x5000;
/// Where the memory of [`Pair::bulk`] appears.
pub const BULK: u64 = 0x100_0000;
/// The alias of the server's Port.
pub const ALIAS: u64 = 77;

/// Client and server.
pub struct Pair {
    children: [Native; 2],
    /// What [`bulk`](Self::bulk) has made.
    shown: Vec<(Mapping, Region, Memory)>,
}

/// What became of a child's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub side: Side,
    /// How.
    pub answer: Answer,
}

impl Ended {
    /// The status, and the registers.
    pub fn state(&self) -> Result<NativeState, Failure> {
        match self.answer {
            Answer::Done(state) => Ok(state),
            answer => fail!("{:?}: {answer:x?}", self.side),
        }
    }
}

/// Which buffers and References a call is about: addresses and lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct What<'a> {
    /// Bytes to send.
    pub send: &'a [(u64, u64)],
    /// Room.
    pub receive: &'a [(u64, u64)],
    /// Addresses of References to send.
    pub send_references: &'a [u64],
    /// Addresses of References to point.
    pub receive_references: &'a [u64],
}

impl Pair {
    /// A client with a Reference to the server's Port, which is in the server's Portset.
    pub fn new(bench: &mut Bench) -> Result<Self, Failure> {
        let (client, server) = (Native::new(bench)?, Native::new(bench)?);
        let (portset, port) = (server.own_address(NAME), server.own_address(PORT));
        let reference = Reference::new()?;
        system_call::portset_create(portset)?;
        system_call::port_create(port)?;
        system_call::portset_reference(portset, reference.address())?;
        system_call::port_set_state(port, ALIAS, reference.address())?;
        system_call::reference_create(client.own_address(NAME))?;
        system_call::port_reference(port, client.own_address(NAME))?;
        Ok(Self { children: [client, server], shown: Vec::new() })
    }

    /// One of them.
    pub fn child(&mut self, side: Side) -> &mut Native {
        &mut self.children[side as usize]
    }

    /// Destroys the server's Port.
    pub fn destroy_port(&mut self) -> Result<(), Failure> {
        Ok(system_call::port_destroy(self.child(Side::Server).own_address(PORT))?)
    }

    /// Shows a child new memory at [`BULK`], with these rights of the Region and the Mapping.
    pub fn bulk(
        &mut self,
        side: Side,
        size: u64,
        region: Rights,
        mapping: Rights,
    ) -> Result<&(Mapping, Region, Memory), Failure> {
        let memory = Memory::allocate(size).ok_or(Failure("no memory".into()))?;
        let region = Region::new(&memory, 0, memory.size(), region)?;
        let mapping = Mapping::new(&region, 0, &self.children[side as usize].space, BULK, memory.size(), mapping)?;
        self.shown.push((mapping, region, memory));
        self.shown.last().ok_or(Failure("nothing is shown".into()))
    }

    /// Memory of [`bulk`](Self::bulk), in the order in which it was shown.
    pub fn memory(&self, number: usize) -> &Memory {
        &self.shown[number].2
    }

    /// The Region of that memory.
    pub fn region(&self, number: usize) -> &Region {
        &self.shown[number].1
    }

    /// Writes a value to a child's data.
    pub fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        &self,
        side: Side,
        address: u64,
        value: &T,
    ) -> Result<(), Failure> {
        Ok(self.children[side as usize].memory.write(PAGE_SIZE + (address - DATA), value)?)
    }

    /// Writes bytes to a child's data.
    pub fn write(&self, side: Side, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.children[side as usize].memory.write_bytes(PAGE_SIZE + (address - DATA), bytes)?)
    }

    /// Reads bytes of a child's data.
    pub fn read(&self, side: Side, address: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = alloc::vec![0; length];
        self.children[side as usize].memory.read_bytes(PAGE_SIZE + (address - DATA), &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a child's parameters.
    pub fn set(&self, side: Side, what: What<'_>) -> Result<(), Failure> {
        for (table, entries) in [(SEND, what.send), (RECEIVE, what.receive)] {
            for (place, &(address, length)) in (table..).step_by(16).zip(entries) {
                self.put(side, place, &Buffer { address, length })?;
            }
        }
        for (table, entries) in [(SEND_REFERENCES, what.send_references), (RECEIVE_REFERENCES, what.receive_references)]
        {
            for (place, entry) in (table..).step_by(8).zip(entries) {
                self.put(side, place, entry)?;
            }
        }
        let table = |address, count: usize| Table { address, count: count as u64 };
        let transfer = Transfer {
            send: table(SEND, what.send.len()),
            send_references: table(SEND_REFERENCES, what.send_references.len()),
            receive: table(RECEIVE, what.receive.len()),
            receive_references: table(RECEIVE_REFERENCES, what.receive_references.len()),
        };
        self.set_transfer(side, &transfer)
    }

    /// Writes a child's parameters as they are.
    pub fn set_transfer(&self, side: Side, transfer: &Transfer) -> Result<(), Failure> {
        self.put(side, PARAMETERS, transfer)
    }

    /// A child's parameters as they are.
    pub fn transfer(&self, side: Side) -> Result<Transfer, Failure> {
        Ok(self.children[side as usize].memory.read(PAGE_SIZE + (PARAMETERS - DATA))?)
    }

    /// The first Buffer of a table of a child's.
    pub fn first(&self, side: Side, table: Table) -> Result<Buffer, Failure> {
        Ok(self.children[side as usize].memory.read(PAGE_SIZE + (table.address - DATA))?)
    }

    /// Has a child begin a call with the parameters that are set.
    pub fn begin_as_set(&mut self, side: Side, call: Call) -> Result<(), Failure> {
        let registers = [(RAX, call as u64), (RDI, NAME), (RSI, PARAMETERS)];
        self.child(side).begin(code::system_call(), &registers)
    }

    /// Has a child begin a call.
    pub fn begin(&mut self, side: Side, call: Call, what: What<'_>) -> Result<(), Failure> {
        self.set(side, what)?;
        self.begin_as_set(side, call)
    }

    /// Waits until the call of one of them has ended.
    pub fn end(&mut self, bench: &mut Bench) -> Result<Ended, Failure> {
        let event = bench.receive();
        self.ended(event)
    }

    /// What a message says about one of them.
    pub fn ended(&mut self, event: Event) -> Result<Ended, Failure> {
        let Event::Exception { alias, .. } = event else { fail!("got {event:x?} instead of an exception") };
        let side = if alias == self.children[0].alias { Side::Client } else { Side::Server };
        let answer = self.child(side).answer(event)?;
        // It can be made to begin the next call at any time.
        system_call::ipc_reply(&stop())?;
        Ok(Ended { side, answer })
    }

    /// Has a child make a call that ends before anybody else's does, and returns its status.
    pub fn call(&mut self, bench: &mut Bench, side: Side, call: Call, what: What<'_>) -> Result<u64, Failure> {
        self.begin(side, call, what)?;
        self.status(bench, side)
    }

    /// The status with which a child's call ends, which must be the next that does.
    pub fn status(&mut self, bench: &mut Bench, side: Side) -> Result<u64, Failure> {
        let ended = self.end(bench)?;
        if ended.side != side {
            fail!("the call of {:?} ended: {:x?}", ended.side, ended.answer);
        }
        Ok(ended.state()?.gpr[RAX])
    }

    /// Fails if the call of one of them ends.
    pub fn both_wait(&mut self, bench: &mut Bench) -> Result<(), Failure> {
        let soon = bench.microseconds(500);
        match bench.receive_until(soon) {
            Event::TimedOut => Ok(()),
            event => fail!("{event:x?}"),
        }
    }

    /// Connects them: the client has sent nothing and is the sender, neither is in a call.
    pub fn connect(&mut self, bench: &mut Bench) -> Result<(), Failure> {
        self.begin(Side::Client, Call::ClientConnectSend, What::default())?;
        self.both_wait(bench)?;
        self.begin(Side::Server, Call::ServerWaitReceive, What::default())?;
        let status = self.status(bench, Side::Client)?;
        self.both_wait(bench)?;
        self.child(Side::Server).thread.stop()?;
        if status == 0 { Ok(()) } else { fail!("connecting ended with {status}") }
    }
}
