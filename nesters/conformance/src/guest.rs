//! Micro-guests: a machine Space with 2 MiB of memory and a virtual CPU in 64-bit mode, ring 0.

use protocols::api::{Rights, SpaceKind};
use protocols::exception::{MachineExit, MachineReply};
use protocols::libnest::micro_guest::{self, handler, prepare};
use protocols::libnest::server::machine;
use protocols::libnest::{Event, Mapping, Memory, Port, Run, Space, Thread};
use protocols::policy::Controls;
use protocols::virtual_cpu::{Groups, VirtualCpuState};

pub use protocols::libnest::micro_guest::{CODE, DATA};

use crate::code;
use crate::harness::{Bench, Exported, Failure, fail};

/// Bytes of memory of a guest, from 0 on.
pub const SIZE: u64 = 2 << 20;
/// Where it has no memory.
pub const HOLE: u64 = 0x40_0000;
/// The port whose first write says that the code has come to its end.
pub const END_PORT: u16 = 0xf0;
/// The handler of vector `n` writes to this port plus `n`.
pub const VECTOR_PORTS: u16 = 0x500;
/// Frames of kernel memory that a guest may use.
pub const ALLOWANCE: u64 = 48;

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its virtual CPU.
    pub cpu: Thread,
    /// Its memory.
    pub memory: Memory,
    /// Its memory, as it appears.
    pub mapping: Mapping,
    /// Its memory, as it is exported.
    pub region: Exported,
    /// Its Space.
    pub space: Space,
    /// Its keeper.
    pub port: Port,
    alias: u64,
}

impl Guest {
    /// A guest about to run `code` with registers set, stopped.
    pub fn new(bench: &mut Bench, code: &[u8], registers: &[(usize, u64)]) -> Result<Self, Failure> {
        let port = bench.port()?;
        let memory = Memory::allocate(SIZE).ok_or(Failure("no memory".into()))?;
        prepare(&memory, code)?;
        memory.write_bytes(handler(0), code::guest_handlers())?;
        let region = Exported::new(&memory)?;
        let space = Space::new(SpaceKind::Machine, ALLOWANCE)?;
        space.set_keeper(&port)?;
        let mapping = Mapping::new(&region, 0, &space, 0, SIZE, Rights::all())?;
        let controls = Controls { cr4_allowed: CR4_ALLOWED, xcr0_allowed: 3, ..Controls::default() };
        space.set_controls(&controls)?;
        let mut state = micro_guest::state();
        for &(register, value) in registers {
            state.gpr[register] = value;
        }
        let cpu = Thread::virtual_cpu(&space, &state, Groups::VMCS | Groups::GENERAL)?;
        let alias = bench.last_alias();
        Ok(Self { cpu, memory, mapping, region, space, port, alias })
    }

    /// Sets flags of the policy, and exceptions that exit.
    pub fn allow(&self, flags: u32, exception_bitmap: u32) -> Result<(), Failure> {
        let controls = Controls { exception_bitmap, flags, xcr0_allowed: 3, cr4_allowed: CR4_ALLOWED };
        Ok(self.space.set_controls(&controls)?)
    }

    /// Lets it run until its first exit.
    pub fn start(&mut self, bench: &mut Bench) -> Result<MachineExit, Failure> {
        self.cpu.go()?;
        let event = bench.receive();
        self.exit(event)
    }

    /// Replies to its last exit and waits for the next.
    pub fn reply(&mut self, bench: &mut Bench, reply: MachineReply) -> Result<MachineExit, Failure> {
        let event = bench.reply(&machine(reply));
        self.exit(event)
    }

    /// Skips the instruction that caused its last exit and waits for the next.
    pub fn skip(&mut self, bench: &mut Bench) -> Result<MachineExit, Failure> {
        self.reply(bench, MachineReply { actions: MachineReply::ADVANCE, ..MachineReply::default() })
    }

    /// The exit that a message tells of.
    pub fn exit(&self, event: Event) -> Result<MachineExit, Failure> {
        match event {
            Event::MachineExit { alias, exit } if alias == self.alias => Ok(exit),
            event => fail!("got {event:x?} instead of an exit"),
        }
    }

    /// The whole state of its virtual CPU.
    pub fn state(&self) -> Result<VirtualCpuState, Failure> {
        let mut state = VirtualCpuState::zeroed();
        self.cpu.get_state(&mut state, Groups::VMCS | Groups::GENERAL | Groups::EVENT)?;
        Ok(state)
    }

    /// Sets groups of its state.
    pub fn set_state(&self, state: &VirtualCpuState, groups: Groups) -> Result<(), Failure> {
        Ok(self.cpu.set_state(state, groups, Run::Unchanged)?)
    }
}

/// CR4 bits that guests may set: PAE, OSXSAVE and the like, not SMEP (bit 20).
const CR4_ALLOWED: u64 = 0x4_06ff;

/// The I/O port of an exit, `None` if it is another exit (Intel SDM vol. 3C, table 28-5).
pub fn port(exit: &MachineExit) -> Option<u16> {
    use protocols::virtual_cpu::exit_reason::IO;
    (exit.reason as u32 == IO).then_some((exit.qualification >> 16) as u16)
}

/// The vector whose handler an exit is of.
pub fn vector(exit: &MachineExit) -> Option<u16> {
    port(exit).filter(|port| (VECTOR_PORTS..VECTOR_PORTS + 256).contains(port)).map(|port| port - VECTOR_PORTS)
}
