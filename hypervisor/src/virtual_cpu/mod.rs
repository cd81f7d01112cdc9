//! Virtual CPUs: creation, entry, exits, and the groups of state between the shared page and the VMCS.
//!
//! What switches where: the VMCS switches segments, control registers, EFER, PAT, SYSENTER registers, DR7 and DEBUGCTL.
//! The world switch switches the general registers. `run` and [`exit`] carry CR2, which no VMCS field holds: it is
//! saved at every exit to the kernel and loaded at every entry from there; the kernel's own CR2 is not kept over a run
//! (a kernel reads it first thing in its page-fault handler). XCR0, x87 to AVX state, DR0 to DR3, DR6 and the SYSCALL
//! registers are switched by the kernel. EFER and PAT need no exits: the VMCS holds them for each guest, and the
//! processor itself checks what a guest writes to them.

pub mod create;
pub mod exit;
pub mod state;

use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::machine::Status;
use protocols::virtual_cpu::register::{RAX, RCX, RDX, RSP};
use protocols::virtual_cpu::{Event, Groups, VirtualCpuState, exit_reason};

use crate::cpu::Cpu;
use crate::frames::FrameTable;
use crate::guest_rules::xcr0_is_valid;
use crate::kernel;
use crate::objects::Active;
use crate::register;
use crate::vmx::controls::Primary;
use crate::vmx::field::{ControlField as Control, GuestField as Guest};
use crate::vmx::instruction::{self, vmread, vmwrite, vmwrite_control};
use crate::world::{self, Registers};

/// #UD.
pub const UNDEFINED: Event = Event::exception(6, None);
/// #GP.
pub const PROTECTION: Event = Event::exception(13, Some(0));
/// RFLAGS.IF.
const INTERRUPTS: u64 = 1 << 9;
/// RFLAGS.TF.
const TRAP: u64 = 1 << 8;
/// Pending debug exceptions: single step.
const SINGLE_STEP: u64 = 1 << 14;
/// Interruptibility: blocking by STI and by MOV SS.
const SHADOWS: u64 = 3;
/// "VM entry with invalid control fields" (Intel SDM vol. 3C, 31.4): what a bad event is reported as.
const INVALID_CONTROLS: u32 = 7;

/// The monitor's part of a virtual CPU, in its control frame.
#[derive(Debug)]
pub struct VirtualCpu {
    /// Its VMCS.
    pub vmcs: HostPhysical,
    /// Its state page.
    pub state: HostPhysical,
    /// Its machine's policy.
    pub policy: HostPhysical,
    /// Its machine's root EPT table.
    pub root: HostPhysical,
    /// Its machine's identifier.
    pub machine: u64,
    /// The machine's next virtual CPU, 0 for none.
    pub next: u64,
    /// Its primary controls, without the interrupt window.
    pub primary: u32,
    /// The frame of its log of written pages, if it has one.
    pub log: Option<HostPhysical>,
    /// Its VPID, 0 for none.
    pub vpid: u16,
    /// 1 if its VMCS is not launched yet, or has to be launched again after an entry that failed; else 0.
    pub clear: u32,
    /// The interrupt window exits.
    pub window: bool,
}

/// [`protocols::machine::Call::Run`], straight from the world switch.
pub(crate) extern "sysv64" fn run(id: u64, cpu: &mut Cpu) -> ! {
    cpu.exits += 1;
    kernel::skip_call();
    let Some(Active { control, state, .. }) = cpu.objects.activate(&cpu.frames, id) else { no_object(cpu) };
    // SAFETY: the VMCS of a virtual CPU was initialised and current when the virtual CPU was created.
    unsafe { instruction::vmptrld_again(&control.vmcs) };
    if state.dirty | u64::from(state.posted | state.event.information | control.clear) != 0 {
        run_changed(cpu);
    }
    if state.advance != 0 {
        advance(state);
    }
    load_cr2(state);
    let registers = &raw mut state.gpr;
    // SAFETY: its VMCS is current, and launched: it is not clear.
    unsafe { world::resume(registers, cpu) }
}

#[cold]
extern "sysv64" fn no_object(cpu: &mut Cpu) -> ! {
    // The other registers are undefined then, so those of an earlier call will do.
    cpu.registers[RAX] = Status::NoObject as u64;
    kernel::resume(cpu)
}

/// Runs after the kernel changed something in the state page, or for the first time.
#[inline(never)]
extern "sysv64" fn run_changed(cpu: &mut Cpu) -> ! {
    // SAFETY: `run` activated it.
    let mut active = unsafe { cpu.objects.running() };
    if !prepare(&cpu.frames, &mut active) {
        exit::refuse(cpu, INVALID_CONTROLS);
    }
    let Active { control, state, .. } = active;
    load_cr2(state);
    let registers = &raw mut state.gpr;
    let clear = core::mem::take(&mut control.clear) != 0;
    // SAFETY: its VMCS is current since `run`, and launched or clear as `clear` says.
    unsafe { if clear { world::launch(registers, cpu) } else { world::resume(registers, cpu) } }
}

/// Loads the guest's CR2 where the kernel or another guest took a page fault since.
#[inline(always)]
fn load_cr2(state: &VirtualCpuState) {
    if register::read_cr2() != state.cr2 {
        // SAFETY: nothing is asked for.
        unsafe { register::write_cr2(state.cr2) };
    }
}

