//! Measurements with a machine: a micro-guest, whose exits are served here.

use crate::code;
use crate::native::Places;
use crate::program::{Cost, ITERATIONS, Printer};
use protocols::address::PAGE_SIZE;
use protocols::exception::MachineReply;
use protocols::libc::system_call;
use protocols::libc::time::transitions;
use protocols::libnest::server::{self, Event};
use protocols::libnest::{
    Mapping, Memory, Port, Region, Result, Rights, Run, Server, Space, SpaceKind, Status, Thread, micro_guest,
};
use protocols::policy::{Controls, CpuidEntry, MsrEntry};
use protocols::virtual_cpu::register::{R15, RBP, RBX};
use protocols::virtual_cpu::{Groups, VirtualCpuState, exit_reason};

const MEMORY: u64 = 0x20_0000;
const RESULTS: u64 = micro_guest::DATA;
const TOUCHED: u64 = 0x80_0000;
const VECTOR: u8 = 0x40;
const CONSTANT_MSR: u64 = 0x17;
const SERVED_MSR: u64 = 0x1b;
const ALLOWANCE: u64 = 160;

/// A machine with a micro-guest.
pub struct Guest {
    server: Server,
    space: Space,
    memory: Memory,
    thread: Thread,
    _port: Port,
    _region: Region,
    _mapping: Mapping,
}

/// The port of an exit (Intel SDM vol. 3C, table 28-5).
fn port_of(qualification: u64) -> u16 {
    (qualification >> 16) as u16
}

impl Guest {
    /// A machine with its memory, stopped.
    pub fn new() -> Result<Self> {
        let server = Server::new()?;
        let memory = Memory::allocate(MEMORY).ok_or(Status::NoMemory)?;
        let region = Region::new(&memory, 0, MEMORY, Rights::all())?;
        let space = Space::new(SpaceKind::Machine, ALLOWANCE)?;
        let mapping = Mapping::new(&region, 0, &space, 0, MEMORY, Rights::all())?;
        let port = server.port(2)?;
        space.set_keeper(&port)?;
        let answer = CpuidEntry { leaf: 0, subleaf: CpuidEntry::ANY, eax: 1, ..CpuidEntry::default() };
        space.set_cpuid(&[answer])?;
        space.set_msrs(&[MsrEntry { msr: CONSTANT_MSR as u32, mode: MsrEntry::CONSTANT, value: 1 }])?;
        space.set_controls(&Controls {
            flags: Controls::VMCALL,
            xcr0_allowed: 1,
            cr4_allowed: 0x20,
            ..Controls::default()
        })?;
        let thread = Thread::virtual_cpu(&space, &VirtualCpuState::zeroed(), Groups::empty())?;
        Ok(Self { server, space, memory, thread, _port: port, _region: region, _mapping: mapping })
    }

    /// Its Space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn state(r15: u64) -> VirtualCpuState {
        let mut state = micro_guest::state();
        state.gpr[RBX] = ITERATIONS;
        state.gpr[RBP] = RESULTS;
        state.gpr[R15] = r15;
        state.rflags = 0x202;
        state
    }

    /// Runs a loop with `r15`; `touch` resolves accesses to memory that is not there.
    pub fn run(&mut self, code: &[u8], r15: u64, mut touch: impl FnMut(&Space, u64) -> Result<()>) -> Result<Cost> {
        const IRETQ: [u8; 2] = [0x48, 0xcf];
        let prepared = micro_guest::prepare(&self.memory, code)
            .and_then(|()| self.memory.write_bytes(micro_guest::handler(VECTOR), &IRETQ));
        prepared.map_err(|_| Status::NoMemory)?;
        let before = transitions();
        let groups = Groups::VMCS | Groups::GENERAL | Groups::EVENT | Groups::SYSCALL;
        self.thread.set_state(&Self::state(r15), groups, Run::Go)?;
        let mut event = self.server.receive(None);
        let result = loop {
            let Event::MachineExit { exit, .. } = event else { break Err(Status::Refused) };
            let advance = MachineReply { actions: MachineReply::ADVANCE, ..MachineReply::default() };
            let reply = match exit.reason as u32 {
                exit_reason::IO => match port_of(exit.qualification) {
                    code::MEASURED_PORT => advance,
                    code::INTERRUPT_PORT => MachineReply {
                        actions: MachineReply::ADVANCE | MachineReply::POST,
                        post: VECTOR.into(),
                        ..advance
                    },
                    code::END_PORT => break Ok(()),
                    _ => break Err(Status::Refused),
                },
                exit_reason::RDMSR => {
                    let actions = MachineReply::ADVANCE | MachineReply::SET_RAX | MachineReply::SET_RDX;
                    MachineReply { actions, rax: 1, ..advance }
                }
                exit_reason::EPT_VIOLATION => {
                    touch(&self.space, exit.guest_physical)?;
                    MachineReply::default()
                }
                _ => break Err(Status::Refused),
            };
            event = self.server.reply_and_receive(&server::machine(reply), None);
        };
        let transitions = transitions() - before;
        let stop = MachineReply { actions: MachineReply::STOP, ..MachineReply::default() };
        let _ = system_call::ipc_reply(&server::machine(stop));
        result?;
        Ok(Cost { ticks: self.result(8)?.wrapping_sub(self.result(0)?), transitions })
    }

    fn result(&self, offset: u64) -> Result<u64> {
        self.memory.read(RESULTS + offset).map_err(|_| Status::NotFound)
    }

    /// Runs a loop twice; the second time counts.
    pub fn measure(&mut self, code: &[u8], r15: u64) -> Result<Cost> {
        let refuse = |_: &Space, _| Err(Status::Disconnected);
        self.run(code, r15, refuse)?;
        self.run(code, r15, refuse)
    }
}

/// Measures the operations of machines.
pub fn measure(printer: &mut Printer) -> Result<()> {
    let mut guest = Guest::new()?;
    let empty = guest.measure(code::machine_empty(), 0)?;
    let plain = guest.measure(code::plain(), 0)?;
    printer.print("instruction.plain", plain, empty);
    let null = guest.measure(code::null_vmcall(), 0)?;
    printer.print("api.null.vmcall", null, empty);
    let around = guest.measure(code::around_cpuid(), 0)?;
    let cpuid = guest.measure(code::cpuid(), 0)?;
    printer.print("exit.cpuid.monitor", cpuid, around);
    let around = guest.measure(code::around_rdmsr(), CONSTANT_MSR)?;
    let constant = guest.measure(code::rdmsr(), CONSTANT_MSR)?;
    printer.print("exit.rdmsr.monitor", constant, around);
    let served = guest.measure(code::rdmsr(), SERVED_MSR)?;
    printer.print("exit.rdmsr.nester", served, around);
    let port_write = guest.measure(code::port_write(), 0)?;
    printer.print("exit.port_write.nester", port_write, empty);
    let interrupt = guest.measure(code::interrupt(), 0)?;
    printer.print("interrupt.injected", interrupt, port_write);

    let page = Memory::allocate(PAGE_SIZE).ok_or(Status::NoMemory)?;
    let region = Region::new(&page, 0, PAGE_SIZE, Rights::READ)?;
    let mut mappings = Places::new(&region, &guest.space)?;
    let step = guest.measure(code::machine_step(), TOUCHED)?;
    let mut next = 0;
    let touched = guest.run(code::machine_touch(), TOUCHED, |space, address| {
        next += 1;
        mappings.map(next - 1, space, address & !(PAGE_SIZE - 1))
    })?;
    printer.print("fault.unmapped.machine", touched, step);
    Ok(())
}
