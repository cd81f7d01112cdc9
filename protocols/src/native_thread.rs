//! The state of a thread of a native Space, all of it, in named groups.
//!
//! `thread_get_state` and `thread_set_state` move it as they move that of a virtual CPU, by
//! [`Groups`]: what is not asked for is neither copied nor costs anything.
//!
//! | group | fields |
//! |---|---|
//! | `GENERAL` | `gpr` but for RSP |
//! | `INSTRUCTION` | `rip`, RSP (slot 4 of `gpr`), `rflags` |
//! | `SEGMENTS` | `fs_base`, `gs_base` |
//! | `EVENT` | `exceptions` |
//! | `DEBUG` | `debug` |
//! | `SYSCALL` | `redirection` |
//! | `EXTENDED` | `extended` |
//!
//! The group `GENERAL` alone is `gpr` alone, in every version. With any other, `thread_get_state` fills in the first three groups,
//! `stopped`, `waited`, `version` and `valid` as well; it writes no memory behind the last group that was asked for.

use crate::exception::MISUSE;
use crate::virtual_cpu::Groups;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of [`NativeState`].
pub const VERSION: u64 = 1;
/// The end of the addresses that a native thread can use.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// RFLAGS bits that a native thread chooses: status, trap, direction, resume, alignment check and identification. The interrupt
/// flag is always set, all others are always clear.
pub const FLAGS: u64 = 0x25_0dd5;
/// RFLAGS bits that are always set.
pub const FIXED_FLAGS: u64 = 0x202;

/// State of a native thread. What [`Default`] gives is that of a thread that has done nothing yet.
///
/// [`thread_get_state`](crate::libc::system_call::thread_get_state) reads it, [`thread_set_state`](crate::libc::system_call::thread_set_state) sets it, by the
/// [groups](self) of the module; [`is_possible`](Self::is_possible) is what is checked when it is set, else `Refused`. Its links, to a
/// Space and to what it waited for, are References beside it.
///
#[doc = example!("native_state")]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NativeState {
    /// General registers in the order of their [encoding](crate::virtual_cpu::register).
    pub gpr: [u64; 16],
    /// Instruction pointer. To set it withdraws a [pending exception](Exceptions::pending), unless the group `EVENT` is set too.
    pub rip: u64,
    /// Flags: those of [`FLAGS`]; what else is set in them is ignored.
    pub rflags: u64,
    /// FS base. A thread that loads the selector FS or GS makes the base 0 until it next gets the CPU.
    pub fs_base: u64,
    /// 1 while stopped. Ignored by `thread_set_state`, which has its [`Run`](crate::api::Run).
    pub stopped: u64,
    /// GS base.
    pub gs_base: u64,
    /// [`Waited`]: what the thread waited for when it was stopped. The registers say the same as a call about to be made, so
    /// that `thread_set_state` ignores it.
    pub waited: u64,
    /// [`VERSION`].
    pub version: u64,
    /// Groups that `thread_get_state` has filled in.
    pub valid: u64,
    /// Exceptions and interrupts.
    pub exceptions: Exceptions,
    /// Debug registers.
    pub debug: Debug,
    /// Redirection of system calls.
    pub redirection: Redirection,
    /// x87, SSE and AVX state in the standard (not compacted) XSAVE format. Reserved bits of MXCSR and components
    /// that the processor lacks are dropped when it is set. Kernel memory for it is charged to the thread's Space at its
    /// first use; if there is none, #NM (vector 7) is raised in the thread. A thread that goes to another Space begins with
    /// none. Until the first use XGETBV says nothing that counts.
    pub extended: [u8; 1024],
}

/// What a thread waited for when it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Waited {
    /// For nothing.
    Nothing = 0,
    /// For a message, as a server.
    Message = 1,
    /// For a server to receive its call.
    Server = 2,
    /// For the reply to its call.
    Reply = 3,
    /// For a keeper to receive or to reply to what the kernel sent on its behalf.
    Keeper = 4,
    /// For an interrupt: a virtual CPU after HLT.
    Interrupt = 5,
    /// For its peer on a reliable connection.
    Connection = 6,
    /// For a Mutex.
    Mutex = 7,
    /// For somebody to signal a Cond.
    Cond = 8,
    /// For the end of its donation of CPU time.
    Donation = 9,
}

