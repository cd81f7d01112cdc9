//! The kernel: its VMCS, and the few exits it has. It runs as on a bare processor, but for its memory, VMX and CPUID.

use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::machine::STATISTICS_LEAF;
use protocols::virtual_cpu::register::{RAX, RBX, RCX, RDX};
use protocols::virtual_cpu::{Event, exit_reason as reason, segment};

use crate::boot::prepare::Start;
use crate::console;
use crate::cpu::Cpu;
use crate::guest_rules::{LMA, LME, NE, OSXSAVE, PAE, PE, PG, PKE, VMXE, real_cr0, real_cr4};
use crate::interrupt;
use crate::register;
use crate::stop::stop;
use crate::virtual_cpu::{PROTECTION, UNDEFINED, inject, operand, skip};
use crate::vmx::controls::Secondary;
use crate::vmx::field::{ControlField as Control, GuestField as Guest, ReadField as Read};
use crate::vmx::host;
use crate::vmx::instruction::{vmread, vmwrite, vmwrite_control};
use crate::vmx::support::Support;
use crate::{call, virtual_cpu, vpid, world};

/// Length of VMCALL without prefixes, as which the machine interface defines it.
const VMCALL_LENGTH: u64 = 3;

const MACHINE_CHECK: Event = Event::exception(18, None);
const NMI: Event = Event { information: Event::VALID | 2 << 8 | 2, error: 0, instruction_length: 0, reserved: 0 };

/// Bit 12 of the VMX fields that report an NMI blocked by IRET.
const NMI_UNBLOCKED: u64 = 1 << 12;

/// Fills the current VMCS, the kernel's.
///
/// # Safety
/// `ept` points to an EPT that maps no memory of the monitor's; `bitmap` is a frame of zeroes; `support` is this
/// processor's.
pub unsafe fn write_vmcs(support: &Support, start: &Start, ept: u64, bitmap: HostPhysical) {
    let controls = &support.kernel;
    let vpid = if support.vpid { vpid::KERNEL } else { 0 };
    // SAFETY: the controls keep the EPT on and the monitor's memory out of it; the landing is the world switch's.
    unsafe {
        host::write(controls, world::kernel_landing(), ept, bitmap, vpid);
        for (field, value) in [(Control::EXCEPTIONS, 0), (Control::CR0_MASK, NE), (Control::CR4_MASK, VMXE)] {
            vmwrite_control(field, value);
        }
        if controls.secondary & Secondary::ENABLE_XSAVES_XRSTORS.bits() != 0 {
            vmwrite_control(Control::XSS_EXITING, 0);
        }
    }
    let cr4 = PAE | if support.xcr0 != 0 { OSXSAVE } else { 0 };
    let no_execute = if support.no_execute { 1 << 11 } else { 0 };
    for (field, value) in [
        (Guest::RIP, start.entry),
        (Guest::RSP, start.stack),
        (Guest::RFLAGS, 2),
        (Guest::CR0, real_cr0(PG | PE | 1 << 16)),
        (Guest::CR0_SHADOW, NE),
        (Guest::CR3, start.tables.get()),
        (Guest::CR4, real_cr4(cr4)),
        (Guest::CR4_SHADOW, 0),
        (Guest::DR7, 0x400),
        (Guest::EFER, LMA | LME | no_execute),
        (Guest::PAT, 0x0007_0406_0007_0406),
        (Guest::ACTIVITY, 0),
        (Guest::INTERRUPTIBILITY, 0),
    ] {
        vmwrite(field, value);
    }
    // Flat segments, as a kernel finds them anywhere; TR as the processor leaves it at reset, but busy and 64-bit.
    for index in 0..8 {
        let (selector, access) = match index {
            segment::CS => (8, 0xa09b),
            segment::TR => (0, 0x8b),
            segment::LDTR => (0, 1 << 16),
            _ => (16, 0xc093),
        };
        vmwrite(Guest::selector(index), selector);
        vmwrite(Guest::access(index), access);
        vmwrite(Guest::limit(index), if index >= segment::LDTR { 0xffff } else { 0xffff_ffff });
        vmwrite(Guest::base(index), 0);
    }
}

