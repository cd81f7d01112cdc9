//! What each VM exit becomes (exit reasons and qualifications: Intel SDM vol. 3C, 28.2.1 and appendix C).

use crate::cpuid::Processor;
use crate::emulate::{self, Bus, EmulationError};
use crate::memory::GuestMemory;
use crate::pc::{Effect, Pc};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use protocols::address::GuestPhysical;
use protocols::exception::{MachineExit, MachineReply};
use protocols::libnest::{Result, Run, Thread};
use protocols::virtual_cpu::{Event, Groups, VirtualCpuState, exit_reason, register};

/// The virtual CPU, as far as serving its exits needs it.
pub trait VirtualCpu {
    /// Reads `groups` of its state.
    fn get(&self, state: &mut VirtualCpuState, groups: Groups) -> Result<()>;
    /// Sets `groups` of its state.
    fn set(&self, state: &VirtualCpuState, groups: Groups) -> Result<()>;
    /// Posts `vector`, 0 to withdraw; returns what was posted and not delivered.
    fn post(&self, vector: u8) -> Result<u64>;
}

impl VirtualCpu for Thread {
    fn get(&self, state: &mut VirtualCpuState, groups: Groups) -> Result<()> {
        self.get_state(state, groups)
    }
    fn set(&self, state: &VirtualCpuState, groups: Groups) -> Result<()> {
        self.set_state(state, groups, Run::Unchanged)
    }
    fn post(&self, vector: u8) -> Result<u64> {
        self.interrupt(vector)
    }
}

/// What is to be done about an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reply so.
    Reply(MachineReply),
    /// Start the machine again.
    Reset,
    /// The machine is off.
    PowerOff,
    /// The machine cannot go on.
    Fail(String),
}

/// The groups that instruction emulation needs.
const EMULATION: Groups =
    Groups::INSTRUCTION.union(Groups::GENERAL).union(Groups::SEGMENTS).union(Groups::CONTROL).union(Groups::EFER);

/// Serves the exits of one machine.
#[derive(Debug)]
pub struct Exits<C, M> {
    /// The PC.
    pub pc: Pc,
    /// The virtual CPU.
    pub cpu: C,
    /// The RAM.
    pub memory: M,
    processor: Processor,
    /// The vector that the kernel has been given to deliver, 0 for none.
    posted: u8,
    /// Whether it was given outside of an exit: an exit that happened before then does not tell of it.
    posted_between: bool,
    state: Box<VirtualCpuState>,
}

const fn reply(actions: u64) -> MachineReply {
    MachineReply { actions, rax: 0, rdx: 0, event: 0, post: 0, reserved: [0; 3] }
}

fn inject(event: Event) -> MachineReply {
    MachineReply { event: u64::from(event.information) | u64::from(event.error) << 32, ..reply(MachineReply::INJECT) }
}

fn undefined() -> MachineReply {
    inject(Event::exception(6, None))
}

fn general_protection() -> MachineReply {
    inject(Event::exception(13, Some(0)))
}

impl<C: VirtualCpu, M: GuestMemory> Exits<C, M> {
    /// Serves `cpu` with `pc` and `memory`.
    pub fn new(pc: Pc, cpu: C, memory: M, processor: Processor) -> Self {
        let state = Box::new(VirtualCpuState::zeroed());
        Self { pc, cpu, memory, processor, posted: 0, posted_between: false, state }
    }

    /// The processor shown to the guest.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// Starts again with another PC and the state `state`.
    pub fn restart(&mut self, pc: Pc, state: &VirtualCpuState) -> Result<()> {
        self.pc = pc;
        self.posted = 0;
        self.posted_between = false;
        self.cpu.set(state, Groups::all())
    }

    /// Serves an exit at time `now`.
    #[inline]
    pub fn serve(&mut self, exit: &MachineExit, now: u64) -> Action {
        let action = match exit.reason as u32 {
            exit_reason::IO if exit.qualification & 1 << 4 == 0 => self.port(exit, now),
            exit_reason::WRMSR => self.write_msr(exit, now),
            reason => self.serve_rarely(reason, exit, now),
        };
        let Action::Reply(mut reply) = action else { return action };
        let vector = self.pc.pending_vector().unwrap_or(0);
        if vector != self.posted {
            self.posted = vector;
            reply.actions |= MachineReply::POST;
            reply.post = u64::from(vector);
        }
        Action::Reply(reply)
    }

