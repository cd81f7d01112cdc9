//! Machine Spaces and virtual CPUs: threads whose registers the monitor loads.

use crate::arch::extended::{self, Area};
use crate::arch::physical::Frame;
use crate::arch::{cpu, monitor};
use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::{Kernel, ListPage};
use crate::memory::hierarchy::{Fault, Space};
use crate::memory::window::Window;
use crate::space::Contents;
use crate::thread::{Thread, Wait};
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::{Call, MessageKind, Rights, Status};
use protocols::exception::{MESSAGE_WORDS, MachineReply};
use protocols::machine::{EptEntry, MACHINE_FRAMES, Status as MonitorStatus, VIRTUAL_CPU_FRAMES};
use protocols::native_thread::Exceptions;
use protocols::virtual_cpu::register::{RAX, RBX, RCX, RDX};
use protocols::virtual_cpu::{Event, Groups, VirtualCpuState, exit_reason};
use zerocopy::IntoBytes;

/// A machine of the monitor's.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    id: u64,
    /// All its virtual CPUs log what they write.
    pub logged: bool,
}

#[cfg(test)]
impl Machine {
    /// What the monitor knows it by.
    pub fn number(&self) -> u64 {
        self.id
    }
}

/// A virtual CPU.
pub struct VirtualCpu {
    /// The monitor's name for it.
    pub id: u64,
    /// The state page, shared with the monitor.
    pub state: Frame<VirtualCpuState>,
    extended: Frame<Area>,
    /// The log of what it writes.
    pub log: Option<Frame<ListPage>>,
}

impl VirtualCpu {
    /// Saves what the CPU holds of it.
    pub fn save_extended(&mut self) {
        extended::save(&mut self.extended, self.state.get_mut());
    }
}

/// [`VirtualCpuState::activity`] after HLT.
const HALTED: u32 = 1;
/// Frames donated at a time when a machine's run out.
const DONATION: usize = 4;
/// Longest stretch that one fault makes accessible: the cost of a batch stays bounded.
const FAULT_AROUND: u64 = 1 << 30;
/// Frames of kernel memory that a thread of a machine Space takes beside the donated ones.
const VIRTUAL_CPU_PAGES: u64 = 2;
const POST: u64 = Exceptions::POSTED;

impl Kernel {
    /// Creates a machine at the expense of `payer`.
    pub fn create_machine(&mut self, account: &mut crate::account::Account) -> Result<Machine, Status> {
        account.charge(MACHINE_FRAMES as u64 * PAGE_SIZE).map_err(|_| Status::NoMemory)?;
        let count = self.list_frames(MACHINE_FRAMES);
        let created = if count == MACHINE_FRAMES {
            monitor::create_machine(self.list.address(), count)
        } else {
            Err(MonitorStatus::NoFrames)
        };
        created.map(|id| Machine { id, logged: false }).map_err(|error| {
            log::warn!("the monitor creates no machine: {error:?}");
            self.release_list(count);
            account.refund(MACHINE_FRAMES as u64 * PAGE_SIZE);
            Status::NoMemory
        })
    }

    /// Destroys a machine and takes its frames back.
    pub fn destroy_machine(&mut self, machine: Machine) {
        while let Ok(count) = monitor::destroy_machine(machine.id, self.list.address(), 512) {
            if count == 0 {
                return;
            }
            self.release_list(count as usize);
        }
    }

    fn list_frames(&mut self, count: usize) -> usize {
        for position in 0..count {
            match self.frames.allocate_top() {
                Some(frame) => self.list.get_mut()[position] = frame.get(),
                None => return position,
            }
        }
        count
    }

    fn release_list(&mut self, count: usize) {
        for position in 0..count.min(512) {
            let frame = HostPhysical::new(self.list.get()[position]);
            self.frames.release(frame);
        }
    }

