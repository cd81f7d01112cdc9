//! VM exits of virtual CPUs: what a table or a rule answers is answered here at once, everything else goes to the
//! kernel.
//!
//! A run is bounded by the VMX preemption timer where there is one: after some milliseconds in the guest it ends as if
//! an interrupt had come. Interrupts end runs anyway, but Bochs (2.7 and 3.0) holds them back as long as a guest that
//! was entered with interrupts off leaves them off; the bound keeps such a guest from hanging the machine.

use protocols::policy::{Controls, CpuidEntry};
use protocols::virtual_cpu::{Event, ExitRecord, Groups, VirtualCpuState, exit_reason as reason, register};

use super::{FAILED_ENTRY, VirtualCpu, flush, inject, set_window, skip, state};
use crate::cpu::Cpu;
use crate::frames::FrameTable;
use crate::guest_rules::{self, CODE_64, LMA, OSXSAVE, PG, SMXE, VMXE, xcr0_is_valid};
use crate::kernel::{self, to_kernel};
use crate::objects::Active;
use crate::register as processor;
use crate::vmx::field::{GuestField as Guest, ReadField as Read};
use crate::vmx::instruction::{self, vmread, vmwrite};
use crate::world::Next;

const UNDEFINED: Event = Event::exception(6, None);
const PROTECTION: Event = Event::exception(13, Some(0));
/// The preemption timer expired (Intel SDM vol. 3D, appendix C).
const PREEMPTION_TIMER: u32 = 52;
/// Bit of the qualification of a port access: INS or OUTS.
const STRING: u64 = 1 << 4;

/// What became of an exit.
enum Outcome {
    /// The instruction is done: go on after it.
    Done,
    /// Go on where the guest is: an event was injected, or nothing happened.
    Resume,
    /// The kernel's.
    Kernel,
}

/// A VM exit of the virtual CPU that runs. The two hottest are answered right here.
pub(crate) extern "sysv64" fn handle(cpu: &mut Cpu) -> Next {
    cpu.exits += 1;
    let exit_reason = vmread(Read::REASON) as u32;
    let Some(active) = cpu.objects.running() else { return to_kernel() };
    if exit_reason == reason::IO {
        let qualification = vmread(Read::QUALIFICATION);
        if qualification & STRING == 0 && active.state.wanted & Groups::VMCS.bits() == 0 {
            let length = vmread(Read::INSTRUCTION_LENGTH) as u32;
            let exit =
                ExitRecord { reason: reason::IO, instruction_length: length, qualification, ..ExitRecord::default() };
            record(active.control, active.state, &exit);
            // SAFETY: the kernel's VMCS was launched before.
            unsafe { instruction::vmptrld_again(&cpu.kernel_vmcs) };
            return to_kernel();
        }
    } else if exit_reason == reason::CPUID {
        let Active { control, state, policy } = active;
        let (leaf, subleaf) = (state.gpr[register::RAX] as u32, state.gpr[register::RCX] as u32);
        if let Some(entry) = policy.cpuid_at_once(leaf, subleaf) {
            answer_cpuid(state, entry);
            control.launched = true;
            skip(vmread(Read::INSTRUCTION_LENGTH));
            return Next::virtual_cpu(&mut state.gpr, true);
        }
    }
    other(cpu)
}

/// All other exits, and those that no table answered.
#[inline(never)]
extern "sysv64" fn other(cpu: &mut Cpu) -> Next {
    let exit_reason = vmread(Read::REASON) as u32;
    let Some(active) = cpu.objects.running() else { return to_kernel() };
    let flags = active.policy.controls().flags;
    let outcome = match exit_reason {
        reason::CPUID => {
            let Active { state, policy, .. } = active;
            match policy.cpuid(state.gpr[register::RAX] as u32, state.gpr[register::RCX] as u32) {
                Some(entry) => answer_cpuid(state, entry),
                None => return leave(cpu, exit_reason),
            }
            Outcome::Done
        }
        reason::RDMSR => read_msr(active),
        reason::WRMSR if active.policy.constant(active.state.gpr[register::RCX] as u32).is_some() => Outcome::Done,
        reason::INTERRUPT_WINDOW => {
            let Active { control, state, .. } = active;
            if state.posted != 0 {
                inject(Event::interrupt(state.posted as u8));
                state.posted = 0;
            }
            set_window(control, false);
            Outcome::Resume
        }
        reason::XSETBV => set_xcr0(active, cpu.support.xcr0),
        reason::CONTROL_REGISTER => control_register(active, &cpu.frames, cpu.support.cr4_possible),
        PREEMPTION_TIMER => {
            vmwrite(Guest::TIMER, u64::from(cpu.support.timer));
            return leave(cpu, reason::EXTERNAL_INTERRUPT);
        }
        reason::INVD | reason::WBINVD => Outcome::Done,
        reason::VMCALL if flags & Controls::VMCALL == 0 || vmread(Guest::SS_ACCESS) >> 5 & 3 != 0 => raise(UNDEFINED),
        reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID if flags & Controls::EXIT_ON_VMX == 0 => {
            raise(UNDEFINED)
        }
        reason::GETSEC | reason::VMFUNC => raise(UNDEFINED),
        _ => Outcome::Kernel,
    };
    match outcome {
        Outcome::Done => skip(vmread(Read::INSTRUCTION_LENGTH)),
        Outcome::Resume => {}
        Outcome::Kernel => return leave(cpu, exit_reason),
    }
    match cpu.objects.running() {
        Some(active) => {
            active.control.launched = true;
            Next::virtual_cpu(&mut active.state.gpr, true)
        }
        None => to_kernel(),
    }
}