/// A VM exit of the kernel.
pub(crate) extern "sysv64" fn exit(cpu: &mut Cpu) -> ! {
    cpu.exits += 1;
    if vmread(Read::REASON) as u32 != reason::VMCALL || !is_ring_0() {
        other_exit(cpu);
    }
    skip_call();
    call::handle(cpu)
}

/// Whether the guest of the current VMCS is in ring 0: the CPL is the DPL of SS (Intel SDM vol. 3C, 25.4.1).
#[inline(always)]
pub fn is_ring_0() -> bool {
    vmread(Guest::SS_ACCESS) & 3 << 5 == 0
}

/// The kernel goes on after its call.
#[inline(always)]
pub fn skip_call() {
    vmwrite(Guest::RIP, vmread(Guest::RIP).wrapping_add(VMCALL_LENGTH));
}

/// Resumes the kernel with its registers, and with what is pending for it. Its VMCS is current.
#[inline(always)]
pub fn resume(cpu: &mut Cpu) -> ! {
    if interrupt::is_pending() {
        deliver_pending();
    }
    // SAFETY: its VMCS is current, and launched.
    unsafe { world::resume_kernel(cpu) }
}

/// Ends [`Call::Run`](protocols::machine::Call::Run) with `Ok`: resumes the kernel with what is pending for it. Its VMCS is current.
#[inline(always)]
pub fn end_run(cpu: &mut Cpu) -> ! {
    if interrupt::is_pending() {
        deliver_pending();
    }
    // SAFETY: its VMCS is current, and launched; its last exit was that call.
    unsafe { world::resume_kernel_after_run(cpu) }
}

/// Every exit that is not a call.
#[inline(never)]
extern "sysv64" fn other_exit(cpu: &mut Cpu) -> ! {
    let exit_reason = vmread(Read::REASON) as u32;
    match exit_reason {
        // From ring 3: the machine interface is the kernel's only.
        reason::VMCALL => inject(UNDEFINED),
        reason::CPUID => {
            cpuid(cpu);
            advance();
        }
        reason::XSETBV => {
            if virtual_cpu::set_xcr0(&cpu.registers, cpu.support.xcr0).is_some() {
                advance();
            } else {
                inject(PROTECTION);
            }
        }
        reason::INVD => {
            // Throwing cache lines away would throw the monitor's away too.
            register::write_back_caches();
            advance();
        }
        reason::CONTROL_REGISTER => control_register(cpu),
        reason::GETSEC | reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID | reason::VMFUNC => {
            inject(UNDEFINED)
        }
        // MSRs outside the bitmap's ranges: there are none that a kernel needs.
        reason::RDMSR | reason::WRMSR => inject(PROTECTION),
        reason::EPT_VIOLATION | reason::EPT_MISCONFIGURATION => absent_memory(),
        reason::TRIPLE_FAULT => stop(format_args!(
            "kernel triple fault at rip {:#x}, rsp {:#x}, cr2 {:#x}, cr3 {:#x}",
            vmread(Guest::RIP),
            vmread(Guest::RSP),
            register::read_cr2(),
            vmread(Guest::CR3)
        )),
        _ => stop(format_args!(
            "the kernel caused exit {:#x} ({:#x}) at rip {:#x}, which the monitor does not expect",
            exit_reason,
            vmread(Read::QUALIFICATION),
            vmread(Guest::RIP)
        )),
    }
    resume(cpu)
}

/// An entry of the kernel failed before it loaded guest state.
pub(crate) extern "sysv64" fn entry_failed(_: &mut Cpu) -> ! {
    stop(format_args!("the kernel cannot be entered: VM-instruction error {}", vmread(Read::INSTRUCTION_ERROR)))
}