    fn donate(&mut self, space: Id<Space>, machine: Machine, count: usize) -> Result<(), Unresolved> {
        let account = &mut self.objects.spaces.get_mut(space).ok_or(Unresolved::NoMemory)?.account;
        account.charge(count as u64 * PAGE_SIZE).map_err(|_| Unresolved::NoMemory)?;
        let listed = self.list_frames(count);
        if listed < count || monitor::donate(machine.id, self.list.address(), count).is_err() {
            self.release_list(listed);
            if let Some(space) = self.objects.spaces.get_mut(space) {
                space.account.refund(count as u64 * PAGE_SIZE);
            }
            return Err(Unresolved::NoMemory);
        }
        Ok(())
    }

    /// Applies a change of a machine's EPT.
    pub fn update_ept(&mut self, space: Id<Space>, machine: Machine, entry: EptEntry) -> Result<(), Unresolved> {
        loop {
            for (word, bytes) in self.list.get_mut().iter_mut().zip(entry.as_bytes().chunks_exact(8)) {
                word.as_mut_bytes().copy_from_slice(bytes);
            }
            match monitor::update_ept(machine.id, self.list.address(), 1) {
                Ok(()) => return Ok(()),
                Err(MonitorStatus::NoFrames) => self.donate(space, machine, DONATION)?,
                Err(error) => {
                    log::warn!("the monitor refuses {entry:x?}: {error:?}");
                    return Err(Unresolved::Fault(Fault::Unmapped));
                }
            }
        }
    }

    /// Makes the stretch around an address accessible to a machine.
    pub fn install_in_machine(
        &mut self,
        space: Id<Space>,
        machine: Machine,
        address: u64,
        window: &Window,
    ) -> Result<(), Unresolved> {
        if window.tracked {
            return self.install_tracked(space, machine, address, window);
        }
        let block = address & !(FAULT_AROUND - 1);
        let start = block.max(window.start);
        let end = block.saturating_add(FAULT_AROUND).min(window.end);
        self.update_ept(space, machine, window.entry(start, end, 0))
    }

    /// Makes a stretch inaccessible to a machine.
    pub fn remove_from_machine(&mut self, space: Id<Space>, machine: Machine, start: u64, end: u64) {
        const MOST: u64 = (u32::MAX as u64) * PAGE_SIZE;
        let mut start = start;
        while start < end {
            let size = (end - start).min(MOST);
            let entry =
                EptEntry { guest: start, host: 0, frames: (size / PAGE_SIZE) as u32, rights: 0, memory_type: 0 };
            if self.update_ept(space, machine, entry).is_err() {
                // Splitting a large page needs a frame that nobody has: dropping the large page altogether does not.
                let block = start & !(FAULT_AROUND - 1);
                let whole = EptEntry {
                    guest: block,
                    host: 0,
                    frames: (FAULT_AROUND / PAGE_SIZE) as u32,
                    rights: 0,
                    memory_type: 0,
                };
                if self.update_ept(space, machine, whole).is_err() {
                    crate::stop(format_args!("the monitor does not remove {start:#x} from a machine"));
                }
            }
            start += size;
        }
    }