    /// Takes note of what an exit tells about the vector posted last. To be called before anything else happens to the PC: what
    /// was delivered is in service, and may be requested anew.
    #[inline]
    pub fn exited(&mut self, exit: &MachineExit) {
        if self.posted != 0 && exit.posted == 0 {
            self.delivered();
        }
    }

    /// Takes the posted vector back, if it was not delivered: without an exit this is how to find out. To be called before
    /// anything else happens to the PC; [`interrupt`](Self::interrupt) posts it again.
    pub fn withdraw(&mut self) -> Result<()> {
        if self.posted != 0 {
            if self.cpu.post(0)? == 0 {
                self.pc.accepted(self.posted);
            }
            self.posted = 0;
        }
        Ok(())
    }

    /// An exit tells that nothing posted waits for delivery.
    fn delivered(&mut self) {
        // What was posted after the exit happened is withdrawn; the reply posts it again.
        let waits = core::mem::take(&mut self.posted_between) && self.cpu.post(0).is_ok_and(|before| before != 0);
        if !waits {
            self.pc.accepted(self.posted);
        }
        self.posted = 0;
    }

    /// Has the virtual CPU interrupted, if the PC wants that: after time has passed or input has come. Not between an
    /// exit and the reply to it.
    pub fn interrupt(&mut self) -> Result<()> {
        loop {
            let vector = self.pc.pending_vector().unwrap_or(0);
            if vector == self.posted {
                return Ok(());
            }
            let before = self.cpu.post(vector)?;
            if self.posted != 0 && before == 0 {
                // It was delivered meanwhile, which may change what is pending.
                self.pc.accepted(self.posted);
            }
            self.posted = vector;
            self.posted_between = true;
        }
    }

    #[inline]
    fn port(&mut self, exit: &MachineExit, now: u64) -> Action {
        const IN: u64 = 1 << 3;
        let size = (exit.qualification & 7) as u8 + 1;
        let port = (exit.qualification >> 16) as u16;
        if exit.qualification & IN == 0 {
            let effect = self.pc.port_write(port, size, exit.rax as u32, now);
            return after(effect, reply(MachineReply::ADVANCE));
        }
        let value = u64::from(self.pc.port_read(port, size, now));
        let rax = match size {
            1 => exit.rax & !0xff | value & 0xff,
            2 => exit.rax & !0xffff | value & 0xffff,
            _ => value,
        };
        Action::Reply(MachineReply { rax, ..reply(MachineReply::ADVANCE | MachineReply::SET_RAX) })
    }

    #[inline]
    fn write_msr(&mut self, exit: &MachineExit, now: u64) -> Action {
        let value = exit.rax & 0xffff_ffff | exit.rdx << 32;
        Action::Reply(match self.pc.msr_write(exit.rcx as u32, value, now) {
            Ok(()) => {
                // A deadline in the past is due now.
                self.pc.advance(now);
                reply(MachineReply::ADVANCE)
            }
            Err(_) => general_protection(),
        })
    }

    fn read_msr(&mut self, exit: &MachineExit, now: u64) -> MachineReply {
        match self.pc.msr_read(exit.rcx as u32, now) {
            Ok(value) => MachineReply {
                rax: value & 0xffff_ffff,
                rdx: value >> 32,
                ..reply(MachineReply::ADVANCE | MachineReply::SET_RAX | MachineReply::SET_RDX)
            },
            Err(_) => general_protection(),
        }
    }

    #[cold]
    fn serve_rarely(&mut self, reason: u32, exit: &MachineExit, now: u64) -> Action {
        if reason & exit_reason::ENTRY_FAILURE != 0 {
            return self.fail(format!(
                "the processor does not accept the state of the virtual CPU: reason {}, qualification {:#x}, error {}",
                reason & 0xffff,
                exit.qualification,
                exit.guest_physical
            ));
        }
        match reason {
            exit_reason::RDMSR => Action::Reply(self.read_msr(exit, now)),
            exit_reason::EPT_VIOLATION | exit_reason::IO => self.emulate(exit, now),
            exit_reason::CPUID => self.cpuid(exit),
            exit_reason::HLT => Action::Reply(reply(MachineReply::ADVANCE | MachineReply::HALT)),
            // The caches are the host's.
            exit_reason::WBINVD | exit_reason::INVD | exit_reason::PAUSE => Action::Reply(reply(MachineReply::ADVANCE)),
            // Control bits that the processor shown does not have, counters that it does not have.
            exit_reason::CONTROL_REGISTER | exit_reason::XSETBV | exit_reason::RDPMC => {
                Action::Reply(general_protection())
            }
            exit_reason::TRIPLE_FAULT => self.fail("the guest ended by a triple fault".into()),
            exit_reason::EPT_MISCONFIGURATION => {
                self.fail(format!("the machine's memory is misconfigured at {:#x}", exit.guest_physical))
            }
            exit_reason::EXCEPTION_OR_NMI | exit_reason::TASK_SWITCH | exit_reason::MACHINE_CHECK_ON_ENTRY => {
                self.fail(format!("VM exit {reason} is not served, qualification {:#x}", exit.qualification))
            }
            _ => Action::Reply(undefined()),
        }
    }