fn raise(event: Event) -> Outcome {
    inject(event);
    Outcome::Resume
}

/// Answers CPUID. OSXSAVE shows the guest's own CR4.
#[inline(always)]
fn answer_cpuid(state: &mut VirtualCpuState, answer: &CpuidEntry) {
    let mut ecx = answer.ecx;
    if answer.leaf == 1 {
        ecx = ecx & !(1 << 27) | u32::from(vmread(Guest::CR4) & OSXSAVE != 0) << 27;
    }
    state.gpr[register::RAX] = u64::from(answer.eax);
    state.gpr[register::RBX] = u64::from(answer.ebx);
    state.gpr[register::RCX] = u64::from(ecx);
    state.gpr[register::RDX] = u64::from(answer.edx);
}

fn read_msr(active: Active) -> Outcome {
    let gpr = &mut active.state.gpr;
    let Some(value) = active.policy.constant(gpr[register::RCX] as u32) else { return Outcome::Kernel };
    gpr[register::RAX] = value & 0xffff_ffff;
    gpr[register::RDX] = value >> 32;
    Outcome::Done
}

/// XSETBV: within the policy, the processor's XCR0 is the guest's from now on.
fn set_xcr0(active: Active, possible: u64) -> Outcome {
    let gpr = &active.state.gpr;
    let value = gpr[register::RDX] << 32 | gpr[register::RAX] & 0xffff_ffff;
    let allowed = active.policy.controls().xcr0_allowed & possible;
    if gpr[register::RCX] as u32 != 0 || !xcr0_is_valid(value, allowed) {
        return raise(PROTECTION);
    }
    processor::write_xcr0(value);
    active.state.xcr0 = value;
    Outcome::Done
}

