//! Measurements with a machine: a virtual CPU in 64-bit mode, with one page of code and identity-mapped memory.

use crate::code;
use crate::native::Places;
use crate::program::{Cost, ITERATIONS, Printer};
use protocols::address::PAGE_SIZE;
use protocols::exception::MachineReply;
use protocols::libc::system_call;
use protocols::libc::time::transitions;
use protocols::libnest::server::{self, Event};
use protocols::libnest::{
    Mapping, Memory, Port, Region, Result, Rights, Run, Server, Space, SpaceKind, Status, Thread,
};
use protocols::policy::{Controls, CpuidEntry, MsrEntry};
use protocols::virtual_cpu::register::{R15, RBP, RBX, RSP};
use protocols::virtual_cpu::{Groups, Segment, Table, VirtualCpuState, exit_reason, segment};

const MEMORY: u64 = 0x20_0000;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DESCRIPTORS: u64 = 0x3000;
const INTERRUPTS: u64 = 0x4000;
const HANDLER: u64 = 0x5000;
const CODE: u64 = 0x6000;
const RESULTS: u64 = 0x7000;
const STACK_END: u64 = 0x9000;
const TOUCHED: u64 = 0x80_0000;
const VECTOR: u64 = 0x40;
const CONSTANT_MSR: u64 = 0x17;
const SERVED_MSR: u64 = 0x1b;
const ALLOWANCE: u64 = 160;

struct Guest {
    server: Server,
    space: Space,
    memory: Memory,
    thread: Thread,
    _port: Port,
    _region: Region,
    _mapping: Mapping,
}

/// What a served exit is answered with.
fn port_of(qualification: u64) -> u16 {
    (qualification >> 16) as u16
}

impl Guest {
    fn new() -> Result<Self> {
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
        let guest = Self { server, space, memory, thread, _port: port, _region: region, _mapping: mapping };
        guest.build()?;
        Ok(guest)
    }

    fn write<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, address: u64, value: T) -> Result<()> {
        self.memory.write(address, &value).map_err(|_| Status::NoMemory)
    }

    /// Page tables that map the first GiB onto itself, and a handler for the measured interrupt.
    fn build(&self) -> Result<()> {
        self.write(PML4, PDPT | 3)?;
        self.write(PDPT, 0x83u64)?;
        self.write(DESCRIPTORS + 8, 0x00af_9b00_0000_ffffu64)?;
        self.write(DESCRIPTORS + 16, 0x00cf_9300_0000_ffffu64)?;
        let gate = (HANDLER & 0xffff) | 8 << 16 | 0x8e00 << 32 | (HANDLER >> 16) << 48;
        self.write(INTERRUPTS + VECTOR * 16, gate)?;
        self.write(INTERRUPTS + VECTOR * 16 + 8, HANDLER >> 32)?;
        const IRETQ: [u8; 2] = [0x48, 0xcf];
        self.memory.write_bytes(HANDLER, &IRETQ).map_err(|_| Status::NoMemory)
    }

    fn state(&self, r15: u64) -> VirtualCpuState {
        let mut state = VirtualCpuState::zeroed();
        state.gpr[RBX] = ITERATIONS;
        state.gpr[RBP] = RESULTS;
        state.gpr[RSP] = STACK_END;
        state.gpr[R15] = r15;
        state.rip = CODE;
        state.rflags = 0x202;
        let data = Segment { base: 0, limit: u32::MAX, access: 0xc093, selector: 16 };
        state.segments = [data; 8];
        state.segments[segment::CS] = Segment { base: 0, limit: u32::MAX, access: 0xa09b, selector: 8 };
        state.segments[segment::LDTR] = Segment { access: Segment::UNUSABLE, ..Segment::default() };
        state.segments[segment::TR] = Segment { base: 0, limit: 0x67, access: 0x8b, selector: 24 };
        state.gdtr = Table { base: DESCRIPTORS, limit: 23 };
        state.idtr = Table { base: INTERRUPTS, limit: 0xfff };
        state.cr0 = 0x8000_0031;
        state.cr3 = PML4;
        state.cr4 = 0x20;
        state.efer = 0x500;
        state
    }

    /// Runs a loop with `r15`; `touch` resolves accesses to memory that is not there.
    fn run(&mut self, code: &[u8], r15: u64, mut touch: impl FnMut(&Space, u64) -> Result<()>) -> Result<Cost> {
        self.memory.write_bytes(CODE, code).map_err(|_| Status::NoMemory)?;
        let before = transitions();
        let groups = Groups::VMCS | Groups::GENERAL | Groups::EVENT | Groups::SYSCALL;
        self.thread.set_state(&self.state(r15), groups, Run::Go)?;
        let mut event = self.server.receive(None);
        let result = loop {
            let Event::MachineExit { exit, .. } = event else { break Err(Status::Refused) };
            let advance = MachineReply { actions: MachineReply::ADVANCE, ..MachineReply::default() };
            let reply = match exit.reason as u32 {
                exit_reason::IO => match port_of(exit.qualification) {
                    code::MEASURED_PORT => advance,
                    code::INTERRUPT_PORT => {
                        MachineReply { actions: MachineReply::ADVANCE | MachineReply::POST, post: VECTOR, ..advance }
                    }
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
    fn measure(&mut self, code: &[u8], r15: u64) -> Result<Cost> {
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