/// Goes on after the instruction that exited.
fn advance() {
    skip(vmread(Read::INSTRUCTION_LENGTH));
}

/// The next entry delivers what came for the kernel while the monitor or a virtual CPU ran: a machine check first.
#[cold]
#[inline(never)]
extern "sysv64" fn deliver_pending() {
    let pending = interrupt::take_pending();
    if pending & interrupt::MACHINE_CHECK != 0 {
        interrupt::set_pending(pending & !interrupt::MACHINE_CHECK);
        inject(MACHINE_CHECK);
    } else {
        // Neither blocking by STI nor by MOV SS may stand in its way (Intel SDM vol. 3C, 27.3.1.5).
        vmwrite(Guest::INTERRUPTIBILITY, vmread(Guest::INTERRUPTIBILITY) & !3);
        inject(NMI);
    }
}

/// CPUID as the processor answers it, without VMX and SMX, and with the kernel's own CR4 where it shows.
fn cpuid(cpu: &mut Cpu) {
    let (leaf, subleaf) = (cpu.registers[RAX] as u32, cpu.registers[RCX] as u32);
    let mut result = register::cpuid(leaf, subleaf);
    if leaf == STATISTICS_LEAF {
        (result.eax, result.ebx, result.ecx, result.edx) = (cpu.exits as u32, (cpu.exits >> 32) as u32, 0, 0);
    }
    let cr4 = vmread(Guest::CR4);
    if leaf == 1 {
        result.ecx &= !(1 << 5 | 1 << 6 | 1 << 27);
        result.ecx |= u32::from(cr4 & OSXSAVE != 0) << 27;
    } else if leaf == 7 && subleaf == 0 {
        result.ecx &= !(1 << 4);
        result.ecx |= u32::from(cr4 & PKE != 0) << 4;
    }
    cpu.registers[RAX] = u64::from(result.eax);
    cpu.registers[RBX] = u64::from(result.ebx);
    cpu.registers[RCX] = u64::from(result.ecx);
    cpu.registers[RDX] = u64::from(result.edx);
}

/// The kernel changed a bit that VMX fixes: CR0.NE is only remembered, CR4.VMXE does not exist for it.
fn control_register(cpu: &Cpu) {
    let qualification = vmread(Read::QUALIFICATION);
    let value = operand(qualification, &cpu.registers);
    match (qualification & 15, qualification >> 4 & 3) {
        (0, 0) if value & PG != 0 && value >> 32 == 0 => {
            vmwrite(Guest::CR0_SHADOW, value & NE);
            vmwrite(Guest::CR0, real_cr0(value));
            advance();
        }
        (4, 0) if value & (VMXE | !cpu.support.cr4_possible) == 0 && value & PAE != 0 => {
            vmwrite(Guest::CR4, real_cr4(value));
            advance();
        }
        _ => inject(PROTECTION),
    }
}

/// The kernel touched donated memory, the monitor's, or an address that the processor does not have: it gets #GP, as for
/// any address it may not use.
#[cold]
fn absent_memory() {
    let address = HostPhysical::new(vmread(Read::GUEST_PHYSICAL));
    let (rip, vectoring) = (vmread(Guest::RIP), vmread(Read::VECTORING));
    console::line(format_args!(
        "[monitor] warning: the kernel touched absent memory: physical {:#x}, rip {rip:#x}",
        address.get() & !(PAGE_SIZE - 1)
    ));
    if vectoring & u64::from(Event::VALID) != 0 {
        stop(format_args!(
            "the kernel's exception tables or stack lie in absent memory: {:#x}, rip {rip:#x}",
            address.get()
        ));
    }
    if vmread(Read::QUALIFICATION) & NMI_UNBLOCKED != 0 {
        vmwrite(Guest::INTERRUPTIBILITY, vmread(Guest::INTERRUPTIBILITY) | 8);
    }
    inject(PROTECTION);
}
