//! VM exits of virtual CPUs: what a table or a rule answers is answered here at once, everything else goes to the
//! kernel.
//!
//! A run is bounded by the VMX preemption timer where there is one: after some milliseconds in the guest it ends as if
//! an interrupt had come. Interrupts end runs anyway, but Bochs (2.7 and 3.0) holds them back as long as a guest that
//! was entered with interrupts off leaves them off; the bound keeps such a guest from hanging the machine.

use protocols::policy::{Controls, CpuidEntry};
use protocols::virtual_cpu::register::{RAX, RBX, RCX, RDX};
use protocols::virtual_cpu::{Event, ExitRecord, Groups, VirtualCpuState, exit_reason as reason};

use super::{
    FAILED_ENTRY, PROTECTION, UNDEFINED, VirtualCpu, flush, inject, operand, set_window, set_xcr0, skip, state,
};
use crate::cpu::Cpu;
use crate::frames::FrameTable;
use crate::guest_rules::{self, CODE_64, LMA, OSXSAVE, PG, SMXE, VMXE};
use crate::interrupt;
use crate::kernel::{self, is_ring_0};
use crate::objects::Active;
use crate::register as processor;
use crate::vmx::field::{GuestField as Guest, ReadField as Read};
use crate::vmx::instruction::{self, vmread, vmwrite};
use crate::vmx::support::Support;
use crate::world::{self, Registers};

/// The preemption timer expired (Intel SDM vol. 3D, appendix C).
const PREEMPTION_TIMER: u32 = 52;
/// Bit of the qualification of a port access: INS or OUTS.
const STRING: u64 = 1 << 4;
/// Bit of the qualification of an EPT violation: there is a linear address.
const LINEAR: u64 = 1 << 7;
/// Bit of the qualification of an EPT violation: an IRET unblocked NMIs.
const NMI_UNBLOCKED: u64 = 1 << 12;

/// What became of an exit.
enum Outcome {
    /// The instruction is done: go on after it.
    Done,
    /// Go on where the guest is: an event was injected, or nothing happened.
    Resume,
    /// The kernel's, for this reason; the exit record is written but for the reason.
    Kernel(u32),
}

/// A VM exit of the virtual CPU that runs. The most frequent instructions are dealt with right here. Each reason writes
/// only those fields of the exit record that it has.
pub(crate) extern "sysv64" fn exit(cpu: &mut Cpu) -> ! {
    cpu.exits += 1;
    let exit_reason = vmread(Read::REASON) as u32;
    // SAFETY: `run` activated the virtual CPU that exits here, and only calls of the kernel let one go.
    let Active { state, policy, .. } = unsafe { cpu.objects.running() };
    // Each arm ends in its own entry: so none pays for what another needs.
    match exit_reason {
        reason::VMCALL if policy.controls().flags & Controls::VMCALL != 0 && is_ring_0() => {
            enter(conclude(to_kernel(exit_reason, state), state), cpu)
        }
        reason::IO => {
            let qualification = vmread(Read::QUALIFICATION);
            if qualification & STRING != 0 {
                other_exit(cpu, exit_reason);
            }
            state.exit.qualification = qualification;
            enter(conclude(to_kernel(exit_reason, state), state), cpu)
        }
        reason::CPUID => match policy.cpuid_at_once(state.gpr[RAX] as u32, state.gpr[RCX] as u32) {
            Some(entry) => enter(conclude(answer_cpuid(entry, state), state), cpu),
            None => other_exit(cpu, exit_reason),
        },
        _ => other_exit(cpu, exit_reason),
    }
}

/// The exits that need nothing but the state page.
#[inline(never)]
extern "sysv64" fn other_exit(cpu: &mut Cpu, exit_reason: u32) -> ! {
    // SAFETY: as in `exit`.
    let Active { state, policy, .. } = unsafe { cpu.objects.running() };
    let outcome = match exit_reason {
        reason::HLT => to_kernel(exit_reason, state),
        reason::RDMSR | reason::WRMSR => match policy.constant(state.gpr[RCX] as u32) {
            Some(value) => {
                if exit_reason == reason::RDMSR {
                    state.gpr[RAX] = value & 0xffff_ffff;
                    state.gpr[RDX] = value >> 32;
                }
                Outcome::Done
            }
            None => to_kernel(exit_reason, state),
        },
        reason::EXTERNAL_INTERRUPT => Outcome::Kernel(exit_reason),
        reason::EPT_VIOLATION => {
            let qualification = vmread(Read::QUALIFICATION);
            let delivery = vmread(Read::VECTORING) as u32 & Event::VALID != 0;
            if delivery || qualification & (LINEAR | NMI_UNBLOCKED) != LINEAR {
                rare_exit(cpu, exit_reason);
            }
            state.exit.qualification = qualification;
            state.exit.guest_physical = vmread(Read::GUEST_PHYSICAL);
            state.exit.guest_linear = vmread(Read::GUEST_LINEAR);
            Outcome::Kernel(exit_reason)
        }
        _ => rare_exit(cpu, exit_reason),
    };
    enter(conclude(outcome, state), cpu)
}