    fn cpuid(&mut self, exit: &MachineExit) -> Action {
        let [eax, ebx, ecx, edx] = self.processor.answer(exit.rax as u32, exit.rcx as u32).map(u64::from);
        if let Err(status) = self.cpu.get(&mut self.state, Groups::GENERAL) {
            return self.fail(format!("its state cannot be read: {status:?}"));
        }
        let gpr = &mut self.state.gpr;
        (gpr[register::RAX], gpr[register::RBX], gpr[register::RCX], gpr[register::RDX]) = (eax, ebx, ecx, edx);
        match self.cpu.set(&self.state, Groups::GENERAL) {
            Ok(()) => Action::Reply(reply(MachineReply::ADVANCE)),
            Err(status) => self.fail(format!("its state cannot be set: {status:?}")),
        }
    }

    /// An instruction that touches a device, or a port and memory.
    fn emulate(&mut self, exit: &MachineExit, now: u64) -> Action {
        if let Err(status) = self.cpu.get(&mut self.state, EMULATION) {
            return self.fail(format!("its state cannot be read: {status:?}"));
        }
        let mut bus = PcBus { pc: &mut self.pc, now, effect: Effect::None };
        let result = emulate::step(&mut self.state, &mut self.memory, &mut bus);
        let effect = bus.effect;
        let mut reply = reply(0);
        if let Err(error) = result {
            match (error, error.exception()) {
                (EmulationError::PageFault { address, .. }, Some(event)) => {
                    self.state.cr2 = address.get();
                    reply = inject(event);
                }
                (EmulationError::Unsupported { bytes }, _) => {
                    return self.fail(format!(
                        "the instruction {bytes:02x?} accesses {:#x}, where there is no memory",
                        exit.guest_physical
                    ));
                }
                _ => return self.fail(format!("the access to {:#x} cannot be emulated", exit.guest_physical)),
            }
        }
        let changed =
            Groups::INSTRUCTION | Groups::GENERAL | if reply.actions == 0 { Groups::empty() } else { Groups::CONTROL };
        match self.cpu.set(&self.state, changed) {
            Ok(()) => after(effect, reply),
            Err(status) => self.fail(format!("its state cannot be set: {status:?}")),
        }
    }

    /// The end of the guest, with where it was.
    #[cold]
    fn fail(&mut self, reason: String) -> Action {
        let groups = Groups::INSTRUCTION | Groups::CONTROL;
        let place = match self.cpu.get(&mut self.state, groups) {
            Ok(()) => format!(" (RIP {:#x}, CR3 {:#x}, CR0 {:#x})", self.state.rip, self.state.cr3, self.state.cr0),
            Err(_) => String::new(),
        };
        Action::Fail(reason + &place)
    }
}

fn after(effect: Effect, reply: MachineReply) -> Action {
    match effect {
        Effect::None => Action::Reply(reply),
        Effect::Reset => Action::Reset,
        Effect::PowerOff => Action::PowerOff,
    }
}

/// The PC as the target of an emulated instruction.
struct PcBus<'a> {
    pc: &'a mut Pc,
    now: u64,
    effect: Effect,
}

impl Bus for PcBus<'_> {
    fn memory_read(&mut self, address: GuestPhysical, size: u8) -> u64 {
        self.pc.mmio_read(address.get(), size)
    }
    fn memory_write(&mut self, address: GuestPhysical, _: u8, value: u64) {
        self.pc.mmio_write(address.get(), value);
    }
    fn port_read(&mut self, port: u16, size: u8) -> u32 {
        self.pc.port_read(port, size, self.now)
    }
    fn port_write(&mut self, port: u16, size: u8, value: u32) {
        let effect = self.pc.port_write(port, size, value, self.now);
        if effect != Effect::None {
            self.effect = effect;
        }
    }
}

#[cfg(test)]
mod tests;