    /// Gives a thread a virtual CPU of the machine Space that it joins.
    pub fn create_virtual_cpu(&mut self, id: Id<Thread>, space_id: Id<Space>) -> Result<(), Status> {
        let Some(Contents::Machine(machine)) = self.objects.spaces.get(space_id).map(|space| &space.contents) else {
            return Ok(());
        };
        let machine = *machine;
        let left = monitor::donated_frames(machine.id).unwrap_or(0) as usize;
        if left < VIRTUAL_CPU_FRAMES {
            self.donate(space_id, machine, VIRTUAL_CPU_FRAMES - left).map_err(|_| Status::NoMemory)?;
        }
        let account = &mut self.objects.spaces.get_mut(space_id).ok_or(Status::NoMemory)?.account;
        account.charge(VIRTUAL_CPU_PAGES * PAGE_SIZE).map_err(|_| Status::NoMemory)?;
        let frames = self.frames.allocate().zip(self.frames.allocate());
        let pages = frames.and_then(|(state, extended)| Frame::new(state).zip(Frame::new(extended)));
        let Some((mut state, mut extended)): Option<(Frame<VirtualCpuState>, Frame<Area>)> = pages else {
            account.refund(VIRTUAL_CPU_PAGES * PAGE_SIZE);
            return Err(Status::NoMemory);
        };
        *state.get_mut() = VirtualCpuState::zeroed();
        extended.get_mut().bytes.copy_from_slice(&state.get().extended);
        extended::sanitize(extended.get_mut());
        match monitor::create_virtual_cpu(machine.id, state.address()) {
            Ok(number) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.virtual_cpu = Some(VirtualCpu { id: number, state, extended, log: None });
                }
                if machine.logged && !self.begin_log(id, space_id) {
                    self.remove_virtual_cpu(id, Some(space_id));
                    return Err(Status::NoMemory);
                }
                Ok(())
            }
            Err(error) => {
                log::warn!("the monitor creates no virtual CPU: {error:?}");
                account.refund(VIRTUAL_CPU_PAGES * PAGE_SIZE);
                self.frames.release(state.address());
                self.frames.release(extended.address());
                Err(Status::NoMemory)
            }
        }
    }

    /// Takes a thread's virtual CPU away.
    pub fn destroy_virtual_cpu(&mut self, id: Id<Thread>) {
        self.collect_log(id);
        if self.resident == Some(id) {
            self.resident = None;
        }
        let space = self.objects.threads.get(id).and_then(|thread| thread.space);
        self.remove_virtual_cpu(id, space);
    }

    fn remove_virtual_cpu(&mut self, id: Id<Thread>, payer: Option<Id<Space>>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let Some(virtual_cpu) = thread.virtual_cpu.take() else { return };
        if let Err(error) = monitor::destroy_virtual_cpu(virtual_cpu.id) {
            log::warn!("the monitor does not destroy a virtual CPU: {error:?}");
            return;
        }
        let frames = [Some(virtual_cpu.state.address()), Some(virtual_cpu.extended.address())];
        for frame in frames.into_iter().chain([virtual_cpu.log.map(|log| log.address())]).flatten() {
            self.frames.release(frame);
            if let Some(payer) = payer {
                self.refund(payer, PAGE_SIZE);
            }
        }
    }

    /// Loads the CPU with what it keeps for a virtual CPU.
    #[cold]
    #[inline(never)]
    fn load_extended(&mut self, id: Id<Thread>) {
        self.evict_for_virtual_cpu();
        if let Some(virtual_cpu) = self.objects.threads.get(id).and_then(|thread| thread.virtual_cpu.as_ref()) {
            extended::load(&virtual_cpu.extended, virtual_cpu.state.get());
            self.resident = Some(id);
        }
    }

    /// Runs the virtual CPU of the running thread until something has to be done.
    #[inline]
    pub fn run_virtual_cpu(&mut self, id: Id<Thread>) {
        if self.resident != Some(id) {
            self.load_extended(id);
        }
        let Some(virtual_cpu) = self.objects.threads.get(id).and_then(|thread| thread.virtual_cpu.as_ref()) else {
            return;
        };
        let (number, state) = (virtual_cpu.id, virtual_cpu.state.get());
        let registers = [state.lstar, state.star, state.sfmask];
        let [lstar, star, fmask] = self.system_call_registers;
        if lstar != registers[0] || star != registers[1] || fmask != registers[2] {
            self.native_system_calls = false;
            self.set_system_call_registers(registers);
        }
        if let Err(error) = monitor::run(number) {
            if let Some(thread) = self.objects.threads.get_mut(id) {
                thread.stopped = true;
                log::warn!("{} stopped: the monitor does not run its virtual CPU: {error:?}", thread.label());
            }
            return self.unready(id);
        }
        self.exited(id);
    }

    #[inline]
    fn exited(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let Some(virtual_cpu) = thread.virtual_cpu.as_mut() else { return };
        let state = virtual_cpu.state.get_mut();
        match state.exit.reason {
            exit_reason::IO => self.machine_exit(id),
            exit_reason::EXTERNAL_INTERRUPT => {
                cpu::take_interrupts();
                self.pending_interrupts();
            }
            exit_reason::EXCEPTION_OR_NMI if state.exit.interruption >> 8 & 7 == 2 => {}
            exit_reason::HLT => {
                state.advance = 1;
                if state.posted == 0 {
                    thread.wait = Wait::Interrupt;
                    self.unready(id);
                }
            }
            exit_reason::VMCALL if state.gpr[RAX] == Call::ThreadSelf as u64 => thread.answer_self(),
            exit_reason::VMCALL => self.call(id),
            exit_reason::RDMSR | exit_reason::WRMSR => {
                if !serve_system_call_register(state) {
                    self.machine_exit(id);
                }
            }
            exit_reason::EPT_VIOLATION => {
                let (address, want) = (state.exit.guest_physical, wanted(state.exit.qualification));
                let Some(space) = thread.space else { return };
                if let Err(unresolved) = self.resolve(space, address, want) {
                    self.unresolved(id, unresolved, address, want);
                }
            }
            exit_reason::LOG_FULL => {
                self.collect_log(id);
            }
            _ => self.machine_exit(id),
        }
    }

    /// Tells the keeper of a machine Space of its virtual CPU's exit.
    #[inline]
    pub fn machine_exit(&mut self, id: Id<Thread>) {
        let Some(virtual_cpu) = self.objects.threads.get(id).and_then(|thread| thread.virtual_cpu.as_ref()) else {
            return;
        };
        let state = virtual_cpu.state.get();
        let (gpr, exit) = (&state.gpr, &state.exit);
        let failed = exit.reason & exit_reason::ENTRY_FAILURE != 0;
        let message = [
            exit.reason as u64 | (exit.instruction_length as u64) << 32,
            exit.qualification,
            if failed { exit.instruction_error as u64 } else { exit.guest_physical },
            gpr[RAX],
            gpr[RCX],
            gpr[RDX],
            state.posted as u64 & 0xff,
            gpr[RBX],
        ];
        self.tell_keeper(id, MessageKind::MachineExit, message);
    }

    /// The keeper has replied to an exit. Whether the virtual CPU can go on.
    #[inline]
    pub fn machine_replied(&mut self, id: Id<Thread>, words: &[u64; MESSAGE_WORDS]) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        let Some(virtual_cpu) = thread.virtual_cpu.as_mut() else { return false };
        let state = virtual_cpu.state.get_mut();
        let [actions, rax, rdx, event, post, ..] = *words;
        if actions & MachineReply::ADVANCE != 0 {
            state.advance = 1;
        }
        if actions & MachineReply::SET_RAX != 0 {
            state.gpr[RAX] = rax;
        }
        if actions & !(MachineReply::ADVANCE | MachineReply::SET_RAX) == 0 {
            if actions == 0 && state.exit.reason == exit_reason::EPT_VIOLATION {
                let (address, want) = (state.exit.guest_physical, wanted(state.exit.qualification));
                self.retry(id, address, want);
            }
            return true;
        }
        if actions & MachineReply::SET_RDX != 0 {
            state.gpr[RDX] = rdx;
        }
        let mut sensible = actions & !MachineReply::ALL == 0;
        if actions & MachineReply::INJECT != 0 {
            let event = Event { information: event as u32, error: (event >> 32) as u32, ..Event::default() };
            sensible &= event.is_consistent();
            if sensible {
                state.event = event;
            }
        }
        if actions & MachineReply::POST != 0 {
            sensible &= post == 0 || (16..256).contains(&post);
            if sensible {
                state.posted = if post == 0 { 0 } else { (POST | post) as u32 };
            }
        }
        if sensible && actions & MachineReply::HALT != 0 && state.posted == 0 {
            thread.wait = Wait::Interrupt;
        }
        thread.stopped |= !sensible || actions & MachineReply::STOP != 0;
        if !sensible {
            log::warn!("{} stopped: its keeper's reply makes no sense: {words:x?}", thread.label());
        }
        !thread.stopped && thread.wait == Wait::Nothing
    }

    /// Posts an interrupt to a thread in place of the one posted before; 0 withdraws that.
    pub fn post_interrupt(&mut self, id: Id<Thread>, vector: u64) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let posted = if vector == 0 { 0 } else { POST | vector };
        let Some(virtual_cpu) = thread.virtual_cpu.as_mut() else {
            thread.native.exceptions.posted = posted;
            return self.deliver_interrupt(id);
        };
        virtual_cpu.state.get_mut().posted = posted as u32;
        if vector != 0 && thread.wait == Wait::Interrupt {
            thread.wait = Wait::Nothing;
            self.make_ready(id);
        }
    }

    /// The groups of a virtual CPU's state that are asked for, all others zero.
    pub fn virtual_cpu_state(&mut self, id: Id<Thread>, groups: Groups) -> Option<VirtualCpuState> {
        if self.resident == Some(id) {
            self.evict_resident();
        }
        let thread = self.objects.threads.get_mut(id)?;
        let halted = thread.stopped_in == Wait::Interrupt;
        let virtual_cpu = thread.virtual_cpu.as_mut()?;
        let missing = groups.intersection(Groups::VMCS).bits() & !virtual_cpu.state.get().dirty;
        if missing != 0 {
            monitor::read_state(virtual_cpu.id, missing).ok()?;
        }
        let state = virtual_cpu.state.get();
        let mut copy = VirtualCpuState::zeroed();
        copy_groups(&mut copy, state, groups);
        copy.exit = state.exit;
        copy.valid = groups.bits();
        if halted && groups.contains(Groups::INTERRUPTIBILITY) {
            copy.activity = HALTED;
        }
        if groups.contains(Groups::EXTENDED) {
            copy.extended = virtual_cpu.extended.get().bytes;
        }
        Some(copy)
    }

    /// Sets groups of a virtual CPU's state. False, with nothing changed, if no virtual CPU can have it.
    #[must_use]
    pub fn set_virtual_cpu_state(&mut self, id: Id<Thread>, new: &VirtualCpuState, groups: u64) -> bool {
        let Some(groups) = Groups::from_bits(groups) else { return false };
        if groups.contains(Groups::EVENT)
            && !(new.event.is_consistent() && (new.posted == 0 || (16..256).contains(&(new.posted ^ POST as u32))))
        {
            return false;
        }
        if groups.contains(Groups::SYSCALL)
            && !(canonical(new.lstar) && canonical(new.cstar) && canonical(new.kernel_gs_base) && is_flags(new.sfmask))
        {
            return false;
        }
        if groups.contains(Groups::CONTROL) && !extended::is_possible(new.xcr0) {
            return false;
        }
        if self.resident == Some(id) {
            self.evict_resident();
        }
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        let stopped = thread.stopped;
        let Some(virtual_cpu) = thread.virtual_cpu.as_mut() else { return false };
        let state = virtual_cpu.state.get_mut();
        copy_groups(state, new, groups);
        if stopped && groups.contains(Groups::INTERRUPTIBILITY) {
            // Waiting for an interrupt is the kernel's to do, not the processor's.
            let halted = state.activity == HALTED;
            thread.stopped_in = if halted { Wait::Interrupt } else { Wait::Nothing };
            state.activity = if halted { 0 } else { state.activity };
        }
        state.dirty |= groups.intersection(Groups::VMCS).bits();
        if groups.contains(Groups::INSTRUCTION) {
            state.advance = 0;
        }
        if groups.contains(Groups::EXTENDED) {
            virtual_cpu.extended.get_mut().bytes = new.extended;
            extended::sanitize(virtual_cpu.extended.get_mut());
        }
        true
    }

    /// Hands policy, already in the list page, on to the monitor.
    pub fn set_policy(&mut self, machine: Machine, kind: u64, count: usize) -> Status {
        match monitor::set_policy(machine.id, kind, self.list.address(), count) {
            Ok(()) => Status::Ok,
            Err(MonitorStatus::NoFrames) => Status::NoMemory,
            Err(_) => Status::Refused,
        }
    }
}

