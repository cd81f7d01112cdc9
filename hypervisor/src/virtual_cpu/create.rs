//! Creation and end of virtual CPUs, and their controls.

use protocols::address::HostPhysical;
use protocols::machine::Status;
use protocols::policy::Controls;

use super::{VirtualCpu, identifier};
use crate::cpu::Cpu;
use crate::ept::{Ept, FLAGS};
use crate::frames::Class;
use crate::guest_rules::{CR0_OWNED, SMXE, VMXE};
use crate::objects::Active;
use crate::vmx::controls::{PAGING_EXITS, Pin, Primary, Secondary};
use crate::vmx::field::{ControlField as Control, GuestField as Guest};
use crate::vmx::host;
use crate::vmx::instruction::{self, vmread, vmwrite, vmwrite_control};
use crate::vmx::support::Support;
use crate::world;

/// Machine checks always exit.
const MACHINE_CHECK: u32 = 1 << 18;

/// [`protocols::machine::Call::CreateVirtualCpu`]: returns the identifier.
pub fn create(cpu: &mut Cpu, machine_id: u64, state: HostPhysical) -> Result<u64, Status> {
    let machine = cpu.objects.machine(&cpu.frames, machine_id).filter(|machine| !machine.ending);
    let machine = machine.ok_or(Status::NoObject)?;
    if machine.free.count < protocols::machine::VIRTUAL_CPU_FRAMES as u64 {
        return Err(Status::NoFrames);
    }
    cpu.frames.take(state, Class::StatePage)?;
    let (Some(vmcs), Some(frame)) = (machine.free.pop(), machine.free.pop()) else {
        return Err(Status::NoFrames);
    };
    let value = VirtualCpu {
        vmcs,
        state,
        policy: machine.policy,
        root: machine.root,
        machine: machine_id,
        next: core::mem::replace(&mut machine.first, identifier(frame)),
        primary: cpu.support.machine.primary,
        log: None,
        vpid: if cpu.support.vpid { cpu.vpids.allocate() } else { 0 },
        clear: 1,
        window: false,
    };
    let bitmap = machine.bitmap;
    // SAFETY: the frame is out of the chain; the state page was taken above, the policy lives as long as the machine,
    // which destroys its virtual CPUs first.
    unsafe { cpu.objects.place(&mut cpu.frames, frame, value) };
    crate::objects::write_entry(vmcs, 0, u64::from(cpu.support.revision));
    let id = identifier(frame);
    with_vmcs(cpu, id, true, |support, active| write_vmcs(support, active.control, active.policy.controls(), bitmap));
    Ok(id)
}

/// Runs `action` with the VMCS of a virtual CPU current (initialised, if it is `new`) and the kernel's again after it.
pub(super) fn with_vmcs(cpu: &mut Cpu, id: u64, new: bool, action: impl FnOnce(&Support, Active)) {
    let support = cpu.support;
    if let Some(active) = cpu.objects.activate(&cpu.frames, id) {
        // SAFETY: the VMCS is a donated frame with the revision in place. Neither instruction can fail on it.
        unsafe {
            let cleared = if new { instruction::vmclear(active.control.vmcs) } else { Ok(()) };
            if cleared.and_then(|()| instruction::vmptrld(active.control.vmcs)).is_ok() {
                action(&support, active);
            }
        }
    }
    // SAFETY: the kernel's VMCS was launched before.
    unsafe { instruction::vmptrld_again(&cpu.kernel_vmcs) };
}

fn write_vmcs(support: &Support, control: &mut VirtualCpu, policy: &Controls, bitmap: HostPhysical) {
    let (controls, ept) = (&support.machine, Ept::pointer(control.root));
    // SAFETY: the machine's EPT maps no memory of the monitor's (see `frames`), its bitmap is its own; the landing is
    // the world switch's.
    unsafe {
        host::write(controls, world::virtual_cpu_landing(control.state), ept, bitmap, control.vpid);
        vmwrite_control(Control::CR0_MASK, CR0_OWNED);
        if controls.secondary & Secondary::ENABLE_XSAVES_XRSTORS.bits() != 0 {
            vmwrite_control(Control::XSS_EXITING, u64::MAX);
        }
    }
    if controls.pin & Pin::VMX_PREEMPTION_TIMER.bits() != 0 {
        vmwrite(Guest::TIMER, u64::from(support.timer));
    }
    write_policy(support, control, policy);
}