/// The exits that are rarer or more complicated.
#[cold]
#[inline(never)]
extern "sysv64" fn rare_exit(cpu: &mut Cpu, exit_reason: u32) -> ! {
    // SAFETY: as in `exit`.
    let mut active = unsafe { cpu.objects.running() };
    let outcome = judge(exit_reason, &mut active, &cpu.frames, &cpu.support);
    enter(conclude(outcome, active.state), cpu)
}

/// What comes after an exit.
enum Next {
    /// The guest, with these registers.
    Guest(*mut Registers),
    /// The kernel; the flag says that it wants groups of state from the VMCS.
    Kernel(bool),
}

/// Completes what the state page and the VMCS hold.
#[inline(always)]
fn conclude(outcome: Outcome, state: &mut VirtualCpuState) -> Next {
    match outcome {
        Outcome::Done => skip(vmread(Read::INSTRUCTION_LENGTH)),
        Outcome::Resume => {}
        Outcome::Kernel(exit_reason) => {
            state.exit.reason = exit_reason;
            state.cr2 = processor::read_cr2();
            state.valid = 0;
            return Next::Kernel(state.wanted & Groups::VMCS.bits() != 0);
        }
    }
    Next::Guest(&raw mut state.gpr)
}

/// Enters whatever comes next; the virtual CPU's VMCS is current.
#[inline(always)]
fn enter(next: Next, cpu: &mut Cpu) -> ! {
    match next {
        // SAFETY: its VMCS is current, and it exited after an entry that did not fail.
        Next::Guest(registers) => unsafe { world::resume(registers, cpu) },
        Next::Kernel(true) => leave_with_wanted(cpu),
        Next::Kernel(false) => leave(cpu),
    }
}

#[inline(never)]
extern "sysv64" fn leave_with_wanted(cpu: &mut Cpu) -> ! {
    // SAFETY: as in `exit`.
    let Active { state, .. } = unsafe { cpu.objects.running() };
    let wanted = Groups::from_bits_truncate(state.wanted) & Groups::VMCS;
    state::read(state, wanted);
    state.valid = wanted.bits();
    leave(cpu)
}

#[inline(always)]
fn leave(cpu: &mut Cpu) -> ! {
    // SAFETY: the kernel's VMCS was launched before.
    unsafe { instruction::vmptrld_again(&cpu.kernel_vmcs) };
    kernel::end_run(cpu)
}

/// An exit on an instruction of which the kernel needs to know the length too.
#[inline(always)]
fn to_kernel(exit_reason: u32, state: &mut VirtualCpuState) -> Outcome {
    state.exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
    Outcome::Kernel(exit_reason)
}

