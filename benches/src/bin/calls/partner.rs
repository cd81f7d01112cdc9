//! The other side: a thread in a Space of its own that runs a script for as long as it is needed.

use crate::script::{self, Entry, Run};
use protocols::api::{NativeState, OBJECT_SIZE, Run as Running};
use protocols::libc::system_call;
use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status, objects};
use protocols::virtual_cpu::register::{RDI, RSP};
use zerocopy::IntoBytes;

/// Where its memory begins in its Space: code, then the [`Run`] and the table, a stack, objects and buffers.
const BASE: u64 = 0x40_0000;
const RUN: u64 = 0x1000;
const TABLE: u64 = RUN + 0x100;
const STACK_END: u64 = 0x3000;
const OBJECTS: u64 = 0x3000;
/// Offset of a page that its calls may use.
const BUFFERS: u64 = 0x4000;
const SIZE: u64 = 0x5000;
const ALLOWANCE: u64 = 24;

/// A child that can run scripts.
pub struct Partner {
    space: Space,
    memory: Memory,
    _region: Region,
    _mapping: Mapping,
}

impl Partner {
    /// One that does nothing yet.
    pub fn new() -> Result<Self> {
        let memory = Memory::allocate(SIZE).ok_or(Status::NoMemory)?;
        let region = Region::new(&memory, 0, SIZE, Rights::all())?;
        let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
        let mapping = Mapping::new(&region, 0, &space, BASE, SIZE, Rights::all())?;
        memory.write_bytes(0, script::code()).map_err(|_| Status::NoMemory)?;
        system_call::thread_create(memory.address() + OBJECTS)?;
        Ok(Self { space, memory, _region: region, _mapping: mapping })
    }

    /// Where it sees its object number `number`, of those behind its Thread.
    pub fn sees(&self, number: u64) -> u64 {
        BASE + OBJECTS + (number + 1) * OBJECT_SIZE
    }

    /// Where the program sees that.
    pub fn object(&self, number: u64) -> u64 {
        self.memory.address() + OBJECTS + (number + 1) * OBJECT_SIZE
    }

    /// Writes into the page for buffers; returns where the partner sees it.
    pub fn buffer(&self, offset: u64, bytes: &[u8]) -> Result<u64> {
        self.memory.write_bytes(BUFFERS + offset, bytes).map_err(|_| Status::NoMemory)?;
        Ok(BASE + BUFFERS + offset)
    }

    /// Begins a script in place of the present one; the first `once` entries are made once only.
    pub fn begin(&self, entries: &[Entry], once: u64) -> Result<()> {
        let out = |_| Status::NoMemory;
        let run =
            Run { table: BASE + TABLE, count: entries.len() as u64, iterations: u64::MAX, once, ..Run::default() };
        self.memory.write(RUN, &run).map_err(out)?;
        self.memory.write_bytes(TABLE, entries.as_bytes()).map_err(out)?;
        let mut state = NativeState { rip: BASE, rflags: 2, ..NativeState::default() };
        (state.gpr[RDI], state.gpr[RSP]) = (BASE + RUN, BASE + STACK_END - 8);
        objects::set_native_thread(self.memory.address() + OBJECTS, &state, self.space.reference(), Running::Go)?;
        system_call::thread_set_self(self.memory.address() + OBJECTS, BASE + OBJECTS)
    }

    /// Has it stop, its connections and all.
    pub fn end(&self) -> Result<()> {
        let thread = self.memory.address() + OBJECTS;
        system_call::thread_destroy(thread)?;
        system_call::thread_create(thread)
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // It was created by `new`, or by `end`.
        let _ = system_call::thread_destroy(self.memory.address() + OBJECTS);
    }
}