/// [`protocols::machine::Call::ReadState`].
pub fn read_state(cpu: &mut Cpu, id: u64, groups: u64) -> Result<(), Status> {
    let mut result = Err(Status::NoObject);
    create::with_vmcs(cpu, id, false, |_, active| {
        // What the kernel changed and no entry has taken over yet is newer than the VMCS; a pending advance is due.
        if active.state.advance != 0 && active.state.dirty & Groups::INSTRUCTION.bits() == 0 {
            advance(active.state);
        }
        let groups = Groups::from_bits_truncate(groups & !active.state.dirty) & Groups::VMCS;
        state::read(active.state, groups);
        active.state.valid |= groups.bits();
        result = Ok(());
    });
    result
}

/// Brings what the kernel changed in the state page to the current VMCS. `false`: the entry would fail.
fn prepare(frames: &FrameTable, active: &mut Active) -> bool {
    let Active { control, state, .. } = active;
    state.exit.instruction_error = 0;
    let dirty = Groups::from_bits_truncate(state.dirty) & Groups::VMCS;
    state.dirty = 0;
    if !dirty.is_empty() {
        state::write(state, dirty);
        if dirty.intersects(Groups::CONTROL | Groups::EFER) {
            if !state::mode_in_vmcs_is_possible() {
                // Until the kernel changes it again.
                state.dirty = dirty.bits();
                return false;
            }
            // Only the pointers' own values can be wrong then, which the entry checks.
            let _ = state::load_pointers(frames, control);
        }
        if dirty.contains(Groups::CONTROL) {
            flush(control);
        }
    }
    if state.advance != 0 {
        advance(state);
    }
    let event = state.event;
    if event.information != 0 {
        if !event.is_consistent() {
            return false;
        }
        inject(event);
        state.event = Event::default();
    }
    if state.posted != 0 {
        deliver_posted(control, state, event.is_valid());
    }
    true
}

/// Skips the instruction that caused the last exit.
#[inline(always)]
fn advance(state: &mut VirtualCpuState) {
    state.advance = 0;
    skip(u64::from(state.exit.instruction_length));
}

/// Goes on after an instruction of `length` bytes as if the guest had executed it: blocking by STI and MOV SS ends, a
/// single step traps.
#[inline(always)]
pub fn skip(length: u64) {
    vmwrite(Guest::RIP, vmread(Guest::RIP).wrapping_add(length));
    let interruptibility = vmread(Guest::INTERRUPTIBILITY);
    if interruptibility & SHADOWS != 0 {
        vmwrite(Guest::INTERRUPTIBILITY, interruptibility & !SHADOWS);
    }
    if vmread(Guest::RFLAGS) & TRAP != 0 {
        vmwrite(Guest::PENDING_DEBUG, vmread(Guest::PENDING_DEBUG) | SINGLE_STEP);
    }
}

/// Delivers the posted interrupt if the guest accepts it now and nothing else is being delivered; otherwise asks for an
/// exit as soon as it does. A request that outlives a withdrawn interrupt costs one exit, which finds nothing to do.
fn deliver_posted(control: &mut VirtualCpu, state: &mut VirtualCpuState, busy: bool) {
    let accepts = vmread(Guest::RFLAGS) & INTERRUPTS != 0 && vmread(Guest::INTERRUPTIBILITY) & SHADOWS == 0;
    if accepts && !busy {
        inject(Event::interrupt(state.posted as u8));
        state.posted = 0;
    }
    set_window(control, state.posted != 0);
}

/// Sets whether the interrupt window exits.
fn set_window(control: &mut VirtualCpu, window: bool) {
    if control.window != window {
        control.window = window;
        let value = control.primary | if window { Primary::INTERRUPT_WINDOW_EXITING.bits() } else { 0 };
        // SAFETY: the virtual CPU's own controls, with or without one more exit.
        unsafe { vmwrite_control(Control::PRIMARY, u64::from(value)) };
    }
}

/// What a guest with these registers loads into a control register, by the exit's qualification.
pub fn operand(qualification: u64, registers: &Registers) -> u64 {
    let index = (qualification >> 8 & 15) as usize;
    if index == RSP { vmread(Guest::RSP) } else { registers[index] }
}

/// XSETBV by a guest with these registers, which may use the features `allowed`: the new XCR0. `None`: #GP.
pub fn set_xcr0(registers: &Registers, allowed: u64) -> Option<u64> {
    let value = registers[RDX] << 32 | registers[RAX] & 0xffff_ffff;
    let valid = registers[RCX] as u32 == 0 && xcr0_is_valid(value, allowed);
    valid.then(|| register::write_xcr0(value))?;
    Some(value)
}

/// The next entry delivers `event`, which is consistent.
pub fn inject(event: Event) {
    vmwrite(Guest::ENTRY_EVENT, u64::from(event.information));
    vmwrite(Guest::ENTRY_ERROR_CODE, u64::from(event.error));
    vmwrite(Guest::ENTRY_INSTRUCTION_LENGTH, u64::from(event.instruction_length));
}

/// Drops the guest's cached translations; without a VPID every entry does.
fn flush(control: &VirtualCpu) {
    if control.vpid != 0 {
        // The VPID is not 0: it cannot fail.
        let _ = instruction::invvpid(control.vpid);
    }
}

/// The identifier of the virtual CPU with the control frame `frame`.
const fn identifier(frame: HostPhysical) -> u64 {
    frame.get() / PAGE_SIZE
}

/// The reason that an entry which failed early is reported with.
const FAILED_ENTRY: u32 = exit_reason::ENTRY_FAILURE | exit_reason::INVALID_GUEST_STATE;