/// What becomes of the exits that are left over.
fn judge(exit_reason: u32, active: &mut Active, frames: &FrameTable, support: &Support) -> Outcome {
    let Active { control, state, policy } = active;
    let exit = &mut state.exit;
    exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
    exit.qualification = vmread(Read::QUALIFICATION);
    exit.instruction = vmread(Read::INSTRUCTION_INFORMATION) as u32;
    match exit_reason {
        reason::INTERRUPT_WINDOW => {
            if state.posted != 0 {
                inject(Event::interrupt(state.posted as u8));
                state.posted = 0;
            }
            set_window(control, false);
            return Outcome::Resume;
        }
        reason::XSETBV => {
            let Some(value) = set_xcr0(&state.gpr, policy.controls().xcr0_allowed & support.xcr0) else {
                return raise(PROTECTION);
            };
            state.xcr0 = value;
            return Outcome::Done;
        }
        reason::CONTROL_REGISTER => return control_register(active, frames, support.cr4_possible),
        PREEMPTION_TIMER => {
            vmwrite(Guest::TIMER, u64::from(support.timer));
            return Outcome::Kernel(reason::EXTERNAL_INTERRUPT);
        }
        reason::INVD | reason::WBINVD => return Outcome::Done,
        reason::CPUID => {
            if let Some(entry) = policy.cpuid(state.gpr[RAX] as u32, state.gpr[RCX] as u32) {
                return answer_cpuid(entry, state);
            }
        }
        // Not allowed: `exit` would have passed it on.
        reason::VMCALL | reason::GETSEC | reason::VMFUNC => return raise(UNDEFINED),
        reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID
            if policy.controls().flags & Controls::EXIT_ON_VMX == 0 =>
        {
            return raise(UNDEFINED);
        }
        reason::EXCEPTION_OR_NMI => {
            exit.interruption = vmread(Read::INTERRUPTION) as u32;
            exit.interruption_error =
                if exit.interruption & Event::HAS_ERROR != 0 { vmread(Read::INTERRUPTION_ERROR) as u32 } else { 0 };
            let (kind, vector) = (exit.interruption >> 8 & 7, exit.interruption & 0xff);
            // Bit 12: an IRET unblocked NMIs.
            if exit.interruption & 1 << 12 != 0 && vector != 8 {
                block_nmi();
            }
            // NMIs and machine checks are the kernel's own, whoever ran when they came.
            match (kind, vector) {
                (2, _) => interrupt::set_pending(interrupt::NMI),
                (_, 18) => interrupt::set_pending(interrupt::MACHINE_CHECK),
                _ => {}
            }
            keep_vectoring(state, exit_reason);
        }
        reason::EPT_VIOLATION | reason::EPT_MISCONFIGURATION => {
            exit.guest_physical = vmread(Read::GUEST_PHYSICAL);
            exit.guest_linear = if exit.qualification & LINEAR != 0 { vmread(Read::GUEST_LINEAR) } else { 0 };
            keep_vectoring(state, exit_reason);
        }
        // INS and OUTS use memory.
        reason::IO => exit.guest_linear = vmread(Read::GUEST_LINEAR),
        reason::TASK_SWITCH | reason::LOG_FULL => keep_vectoring(state, exit_reason),
        _ if exit_reason & reason::ENTRY_FAILURE != 0 => {
            if exit_reason == reason::MACHINE_CHECK_ON_ENTRY | reason::ENTRY_FAILURE {
                interrupt::set_pending(interrupt::MACHINE_CHECK);
            }
            not_entered(control, state);
        }
        _ => {}
    }
    Outcome::Kernel(exit_reason)
}

fn raise(event: Event) -> Outcome {
    inject(event);
    Outcome::Resume
}

/// Answers CPUID. OSXSAVE shows the guest's own CR4.
#[inline(always)]
fn answer_cpuid(answer: &CpuidEntry, state: &mut VirtualCpuState) -> Outcome {
    let mut ecx = answer.ecx;
    if answer.leaf == 1 {
        ecx = ecx & !(1 << 27) | u32::from(vmread(Guest::CR4) & OSXSAVE != 0) << 27;
    }
    state.gpr[RAX] = u64::from(answer.eax);
    state.gpr[RBX] = u64::from(answer.ebx);
    state.gpr[RCX] = u64::from(ecx);
    state.gpr[RDX] = u64::from(answer.edx);
    Outcome::Done
}

/// A control register access that the masks or the controls made exit.
fn control_register(active: &mut Active, frames: &FrameTable, possible: u64) -> Outcome {
    let qualification = vmread(Read::QUALIFICATION);
    let value = operand(qualification, &active.state.gpr);
    // A 32-bit guest's registers have 32 bits.
    let code_64 = vmread(Guest::CS_ACCESS) & CODE_64 != 0 && vmread(Guest::EFER) & LMA != 0;
    let value = if code_64 { value } else { value & 0xffff_ffff };
    match (qualification & 15, qualification >> 4 & 3) {
        (0, 0) => write_cr0(active.control, frames, value, code_64),
        (4, 0) => write_cr4(active, frames, value, possible),
        _ => Outcome::Kernel(reason::CONTROL_REGISTER),
    }
}

fn write_cr0(control: &VirtualCpu, frames: &FrameTable, value: u64, code_64: bool) -> Outcome {
    let (cr0, cr4, efer) = (state::read_cr0(), vmread(Guest::CR4), vmread(Guest::EFER));
    let Some(write) = guest_rules::write_cr0(value, cr0, cr4, efer, code_64) else {
        return raise(PROTECTION);
    };
    state::write_cr0(write.value);
    if write.load_pointers && state::load_pointers(frames, control).is_none() {
        state::write_cr0(cr0);
        return raise(PROTECTION);
    }
    if write.efer != efer {
        state::write_efer(write.efer);
    }
    if write.flush {
        flush(control);
    }
    Outcome::Done
}

