//! What a native thread has beside its registers, and how the CPU is loaded with it.
//!
//! Most threads have nothing of it. Their [context](Thread::context) is [`PLAIN`], so that switching between them is one
//! comparison; a thread that has some has a context of its own, and whatever it needs is loaded when it gets the CPU from
//! another. Of the extended registers not even that: they stay with the thread that used them last, the *resident* one
//! (which may be a virtual CPU), until another wants its own.

use crate::arch::extended::{self, Area};
use crate::arch::physical::Frame;
use crate::arch::{cpu, debug, descriptor, entry};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::thread::Thread;
use protocols::address::PAGE_SIZE;
use protocols::api::Status;
use protocols::native_thread::{Debug, Exceptions, NativeState, Redirection, USER_END, VERSION};
use protocols::virtual_cpu::register::RSP;
use protocols::virtual_cpu::{Groups, initial_extended};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// [`Thread::context`] of a thread that has nothing beside its registers.
pub const PLAIN: u64 = 0;
/// What no thread's context is.
const UNKNOWN: u64 = 1;

/// What a native thread has beside its registers.
#[derive(Default)]
pub struct Native {
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// Exceptions and interrupts.
    pub exceptions: Exceptions,
    /// Debug registers.
    pub debug: Debug,
    /// Redirection of system calls.
    pub redirection: Redirection,
    /// Extended registers, once they have been used. Those in the CPU are newer while the thread is resident.
    extended: Option<Frame<Area>>,
}

impl Native {
    fn is_plain(&self) -> bool {
        self.fs_base | self.gs_base | self.redirection.handler == 0 && !self.debug.is_armed() && self.extended.is_none()
    }
}

/// What the CPU is loaded with for native threads.
#[derive(Debug)]
pub struct Context {
    /// The context of the thread that it is loaded for.
    loaded: u64,
    /// The GS base.
    gs_base: u64,
    /// The extended registers may be used.
    open: bool,
    /// Breakpoints are loaded.
    armed: bool,
    /// Where SYSCALL enters.
    pub entry: u64,
}

impl Context {
    /// That of a CPU on which no thread has run.
    pub fn new() -> Self {
        Self { loaded: PLAIN, gs_base: 0, open: false, armed: false, entry: entry::system_call_address() }
    }

    /// Whether it is loaded for a thread with this context.
    #[inline(always)]
    pub fn is(&self, context: u64) -> bool {
        self.loaded == context
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Thread {
    /// Follows a change of what it has beside its registers.
    fn follow_native(&mut self) {
        let plain = self.virtual_cpu.is_some() || self.native.is_plain();
        self.context = if plain { PLAIN } else { core::ptr::from_ref(self) as u64 };
    }

    /// `groups` of the state of a native thread; what is always there, too.
    pub fn native_state(&self, groups: Groups) -> NativeState {
        let native = &self.native;
        let mut state = NativeState::new_zeroed();
        let words = self.register_words(groups);
        state.as_mut_bytes()[..size_of::<RegisterWords>()].copy_from_slice(words.as_bytes());
        if groups.contains(Groups::EVENT) {
            state.exceptions = native.exceptions;
        }
        if groups.contains(Groups::DEBUG) {
            state.debug = native.debug;
        }
        if groups.contains(Groups::SYSCALL) {
            state.redirection = native.redirection;
        }
        if groups.contains(Groups::EXTENDED) {
            state.extended = native.extended.as_ref().map_or_else(initial_extended, |area| area.get().bytes);
        }
        state
    }

    /// What is always there of the state of a native thread.
    #[inline]
    pub fn register_words(&self, groups: Groups) -> RegisterWords {
        let mut words = RegisterWords { gpr: self.registers.gpr, particulars: self.particulars(groups) };
        words.gpr[RSP] = self.registers.rsp;
        words
    }

    /// That without the general registers.
    #[inline(always)]
    pub fn particulars(&self, groups: Groups) -> Particulars {
        Particulars {
            rip: self.registers.rip,
            rflags: self.registers.rflags,
            fs_base: self.native.fs_base,
            stopped: self.stopped as u64,
            gs_base: self.native.gs_base,
            waited: self.waited() as u64,
            version: VERSION,
            valid: (groups | NativeState::REGISTERS).bits(),
        }
    }

    /// Sets groups of the registers of a native thread. False, with nothing changed, if no thread can have them.
    #[inline(always)]
    #[must_use]
    pub fn set_registers(&mut self, new: &RegisterWords, groups: Groups) -> bool {
        let RegisterWords { gpr, particulars } = new;
        if !particulars.are_possible(groups) {
            return false;
        }
        let registers = &mut self.registers;
        // What it has said after a system call does not count any more, and all that is set does.
        registers.make_whole();
        if groups.contains(Groups::GENERAL) {
            registers.gpr = *gpr;
        }
        if groups.contains(Groups::INSTRUCTION) {
            (registers.rip, registers.rsp) = (particulars.rip, gpr[RSP]);
            registers.set_flags(particulars.rflags);
            self.native.exceptions.pending.vector = 0;
        }
        true
    }
}

/// The beginning of a [`NativeState`]: what is always there.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegisterWords {
    gpr: [u64; 16],
    particulars: Particulars,
}

/// What follows the general registers there.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Particulars {
    rip: u64,
    rflags: u64,
    fs_base: u64,
    stopped: u64,
    gs_base: u64,
    waited: u64,
    version: u64,
    valid: u64,
}