/// A control register access that the masks or the controls made exit.
fn control_register(active: Active, frames: &FrameTable, possible: u64) -> Outcome {
    let qualification = vmread(Read::QUALIFICATION);
    let index = (qualification >> 8 & 15) as usize;
    let value = if index == register::RSP { vmread(Guest::RSP) } else { active.state.gpr[index] };
    // A 32-bit guest's registers have 32 bits.
    let code_64 = vmread(Guest::CS_ACCESS) & CODE_64 != 0 && vmread(Guest::EFER) & LMA != 0;
    let value = if code_64 { value } else { value & 0xffff_ffff };
    match (qualification & 15, qualification >> 4 & 3) {
        (0, 0) => write_cr0(active.control, frames, value, code_64),
        (4, 0) => write_cr4(active, frames, value, possible),
        _ => Outcome::Kernel,
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
fn write_cr4(active: Active, frames: &FrameTable, value: u64, possible: u64) -> Outcome {
    let old = state::read_cr4();
    let allowed = active.policy.controls().cr4_allowed & !(VMXE | SMXE);
    if value & !old & !allowed != 0 {
        return Outcome::Kernel;
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

/// Ends the run: describes the exit, goes back to the kernel.
fn leave(cpu: &mut Cpu, exit_reason: u32) -> Next {
    let Some(active) = cpu.objects.running() else { return to_kernel() };
    let mut exit = ExitRecord { reason: exit_reason, ..ExitRecord::default() };
    if exit_reason != reason::EXTERNAL_INTERRUPT {
        describe(active.state, &mut exit);
    }
    record(active.control, active.state, &exit);
    read_wanted(active.state);
    // SAFETY: the kernel's VMCS was launched before.
    unsafe { instruction::vmptrld_again(&cpu.kernel_vmcs) };
    if exit.reason == reason::EXCEPTION_OR_NMI || exit.reason == reason::MACHINE_CHECK_ON_ENTRY | reason::ENTRY_FAILURE
    {
        pass_on(&exit);
    }
    to_kernel()
}

/// Reads what is wanted from the VMCS, still the virtual CPU's.
fn read_wanted(state: &mut VirtualCpuState) {
    let wanted = state.wanted & Groups::VMCS.bits();
    state.valid = wanted;
    if wanted != 0 {
        state::read(state, Groups::from_bits_truncate(wanted));
    }
}

/// Writes the exit record to the state page.
#[inline(always)]
fn record(control: &mut VirtualCpu, state: &mut VirtualCpuState, exit: &ExitRecord) {
    if exit.reason & reason::ENTRY_FAILURE == 0 {
        control.launched = true;
    }
    state.cr2 = processor::read_cr2();
    state.exit = *exit;
    state.valid = 0;
}

/// Fills in an exit record, by reason, and keeps an event whose delivery the exit interrupted.
#[inline(never)]
fn describe(state: &mut VirtualCpuState, exit: &mut ExitRecord) {
    if exit.reason & reason::ENTRY_FAILURE != 0 {
        exit.qualification = vmread(Read::QUALIFICATION);
        keep_event(state);
        return;
    }
    let mut vectoring = false;
    match exit.reason {
        reason::EXCEPTION_OR_NMI => {
            exit.interruption = vmread(Read::INTERRUPTION) as u32;
            exit.interruption_error =
                if exit.interruption & Event::HAS_ERROR != 0 { vmread(Read::INTERRUPTION_ERROR) as u32 } else { 0 };
            exit.qualification = vmread(Read::QUALIFICATION);
            exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
            if exit.interruption & 1 << 12 != 0 && exit.interruption & 0xff != 8 {
                block_nmi();
            }
            vectoring = true;
        }
        reason::EPT_VIOLATION | reason::EPT_MISCONFIGURATION => {
            exit.qualification = vmread(Read::QUALIFICATION);
            exit.guest_physical = vmread(Read::GUEST_PHYSICAL);
            // Bit 7: there is a linear address.
            exit.guest_linear = if exit.qualification & 1 << 7 != 0 { vmread(Read::GUEST_LINEAR) } else { 0 };
            vectoring = true;
        }
        reason::HLT | reason::VMCALL | reason::RDMSR | reason::WRMSR | reason::CPUID => {
            exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
        }
        reason::TRIPLE_FAULT | reason::INIT => {}
        reason::TASK_SWITCH => {
            exit.qualification = vmread(Read::QUALIFICATION);
            exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
            vectoring = true;
        }
        reason::IO => {
            exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
            exit.qualification = vmread(Read::QUALIFICATION);
            // INS and OUTS use memory.
            exit.guest_linear = vmread(Read::GUEST_LINEAR);
            exit.instruction = vmread(Read::INSTRUCTION_INFORMATION) as u32;
        }
        _ => {
            exit.instruction_length = vmread(Read::INSTRUCTION_LENGTH) as u32;
            exit.qualification = vmread(Read::QUALIFICATION);
            exit.instruction = vmread(Read::INSTRUCTION_INFORMATION) as u32;
        }
    }
    if vectoring {
        keep_vectoring(state, exit);
    }
}

/// Events that were being delivered come again at the next entry (Intel SDM vol. 3C, 28.2.4).
fn keep_vectoring(state: &mut VirtualCpuState, exit: &ExitRecord) {
    let information = vmread(Read::VECTORING) as u32;
    if information & Event::VALID == 0 {
        // An IRET that unblocked NMIs before it faulted did not finish: they are still blocked (28.2.3).
        if exit.reason == reason::EPT_VIOLATION && exit.qualification & 1 << 12 != 0 {
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

/// An entry that failed did not deliver its event: back into the state page with it.
fn keep_event(state: &mut VirtualCpuState) {
    let information = vmread(Guest::ENTRY_EVENT) as u32;
    if information & Event::VALID != 0 {
        let error = vmread(Guest::ENTRY_ERROR_CODE) as u32;
        let instruction_length = vmread(Guest::ENTRY_INSTRUCTION_LENGTH) as u32;
        state.event = Event { information, error, instruction_length, reserved: 0 };
        vmwrite(Guest::ENTRY_EVENT, 0);
    }
}

/// NMIs and machine checks are the kernel's own, whoever ran when they came. Its VMCS is current.
#[cold]
fn pass_on(exit: &ExitRecord) {
    let (kind, vector) = (exit.interruption >> 8 & 7, exit.interruption & 0xff);
    if exit.reason == reason::EXCEPTION_OR_NMI && kind == 2 {
        kernel::inject_nmi();
    } else if exit.reason != reason::EXCEPTION_OR_NMI || vector == 18 {
        kernel::inject_machine_check();
    }
}

/// VMLAUNCH or VMRESUME failed before it loaded anything of the guest.
pub(crate) extern "sysv64" fn entry_failed(cpu: &mut Cpu) -> Next {
    let error = vmread(Read::INSTRUCTION_ERROR) as u32;
    refuse(cpu, error)
}

/// Reports an entry that failed early as an exit.
#[cold]
pub fn refuse(cpu: &mut Cpu, instruction_error: u32) -> Next {
    if let Some(Active { state, .. }) = cpu.objects.running() {
        keep_event(state);
        state.exit = ExitRecord { reason: FAILED_ENTRY, instruction_error, ..ExitRecord::default() };
        read_wanted(state);
    }
    // SAFETY: the kernel's VMCS was launched before.
    unsafe { instruction::vmptrld_again(&cpu.kernel_vmcs) };
    to_kernel()
}