/// Exceptions and interrupts of a native thread.
///
/// While exceptions are *enabled*, a synchronous exception (a trap or fault of the processor, misuse of the API) that
/// no Region's keeper resolves enters the thread's own `handler`, if it has one: RAX holds the vector or [`MISUSE`], RCX the error
/// code or [`Misuse`](crate::exception::Misuse), RDX the address or call, as
/// [`NativeException`](crate::exception::NativeException) has them; the earlier RAX, RCX, RDX, RIP and RFLAGS are in `saved`; all
/// other registers are as they were, the direction and trap flags are clear, and exceptions are disabled.
/// A posted interrupt enters the `interrupt_handler` likewise, with its vector in RAX and zero in RCX and RDX.
/// [`thread_return_from_exception`](crate::api::Call::ThreadReturnFromException) restores what was saved.
///
/// While exceptions are disabled, or without a handler, the Space's keeper gets the exception, and interrupts stay posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exceptions {
    /// 1 if enabled, 0 if disabled.
    pub enabled: u64,
    /// The interrupt that was posted and not delivered: 0x100 | vector, or 0.
    pub posted: u64,
    /// The exception handler's address, 0 for none.
    pub handler: u64,
    /// The interrupt handler's address, 0 for none.
    pub interrupt_handler: u64,
    /// The registers that entering a handler replaced last.
    pub saved: Saved,
    /// The exception that the thread has raised, while nobody has dealt with it: it is raised again when the thread goes on. A
    /// keeper that is handling an exception finds it here; its reply withdraws it.
    pub pending: Pending,
}

/// Registers of which a handler has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Saved {
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
}

/// An exception that has been raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pending {
    /// [`Pending::VALID`] and its vector, or 0 for none.
    pub vector: u64,
    /// Its error code.
    pub error: u64,
    /// Its address.
    pub address: u64,
}

impl Pending {
    /// There is an exception.
    pub const VALID: u64 = 0x1000;
}

/// Debug registers of a native thread (Intel SDM vol. 3B, 18.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Debug {
    /// DR0 to DR3: addresses below [`USER_END`].
    pub dr: [u64; 4],
    /// DR6, as the last #DB left it.
    pub dr6: u64,
    /// DR7: breakpoints on execution, writes, and reads or writes; no I/O breakpoints, no general detection.
    pub dr7: u64,
}

impl Debug {
    /// DR6 with no condition met.
    pub const DR6: u64 = 0xffff_0ff0;
    /// DR7 with no breakpoint.
    pub const DR7: u64 = 0x400;
    /// DR6 bits that a #DB sets: the breakpoints' and that of a single step.
    pub const CONDITIONS: u64 = 0x400f;
    /// The bit of a single step.
    pub const SINGLE_STEP: u64 = 0x4000;
    /// DR7 bits that enable a breakpoint.
    pub const ENABLE: u64 = 0xff;

    /// Whether a breakpoint is enabled.
    pub const fn is_armed(&self) -> bool {
        self.dr7 & Self::ENABLE != 0
    }

    /// Whether a native thread can have them: with them, no breakpoint ever meets the kernel.
    pub const fn is_possible(&self) -> bool {
        const RESERVED: u64 = !0xffff_07ff;
        if self.dr7 & RESERVED != 0 {
            return false;
        }
        let mut index = 0;
        while index < 4 {
            let kind = self.dr7 >> (16 + 4 * index) & 15;
            let (access, length) = (kind & 3, kind >> 2);
            if self.dr[index] >= USER_END || access == 2 || access == 0 && length != 0 {
                return false;
            }
            index += 1;
        }
        true
    }

    /// Whether one of the breakpoints that DR6 says were met is on execution.
    pub const fn met_on_execution(&self) -> bool {
        let mut index = 0;
        while index < 4 {
            let enabled = self.dr7 >> (2 * index) & 3 != 0;
            if enabled && self.dr6 >> index & 1 != 0 && self.dr7 >> (16 + 4 * index) & 3 == 0 {
                return true;
            }
            index += 1;
        }
        false
    }
}

impl Default for Debug {
    fn default() -> Self {
        Self { dr: [0; 4], dr6: Self::DR6, dr7: Self::DR7 }
    }
}