/// What an access that ended in an EPT violation wanted (Intel SDM vol. 3C, table 28-7).
fn wanted(qualification: u64) -> Rights {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 2;
    match qualification {
        qualification if qualification & WRITE != 0 => Rights::WRITE,
        qualification if qualification & FETCH != 0 => Rights::EXECUTE,
        _ => Rights::READ,
    }
}

fn canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// Whether IA32_FMASK takes a value: its upper half is reserved.
fn is_flags(value: u64) -> bool {
    value >> 32 == 0
}

fn copy_groups(to: &mut VirtualCpuState, from: &VirtualCpuState, groups: Groups) {
    if groups.contains(Groups::GENERAL) {
        let rsp = to.gpr[4];
        to.gpr = from.gpr;
        to.gpr[4] = rsp;
    }
    if groups.contains(Groups::INSTRUCTION) {
        (to.rip, to.gpr[4], to.rflags) = (from.rip, from.gpr[4], from.rflags);
    }
    if groups.contains(Groups::INTERRUPTIBILITY) {
        (to.interruptibility, to.activity, to.pending_debug) =
            (from.interruptibility, from.activity, from.pending_debug);
    }
    if groups.contains(Groups::SEGMENTS) {
        to.segments = from.segments;
    }
    if groups.contains(Groups::TABLES) {
        (to.gdtr, to.idtr) = (from.gdtr, from.idtr);
    }
    if groups.contains(Groups::CONTROL) {
        (to.cr0, to.cr2, to.cr3, to.cr4, to.xcr0) = (from.cr0, from.cr2, from.cr3, from.cr4, from.xcr0);
    }
    if groups.contains(Groups::EFER) {
        (to.efer, to.pat) = (from.efer, from.pat);
    }
    if groups.contains(Groups::SYSENTER) {
        (to.sysenter_cs, to.sysenter_esp, to.sysenter_eip) = (from.sysenter_cs, from.sysenter_esp, from.sysenter_eip);
    }
    if groups.contains(Groups::DEBUG) {
        (to.dr, to.dr6, to.dr7, to.debugctl) = (from.dr, from.dr6, from.dr7, from.debugctl);
    }
    if groups.contains(Groups::SYSCALL) {
        (to.star, to.lstar, to.cstar, to.sfmask) = (from.star, from.lstar, from.cstar, from.sfmask);
        to.kernel_gs_base = from.kernel_gs_base;
    }
    if groups.contains(Groups::TIME) {
        to.tsc_offset = from.tsc_offset;
    }
    if groups.contains(Groups::EVENT) {
        (to.event, to.posted) = (from.event, from.posted);
    }
}

/// Serves a guest's access to the MSRs of the SYSCALL group. False if it is another MSR, or not a value for it.
fn serve_system_call_register(state: &mut VirtualCpuState) -> bool {
    let register = match state.gpr[RCX] as u32 {
        x86::msr::IA32_STAR => &mut state.star,
        x86::msr::IA32_LSTAR => &mut state.lstar,
        x86::msr::IA32_CSTAR => &mut state.cstar,
        x86::msr::IA32_FMASK => &mut state.sfmask,
        _ => return false,
    };
    if state.exit.reason == exit_reason::RDMSR {
        (state.gpr[RAX], state.gpr[RDX]) = (*register & 0xffff_ffff, *register >> 32);
    } else {
        let value = state.gpr[RAX] & 0xffff_ffff | state.gpr[RDX] << 32;
        let is_possible = match state.gpr[RCX] as u32 {
            x86::msr::IA32_STAR => true,
            x86::msr::IA32_FMASK => is_flags(value),
            _ => canonical(value),
        };
        if !is_possible {
            return false;
        }
        *register = value;
    }
    state.advance = 1;
    true
}