/// Writes the controls that follow from the machine's policy.
fn write_policy(support: &Support, control: &mut VirtualCpu, policy: &Controls) {
    control.primary = support.machine.primary;
    if policy.flags & Controls::EXIT_ON_RDTSC != 0 {
        control.primary |= Primary::RDTSC_EXITING.bits();
    }
    if policy.flags & Controls::EXIT_ON_PAGING != 0 {
        control.primary |= PAGING_EXITS;
    }
    let window = if control.window { Primary::INTERRUPT_WINDOW_EXITING.bits() } else { 0 };
    // SAFETY: a virtual CPU's controls with more exits; CR4 keeps VMXE and loses SMXE whatever the policy.
    unsafe {
        vmwrite_control(Control::PRIMARY, u64::from(control.primary | window));
        vmwrite_control(Control::EXCEPTIONS, u64::from(policy.exception_bitmap | MACHINE_CHECK));
        vmwrite_control(Control::CR4_MASK, !policy.cr4_allowed | VMXE | SMXE);
    }
}

/// Applies changed policy to the virtual CPUs of a machine.
pub fn apply_controls(cpu: &mut Cpu, machine_id: u64) {
    let mut id = cpu.objects.machine(&cpu.frames, machine_id).map_or(0, |machine| machine.first);
    while id != 0 {
        with_vmcs(cpu, id, false, |support, active| {
            // The guest's CR4 stays as it reads it, whichever bits the mask owned before.
            let value = super::state::read_cr4();
            write_policy(support, active.control, active.policy.controls());
            super::state::write_cr4(value);
        });
        id = cpu.objects.virtual_cpu(&cpu.frames, id).map_or(0, |control| control.next);
    }
}

/// [`protocols::machine::Call::LogWrites`]: returns how many addresses were in the log.
pub fn log_writes(cpu: &mut Cpu, id: u64, frame: HostPhysical) -> Result<u64, Status> {
    const LAST: u64 = 511;
    let control = cpu.objects.virtual_cpu(&cpu.frames, id).ok_or(Status::NoObject)?;
    let mut count = 0;
    if control.log.is_some() {
        // The index goes down, and below 0 when the log is full.
        with_vmcs(cpu, id, false, |_, _| {
            count = LAST.wrapping_sub(vmread(Guest::LOG_INDEX)) & 0xffff;
            vmwrite(Guest::LOG_INDEX, LAST);
        });
        return Ok(count);
    }
    if !cpu.support.log {
        return Err(Status::UnknownCall);
    }
    cpu.frames.take(frame, Class::StatePage)?;
    control.log = Some(frame);
    let pointer = Ept::pointer(control.root);
    with_vmcs(cpu, id, false, |_, _| {
        let secondary = vmread(Control::SECONDARY) | u64::from(Secondary::ENABLE_PML.bits());
        // SAFETY: the frame is the kernel's and no guest's for as long as the virtual CPU exists; the EPT is the same.
        unsafe {
            vmwrite_control(Control::LOG_ADDRESS, frame.get());
            vmwrite_control(Control::EPT_POINTER, pointer | FLAGS);
            vmwrite_control(Control::SECONDARY, secondary);
        }
        vmwrite(Guest::LOG_INDEX, LAST);
    });
    // Translations that were cached before set no flags. The pointer is valid: it cannot fail.
    let _ = instruction::invept(pointer);
    Ok(count)
}

/// [`protocols::machine::Call::DestroyVirtualCpu`]: its frames return to its machine.
pub fn destroy(cpu: &mut Cpu, id: u64) -> Result<(), Status> {
    let control = cpu.objects.virtual_cpu(&cpu.frames, id).ok_or(Status::NoObject)?;
    let (vmcs, state, machine_id, next, vpid, log) =
        (control.vmcs, control.state, control.machine, control.next, control.vpid, control.log);
    // SAFETY: a VMCS of the monitor's, which from now on is plain memory. It cannot fail.
    let _ = unsafe { instruction::vmclear(vmcs) };
    cpu.objects.forget(id);
    unlink(cpu, machine_id, id, next);
    cpu.vpids.free(vpid);
    [Some(state), log].into_iter().flatten().for_each(|frame| cpu.frames.set(frame, Class::Kernel));
    let frame = HostPhysical::new(id * protocols::address::PAGE_SIZE);
    cpu.frames.set(frame, Class::Donated);
    if let Some(machine) = cpu.objects.machine(&cpu.frames, machine_id) {
        // SAFETY: both frames are donated and nothing uses them any more.
        unsafe {
            machine.free.push(vmcs);
            machine.free.push(frame);
        }
    }
    Ok(())
}

/// Takes a virtual CPU out of its machine's list.
fn unlink(cpu: &mut Cpu, machine_id: u64, id: u64, next: u64) {
    let Some(machine) = cpu.objects.machine(&cpu.frames, machine_id) else { return };
    let mut at = machine.first;
    if at == id {
        machine.first = next;
    }
    while let Some(control) = cpu.objects.virtual_cpu(&cpu.frames, at) {
        at = control.next;
        if at == id {
            control.next = next;
        }
    }
}