const _: () = assert!(size_of::<RegisterWords>() == NativeState::size(NativeState::REGISTERS));

impl RegisterWords {
    /// The general registers alone.
    pub fn general(gpr: [u64; 16]) -> Self {
        Self { gpr, particulars: Particulars { version: VERSION, ..Particulars::new_zeroed() } }
    }
}

impl Particulars {
    #[inline(always)]
    fn are_possible(&self, groups: Groups) -> bool {
        self.version == VERSION
            && (self.rip < USER_END || !groups.contains(Groups::INSTRUCTION))
            && (self.fs_base < USER_END && self.gs_base < USER_END || !groups.contains(Groups::SEGMENTS))
    }
}

impl Kernel {
    /// Loads the CPU for the running thread, of which it is known that it has something that the one before had not, or the
    /// other way round.
    pub fn load_context(&mut self) {
        let Some((id, thread)) = self.current.and_then(|id| Some((id, self.objects.threads.get(id)?))) else { return };
        let Native { fs_base, gs_base, .. } = thread.native;
        self.context.loaded = thread.context;
        // Always: ring 3 can have changed it by loading the selector.
        cpu::set_fs_base(fs_base);
        if gs_base | self.context.gs_base != 0 {
            self.context.gs_base = gs_base;
            cpu::set_gs_base(gs_base);
        }
        self.load_breakpoints(id);
        self.load_redirection(id);
        let open = self.resident == Some(id);
        if self.context.open != open {
            self.context.open = open;
            if open { extended::open() } else { extended::close() }
        }
    }

    fn load_breakpoints(&mut self, id: Id<Thread>) {
        let Some(armed) = self.objects.threads.get(id).map(|thread| thread.native.debug.is_armed()) else { return };
        if armed {
            // The addresses in the CPU are a resident virtual CPU's.
            if self.resident != Some(id) {
                self.evict_resident();
                self.context.loaded = self.objects.threads.get(id).map_or(UNKNOWN, |thread| thread.context);
            }
            if let Some(thread) = self.objects.threads.get(id) {
                debug::load(&thread.native.debug);
                self.context.armed = true;
            }
        } else {
            self.disarm();
        }
    }

    /// Takes breakpoints of native threads out of the CPU.
    pub fn disarm(&mut self) {
        if core::mem::take(&mut self.context.armed) {
            debug::disarm();
        }
    }

    fn load_redirection(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        let entry = match &thread.native.redirection {
            Redirection { handler: 0, .. } => entry::system_call_address(),
            redirection => entry::redirect(redirection),
        };
        if core::mem::replace(&mut self.context.entry, entry) != entry && self.native_system_calls {
            self.set_system_call_registers([entry, descriptor::STAR, descriptor::FMASK]);
        }
    }

    /// Brings what the CPU holds of the resident thread back to it.
    pub fn evict_resident(&mut self) {
        let Some(thread) = self.resident.take().and_then(|id| self.objects.threads.get_mut(id)) else { return };
        if let Some(virtual_cpu) = &mut thread.virtual_cpu {
            virtual_cpu.save_extended();
        } else if let Some(area) = &mut thread.native.extended {
            extended::save_native(area);
            (self.context.open, self.context.loaded) = (false, UNKNOWN);
        }
    }

    /// Makes room in the CPU for what it holds of a virtual CPU.
    pub fn evict_for_virtual_cpu(&mut self) {
        self.evict_resident();
        if self.context.armed {
            self.disarm();
            self.context.loaded = UNKNOWN;
        }
    }

    /// A native thread has used extended registers, which the CPU does not hold for it: it does from now on.
    pub fn use_extended(&mut self, id: Id<Thread>) -> Result<(), Status> {
        self.own_extended(id)?;
        self.evict_resident();
        let area = self.objects.threads.get(id).and_then(|thread| thread.native.extended.as_ref());
        extended::load_native(area.ok_or(Status::NoMemory)?);
        self.resident = Some(id);
        (self.context.open, self.context.loaded) = (true, UNKNOWN);
        Ok(())
    }