/// Redirection of a thread's `SYSCALL` instructions: those outside the range are no calls of the low-level API but enter
/// `handler`, in the thread itself and without further ado. RCX and R11 hold the address behind the instruction and the flags, as
/// `SYSCALL` defines; all other registers, RSP included, are as they were, and so are the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Redirection {
    /// The first address of the code whose `SYSCALL` instructions are calls of the low-level API.
    pub start: u64,
    /// The length of that code in bytes.
    pub length: u64,
    /// Where all others go; 0 for no redirection.
    pub handler: u64,
}

impl Redirection {
    /// Whether a native thread can have it.
    pub const fn is_possible(&self) -> bool {
        self.handler < USER_END && self.start < USER_END && self.length <= USER_END - self.start
    }
}

impl Exceptions {
    /// [`Exceptions::posted`] of an interrupt.
    pub const POSTED: u64 = 0x100;

    /// Whether `vector` can be posted.
    pub const fn is_interrupt(vector: u64) -> bool {
        vector >= 16 && vector < 256
    }

    /// Whether a native thread can have them.
    pub const fn is_possible(&self) -> bool {
        let posted = self.posted == 0 || Self::is_interrupt(self.posted ^ Self::POSTED);
        let vector = self.pending.vector ^ Pending::VALID;
        let pending = self.pending.vector == 0 || vector < 32 || vector == MISUSE;
        let addresses = self.handler < USER_END && self.interrupt_handler < USER_END && self.saved.rip < USER_END;
        self.enabled <= 1 && posted && pending && addresses
    }
}

impl NativeState {
    /// The groups that a native thread has.
    pub const GROUPS: Groups = Groups::GENERAL
        .union(Groups::INSTRUCTION)
        .union(Groups::SEGMENTS)
        .union(Groups::EVENT)
        .union(Groups::DEBUG)
        .union(Groups::SYSCALL)
        .union(Groups::EXTENDED);
    /// Those that are always filled in.
    pub const REGISTERS: Groups = Groups::GENERAL.union(Groups::INSTRUCTION).union(Groups::SEGMENTS);

    /// How many bytes from the beginning hold `groups`.
    pub const fn size(groups: Groups) -> usize {
        if groups.contains(Groups::EXTENDED) {
            size_of::<Self>()
        } else if groups.contains(Groups::SYSCALL) {
            core::mem::offset_of!(Self, extended)
        } else if groups.contains(Groups::DEBUG) {
            core::mem::offset_of!(Self, redirection)
        } else if groups.contains(Groups::EVENT) {
            core::mem::offset_of!(Self, debug)
        } else if groups.bits() != Groups::GENERAL.bits() {
            core::mem::offset_of!(Self, exceptions)
        } else {
            core::mem::offset_of!(Self, rip)
        }
    }

    /// Whether a thread can have `groups` of this state.
    pub const fn is_possible(&self, groups: Groups) -> bool {
        Self::GROUPS.contains(groups)
            && self.version == VERSION
            && (!groups.contains(Groups::INSTRUCTION) || self.rip < USER_END)
            && (!groups.contains(Groups::SEGMENTS) || self.fs_base < USER_END && self.gs_base < USER_END)
            && (!groups.contains(Groups::EVENT) || self.exceptions.is_possible())
            && (!groups.contains(Groups::DEBUG) || self.debug.is_possible())
            && (!groups.contains(Groups::SYSCALL) || self.redirection.is_possible())
    }
}

impl Default for NativeState {
    fn default() -> Self {
        let mut state = Self {
            gpr: [0; 16],
            rip: 0,
            rflags: FIXED_FLAGS,
            fs_base: 0,
            stopped: 0,
            gs_base: 0,
            waited: Waited::Nothing as u64,
            version: VERSION,
            valid: 0,
            exceptions: Exceptions::default(),
            debug: Debug::default(),
            redirection: Redirection::default(),
            extended: [0; 1024],
        };
        state.extended = crate::virtual_cpu::initial_extended();
        state
    }
}

impl fmt::Debug for NativeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeState")
            .field("gpr", &self.gpr)
            .field("rip", &self.rip)
            .field("rflags", &self.rflags)
            .field("bases", &(self.fs_base, self.gs_base))
            .field("waited", &self.waited)
            .field("exceptions", &self.exceptions)
            .field("debug", &self.debug)
            .field("redirection", &self.redirection)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(size_of::<NativeState>() == 1384);

#[cfg(test)]
mod tests {
    use super::*;