/// A write of CR4 that changes a bit the policy does not let the guest set: setting one is the kernel's to judge,
/// clearing is done here.
fn write_cr4(active: &mut Active, frames: &FrameTable, value: u64, possible: u64) -> Outcome {
    let old = state::read_cr4();
    let allowed = active.policy.controls().cr4_allowed & !(VMXE | SMXE);
    if value & !old & !allowed != 0 {
        return Outcome::Kernel(reason::CONTROL_REGISTER);
    }
    let (cr0, efer) = (vmread(Guest::CR0), vmread(Guest::EFER));
    if !guest_rules::cr4_is_valid(value, old, vmread(Guest::CR3), efer, possible) {
        return raise(PROTECTION);
    }
    state::write_cr4(value);
    if cr0 & PG != 0 && state::load_pointers(frames, active.control).is_none() {
        state::write_cr4(old);
        return raise(PROTECTION);
    }
    flush(active.control);
    Outcome::Done
}

/// Keeps an event whose delivery the exit interrupted, so that it comes again at the next entry (Intel SDM vol. 3C,
/// 28.2.4).
fn keep_vectoring(state: &mut VirtualCpuState, exit_reason: u32) {
    let information = vmread(Read::VECTORING) as u32;
    if information & Event::VALID == 0 {
        // An IRET that unblocked NMIs before it faulted did not finish: they are still blocked (28.2.3).
        if matches!(exit_reason, reason::EPT_VIOLATION | reason::LOG_FULL)
            && state.exit.qualification & NMI_UNBLOCKED != 0
        {
            block_nmi();
        }
        return;
    }
    let information = information & (Event::VALID | 0xfff);
    let error = if information & Event::HAS_ERROR != 0 { vmread(Read::VECTORING_ERROR) as u32 } else { 0 };
    let instruction_length =
        if matches!(information >> 8 & 7, 4..=6) { vmread(Read::INSTRUCTION_LENGTH) as u32 } else { 0 };
    if information >> 8 & 7 == 2 {
        // The NMI's own blocking would forbid to inject it again.
        vmwrite(Guest::INTERRUPTIBILITY, vmread(Guest::INTERRUPTIBILITY) & !8);
    }
    state.event = Event { information, error, instruction_length, reserved: 0 };
}

fn block_nmi() {
    vmwrite(Guest::INTERRUPTIBILITY, vmread(Guest::INTERRUPTIBILITY) | 8);
}

/// An entry that failed did not deliver its event: back into the state page with it. The VMCS is cleared, since it may
/// have been launched or not.
fn not_entered(control: &mut VirtualCpu, state: &mut VirtualCpuState) {
    let information = vmread(Guest::ENTRY_EVENT) as u32;
    if information & Event::VALID != 0 {
        let error = vmread(Guest::ENTRY_ERROR_CODE) as u32;
        let instruction_length = vmread(Guest::ENTRY_INSTRUCTION_LENGTH) as u32;
        state.event = Event { information, error, instruction_length, reserved: 0 };
        vmwrite(Guest::ENTRY_EVENT, 0);
    }
    control.clear = 1;
    // SAFETY: the VMCS of a virtual CPU, which stays one.
    unsafe {
        // It cannot fail.
        let _ = instruction::vmclear(control.vmcs);
        instruction::vmptrld_again(&control.vmcs);
    }
}

/// VMLAUNCH or VMRESUME failed before it loaded anything of the guest.
pub(crate) extern "sysv64" fn entry_failed(cpu: &mut Cpu) -> ! {
    let error = vmread(Read::INSTRUCTION_ERROR) as u32;
    refuse(cpu, error)
}

/// Reports an entry that failed early as an exit; the current VMCS is still the virtual CPU's.
#[cold]
pub fn refuse(cpu: &mut Cpu, instruction_error: u32) -> ! {
    // SAFETY: `run` activated the virtual CPU.
    let Active { control, state, .. } = unsafe { cpu.objects.running() };
    not_entered(control, state);
    state.exit = ExitRecord { instruction_error, ..ExitRecord::default() };
    enter(conclude(Outcome::Kernel(FAILED_ENTRY), state), cpu)
}