    /// Whether a native thread needs memory for these extended registers: not for the initial ones, if it has none yet.
    fn needs_extended(&self, id: Id<Thread>, extended: &[u8; 1024]) -> bool {
        let has_some = self.objects.threads.get(id).is_some_and(|thread| thread.native.extended.is_some());
        has_some || *extended != initial_extended()
    }

    /// Makes sure that a native thread has memory for extended registers.
    fn own_extended(&mut self, id: Id<Thread>) -> Result<(), Status> {
        let thread = self.objects.threads.get(id).ok_or(Status::NoMemory)?;
        if thread.native.extended.is_some() {
            return Ok(());
        }
        let space = thread.space.and_then(|space| self.objects.spaces.get_mut(space)).ok_or(Status::NoMemory)?;
        space.account.charge(PAGE_SIZE).map_err(|_| Status::NoMemory)?;
        let Some(mut area) = self.frames.allocate().and_then(Frame::<Area>::new) else {
            space.account.refund(PAGE_SIZE);
            return Err(Status::NoMemory);
        };
        area.get_mut().bytes = initial_extended();
        extended::sanitize(area.get_mut());
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.native.extended = Some(area);
            thread.follow_native();
        }
        Ok(())
    }

    /// Takes from a native thread what its Space has paid for, and what the CPU holds of it: it leaves its Space, or ends.
    pub fn release_native(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        if let Some(area) = thread.native.extended.take() {
            self.frames.release(area.address());
            if let Some(space) = thread.space.and_then(|space| self.objects.spaces.get_mut(space)) {
                space.account.refund(PAGE_SIZE);
            }
        }
        thread.follow_native();
        if self.resident == Some(id) {
            self.resident = None;
        }
        // Another thread may get the same context.
        self.context.loaded = UNKNOWN;
    }

    /// `groups` of the state of a native thread.
    pub fn native_state(&mut self, id: Id<Thread>, groups: Groups) -> Option<NativeState> {
        if groups.contains(Groups::EXTENDED) && self.resident == Some(id) {
            self.evict_resident();
        }
        self.objects.threads.get(id).map(|thread| thread.native_state(groups))
    }

    /// Sets groups of the state of a native thread. `Refused`, with nothing changed, if no thread can have it.
    pub fn set_native_state(&mut self, id: Id<Thread>, new: &NativeState, groups: Groups) -> Status {
        if !new.is_possible(groups) {
            return Status::Refused;
        }
        if groups.contains(Groups::EXTENDED) && self.needs_extended(id, &new.extended) {
            if let Err(status) = self.own_extended(id) {
                return status;
            }
            if self.resident == Some(id) {
                self.evict_resident();
            }
        }
        let Ok((words, _)) = RegisterWords::read_from_prefix(new.as_bytes()) else { return Status::Refused };
        let status = self.set_registers(id, &words, groups & NativeState::REGISTERS);
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.set_native(new, groups);
            self.context.loaded = UNKNOWN;
        }
        status
    }

    /// Sets groups of the registers of a native thread. `Refused`, with nothing changed, if no thread can have them.
    pub fn set_registers(&mut self, id: Id<Thread>, new: &RegisterWords, groups: Groups) -> Status {
        let Some(thread) = self.objects.threads.get_mut(id) else { return Status::NotFound };
        if !thread.set_registers(new, groups) {
            return Status::Refused;
        }
        if groups.contains(Groups::SEGMENTS) {
            (thread.native.fs_base, thread.native.gs_base) = (new.particulars.fs_base, new.particulars.gs_base);
            thread.follow_native();
            self.context.loaded = UNKNOWN;
        }
        Status::Ok
    }

    /// Redirects a native thread's system calls, as is possible.
    pub fn redirect(&mut self, id: Id<Thread>, redirection: Redirection) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        thread.native.redirection = redirection;
        thread.follow_native();
        self.context.loaded = UNKNOWN;
    }
}

impl Thread {
    fn set_native(&mut self, new: &NativeState, groups: Groups) {
        let native = &mut self.native;
        if groups.contains(Groups::EVENT) {
            native.exceptions = new.exceptions;
        }
        if groups.contains(Groups::DEBUG) {
            native.debug = new.debug;
            native.debug.dr6 = new.debug.dr6 & Debug::CONDITIONS | Debug::DR6;
        }
        if groups.contains(Groups::SYSCALL) {
            native.redirection = new.redirection;
        }
        if let Some(area) = native.extended.as_mut().filter(|_| groups.contains(Groups::EXTENDED)) {
            area.get_mut().bytes = new.extended;
            extended::sanitize(area.get_mut());
        }
        self.follow_native();
    }
}