    fn possible(groups: Groups, change: impl FnOnce(&mut NativeState)) -> bool {
        let mut state = NativeState::default();
        change(&mut state);
        state.is_possible(groups)
    }

    #[test]
    fn a_new_state_is_possible() {
        assert!(possible(NativeState::GROUPS, |_| {}));
        assert!(!possible(NativeState::GROUPS, |state| state.version = 0));
        assert!(!possible(Groups::CONTROL, |_| {}), "a native thread has no control registers");
    }

    #[test]
    fn addresses_are_those_of_ring_3() {
        for address in [USER_END, 1 << 47, 1 << 63, u64::MAX] {
            assert!(!possible(Groups::INSTRUCTION, |state| state.rip = address));
            assert!(!possible(Groups::SEGMENTS, |state| state.fs_base = address));
            assert!(!possible(Groups::SEGMENTS, |state| state.gs_base = address));
            assert!(!possible(Groups::DEBUG, |state| state.debug.dr[3] = address));
            assert!(!possible(Groups::EVENT, |state| state.exceptions.handler = address));
            assert!(!possible(Groups::EVENT, |state| state.exceptions.interrupt_handler = address));
            assert!(!possible(Groups::EVENT, |state| state.exceptions.saved.rip = address));
            assert!(!possible(Groups::SYSCALL, |state| state.redirection.handler = address));
            assert!(!possible(Groups::SYSCALL, |state| state.redirection.start = address));
            assert!(possible(Groups::GENERAL, |state| state.rip = address), "other groups do not matter");
        }
        assert!(!possible(Groups::SYSCALL, |state| (state.redirection.start, state.redirection.length) = (1, USER_END)));
        assert!(!possible(Groups::SYSCALL, |state| state.redirection.length = u64::MAX));
        assert!(possible(Groups::SYSCALL, |state| state.redirection.length = USER_END));
    }

    #[test]
    fn breakpoints_are_harmless() {
        let dr7 = |dr7| possible(Groups::DEBUG, |state| state.debug.dr7 = dr7);
        // Execution, write of 8 bytes, read or write of 4.
        assert!(dr7(0x401) && dr7(0x9_0401) && dr7(0xf_0401) && dr7(0xffff_07ff & !0xcccc_0000));
        assert!(!dr7(0x2401), "general detection");
        assert!(!dr7(0xc01), "transactional memory");
        assert!(!dr7(0x2_0401), "I/O");
        assert!(!dr7(0x4_0401), "execution of two bytes");
        assert!(!dr7(1 << 32) && !dr7(1 << 14) && !dr7(u64::MAX));
    }

    #[test]
    fn met_breakpoints_are_told_apart() {
        let debug = |dr6, dr7| Debug { dr6: Debug::DR6 | dr6, dr7, ..Debug::default() };
        assert!(debug(1, 0x401).met_on_execution());
        assert!(!debug(1, 0x1_0401).met_on_execution(), "a write");
        assert!(!debug(2, 0x401).met_on_execution(), "another one, which is not enabled");
        assert!(!debug(0x4000, 0x401).met_on_execution(), "a single step");
    }

    #[test]
    fn events_are_checked() {
        let event = |change: fn(&mut Exceptions)| possible(Groups::EVENT, |state| change(&mut state.exceptions));
        assert!(event(|exceptions| exceptions.posted = 0x110));
        assert!(!event(|exceptions| exceptions.posted = 0x10f));
        assert!(!event(|exceptions| exceptions.posted = 0x20));
        assert!(event(|exceptions| exceptions.pending.vector = 0x1003));
        assert!(event(|exceptions| exceptions.pending.vector = 0x1100));
        assert!(!event(|exceptions| exceptions.pending.vector = 0x1020));
        assert!(!event(|exceptions| exceptions.pending.vector = 3));
        assert!(!event(|exceptions| exceptions.enabled = 2));
    }

    #[test]
    fn little_is_asked_for_little() {
        assert_eq!(NativeState::size(Groups::GENERAL), 128);
        assert_eq!(NativeState::size(Groups::GENERAL | Groups::INSTRUCTION), 192);
        assert_eq!(NativeState::size(Groups::EVENT), 288);
        assert_eq!(NativeState::size(Groups::DEBUG | Groups::EVENT), 336);
        assert_eq!(NativeState::size(Groups::SYSCALL), 360);
        assert_eq!(NativeState::size(NativeState::GROUPS), 1384);
    }
}
