//! Threads: ring-3 registers in a native [Space](super::space), a virtual CPU in a machine's. Programs use
//! [`libnest::Thread`](crate::libnest::Thread).
//!
//! A thread can be stopped at any moment, whatever it waits for. Its state then is all of it: the registers say as a call about to be made
//! what it waited for. Who has the CPU is said in [`scheduling`](crate::scheduling), what becomes of exceptions in
//! [`exception`](crate::exception) and [`native_thread`](crate::native_thread).
#![allow(unsafe_code)]

use core::arch::asm;

use super::{Result, address, address_mut, check, done, on_objects, raw};
use crate::api::{Call, NativeState, Run};
use crate::native_thread::{Redirection, Saved};
use crate::virtual_cpu::{Groups, VirtualCpuState};
#[cfg(doc)]
use crate::{
    api::{ReferenceRights, Status},
    exception::Misuse,
};

create!(
    ThreadCreate,
    thread_create(thread),
    "thread_create",
    "Thread",
    "It is stopped, in no Space, and knows itself by the address at which it was created, once it is in the caller's Space. It has time \
     from the root if its creator has, else [donated](crate::scheduling) time only."
);

destroy!(
    ThreadDestroy,
    thread_destroy(thread),
    "thread_destroy",
    "Thread",
    "It must not be the caller: that is [`CurrentThread`](Misuse::CurrentThread). Whatever it waits for, it is gone; the peers on its connections \
     are alerted and disconnected, the client that it works for ends its call with `InvalidDestination`, and who donates to it is told \
     `NotFound`. Mutexes that it owns stay locked.",
    "Constant, but for a virtual CPU, whose frames are taken back from the monitor."
);

relocate!(
    ThreadMove,
    thread_move(thread),
    "thread_move",
    "Thread",
    "The address by which it knows itself follows, if that was in the caller's Space; else it knows none until [`thread_set_state`] says more. A \
     thread that owns a Mutex should not be moved: the lock word names it by its old address."
);

refer!(
    ThreadReference,
    thread_reference(thread),
    "thread_reference",
    "Thread",
    "No call takes it yet: it shares nothing by itself."
);

/// Stops a thread and says what its state is: all of it, or some groups.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadGetState`](Call::ThreadGetState) | |
/// | `rdi` | the Thread, not the caller | read |
/// | `rsi` | where its [`NativeState`] goes, or the [`VirtualCpuState`] of a thread in a machine Space; 0: it is not asked for | write |
/// | `rdx` | the [`Groups`] that are filled in | |
/// | `r10` | a Reference to be pointed at its Space; 0: that is not asked for | write |
/// | `r8` | a Reference to be pointed at what it waited for; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdx` returns the address by which it knows its own object, 0 if it knows none
///
#[doc = misuse!(
    "; [`CurrentThread`](Misuse::CurrentThread): it is the caller; [`BadArgument`](Misuse::BadArgument): there are no such groups"
)]
/// # Effects
///
/// The thread is stopped at once, and stays stopped until [`thread_set_state`] lets it go on. If it waited in a call, it is about to make
/// it; if it slept in a Cond, it is about to call [`mutex_lock`](super::mutex_lock); if it waited for a keeper, it meets its exception again.
/// A thread that waits for the caller's own reply to an exception or a VM exit goes on waiting for that: it can do nothing before.
///
/// What it waited for is linked without any rights: the Portset of a server, the Port of a caller, the Thread that works on its call or that
/// it donates to, a Mutex, a Cond.
///
/// # Restart
///
/// Never waits. Where the caller's own memory has to be asked for first, the call is made again from the start; the thread is stopped by
/// then.
///
/// # Cost
///
/// Constant, for each group. Groups of a virtual CPU that the processor has are read by the monitor.
///
/// # Safety
///
/// At `state` there is room for the state, to which nobody else refers.
///
#[doc = example!("thread_get_state")]
#[inline]
pub unsafe fn thread_get_state(thread: u64, state: u64, groups: Groups, space: u64, waited_for: u64) -> Result<u64> {
    // SAFETY: the caller's promise.
    unsafe { raw(Call::ThreadGetState as u64, [thread, state, groups.bits(), space, waited_for]) }
        .ok()
        .map(|returned| returned.rdx)
}

/// [`thread_get_state`] of the links alone: stops the thread, points the Reference `space` at its Space, and
/// returns the address by which it knows its own object.
#[inline]
pub fn thread_get_links(thread: u64, space: u64) -> Result<u64> {
    on_objects(Call::ThreadGetState, [thread, 0, 0, space, 0]).ok().map(|returned| returned.rdx)
}

/// [`thread_get_state`] of a thread in a native Space: fills in `groups` of `state`.
///
/// # Safety
/// The thread must be in no machine Space: the state of a virtual CPU is larger.
#[inline]
pub unsafe fn thread_get_native_state(thread: u64, state: &mut NativeState, groups: Groups) -> Result<()> {
    // SAFETY: the call writes one NativeState (the caller's promise) to `state`.
    unsafe { raw(Call::ThreadGetState as u64, [thread, address_mut(state), groups.bits(), 0, 0]) }.ok().map(|_| ())
}

/// [`thread_get_native_state`] that points a Reference at what the thread waited for.
///
/// # Safety
/// As there.
#[inline]
pub unsafe fn thread_get_waiting_state(
    thread: u64,
    state: &mut NativeState,
    groups: Groups,
    waited_for: u64,
) -> Result<()> {
    // SAFETY: the call writes one NativeState (the caller's promise) to `state`.
    unsafe { raw(Call::ThreadGetState as u64, [thread, address_mut(state), groups.bits(), 0, waited_for]) }
        .ok()
        .map(|_| ())
}

/// [`thread_get_state`] of a thread in a machine Space: fills in `groups` of `state`. For a thread in a native
/// Space it fills in the [`NativeState`], which is smaller, instead.
#[inline]
pub fn thread_get_virtual_cpu(thread: u64, state: &mut VirtualCpuState, groups: Groups) -> Result<()> {
    // SAFETY: the call writes at most one VirtualCpuState to `state`; all bytes are valid for it.
    unsafe { raw(Call::ThreadGetState as u64, [thread, address_mut(state), groups.bits(), 0, 0]) }.ok().map(|_| ())
}

/// [`thread_set_state`] of nothing but the address by which the thread knows its own object.
#[inline]
pub fn thread_set_self(thread: u64, address: u64) -> Result<()> {
    // SAFETY: neither state nor Space change.
    unsafe { thread_set_state(thread, 0, Groups::empty(), 0, Run::Unchanged, address) }
}

/// Sets the state of a thread, puts it into a Space, lets it go on or stops it.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadSetState`](Call::ThreadSetState) | |
/// | `rdi` | the Thread, not the caller | write |
/// | `rsi` | its [`NativeState`], or the [`VirtualCpuState`] of a thread in a machine Space; 0: as it is | read |
/// | `rdx` | the [`Groups`] that are set of it | |
/// | `r10` | a Reference to its Space, right [`RUN`](ReferenceRights::RUN); 0: as it is | read |
/// | `r8` | a [`Run`] | |
/// | `r9` | the address by which it knows its own object, a multiple of [`OBJECT_SIZE`](crate::api::OBJECT_SIZE), in the Space that it is in then; 0: as before | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NoMemory`](Status::NoMemory): there is no memory for a virtual CPU; the thread is in no Space
/// * [`Refused`](Status::Refused): the state is one that no thread can have, or there are no such groups; none of it was set
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void; nothing was changed
///
#[doc = misuse!(
    ": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference); \
     [`CurrentThread`](Misuse::CurrentThread): it is the caller; [`BadArgument`](Misuse::BadArgument): there is no such [`Run`], or an address is \
     given to a thread that is in no Space"
)]
/// # Effects
///
/// In this order: a thread that goes to another Space is stopped, and loses what belonged to the old one; a thread of which state is set
/// leaves the call in which it waits; the groups are set; it runs or stops. The kernel does not check that the thread's object appears at the
/// address.
///
/// # Restart
///
/// Never waits. Where the caller's own memory has to be asked for first, the call is made again from the start; the thread is in its new Space
/// by then.
///
/// # Cost
///
/// Constant, for each group; a thread that enters a machine Space has a virtual CPU made.
///
/// # Safety
///
/// A thread in the caller's own Space must be set to run code that may run there, on its own stack.
///
#[doc = example!("thread_set_state")]
#[inline]
pub unsafe fn thread_set_state(thread: u64, state: u64, groups: Groups, space: u64, run: Run, own: u64) -> Result<()> {
    let mut status = Call::ThreadSetState as u64;
    // SAFETY: the call changes RAX, RCX and R11 only; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rdi") thread,
            in("rsi") state,
            in("rdx") groups.bits(),
            in("r10") space,
            in("r8") run as u64,
            in("r9") own,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)
}

/// [`thread_set_state`] of a thread in a native Space: sets `groups`; a `space` of 0 leaves the Space as it is.
///
/// # Safety
/// A thread in the caller's own Space must be set to run code that may run there, on its own stack.
#[inline]
pub unsafe fn thread_set_native_state(
    thread: u64,
    state: Option<&NativeState>,
    groups: Groups,
    space: u64,
    run: Run,
) -> Result<()> {
    let state = state.map_or(0, address);
    // SAFETY: the state is only read; the rest is the caller's promise.
    unsafe { thread_set_state(thread, state, groups, space, run, 0) }
}

/// [`thread_set_state`] of a thread in a machine Space: sets `groups`; a `space` of 0 leaves the Space as it is.
///
/// # Safety
/// The thread must not be in the caller's own Space.
#[inline]
pub unsafe fn thread_set_virtual_cpu(
    thread: u64,
    state: Option<&VirtualCpuState>,
    groups: Groups,
    space: u64,
    run: Run,
) -> Result<()> {
    let state = state.map_or(0, address);
    // SAFETY: the state is only read; the rest is the caller's promise.
    unsafe { thread_set_state(thread, state, groups, space, run, 0) }
}

/// Posts an interrupt to a thread; vector 0 withdraws it. Returns the vector that was posted earlier and not delivered, 0 if there was none.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadInterrupt`](Call::ThreadInterrupt) | |
/// | `rdi` | the Thread; the caller too | read |
/// | `rsi` | the vector: 16 to 255; 0 withdraws what was posted | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` returns the vector that was posted earlier and not delivered, 0 if there was none
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): no such vector")]
/// # Effects
///
/// One vector is posted at a time: it replaces the earlier one. To a virtual CPU it is delivered as soon as its guest accepts interrupts, and
/// wakes it from HLT. To a native thread it is delivered as soon as [exceptions are enabled](crate::native_thread::Exceptions) and there is a
/// handler; a thread that waits in a call is taken out of it then, and about to make it again when its handler returns.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_interrupt")]
#[inline]
pub fn thread_interrupt(thread: u64, vector: u8) -> Result<u64> {
    on_objects(Call::ThreadInterrupt, [thread, u64::from(vector), 0, 0, 0]).ok().map(|returned| returned.rsi)
}

/// Says by which address the calling thread knows its own object. The shortest call.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadSelf`](Call::ThreadSelf) |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` is where the thread was created, if that was in its own Space, or what [`thread_set_state`] has said; 0 if it knows
///   none
///
/// # Misuse
///
/// None.
///
/// # Effects
///
/// None.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_self")]
#[inline]
pub fn thread_self() -> u64 {
    on_objects(Call::ThreadSelf, [0; 5]).rdi
}

/// Enables or disables [exceptions](crate::native_thread::Exceptions) of the calling native thread. Returns whether they were enabled.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadSetExceptions`](Call::ThreadSetExceptions) |
/// | `rdi` | 1 to enable them, 0 to disable them |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` returns what they were
///
/// # Misuse
///
/// [`BadArgument`](Misuse::BadArgument): another value; [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// A posted interrupt is delivered as soon as they are enabled: its handler returns to behind this call.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_set_exceptions")]
#[inline]
pub fn thread_set_exceptions(enabled: bool) -> Result<bool> {
    on_objects(Call::ThreadSetExceptions, [enabled.into(), 0, 0, 0, 0]).ok().map(|returned| returned.rdi != 0)
}

/// Sets the [exception and interrupt handlers](crate::native_thread::Exceptions) of the calling native thread, 0 for none. Returns what they
/// were.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadSetHandlers`](Call::ThreadSetHandlers) |
/// | `rdi` | the address of the exception handler; 0: none |
/// | `rsi` | the address of the interrupt handler; 0: none |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` and `rsi` return what they were
/// * [`Refused`](Status::Refused): an address is not [one of ring 3](crate::native_thread::USER_END); nothing was changed
///
/// # Misuse
///
/// [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// Exceptions enter the handlers while they are [enabled](thread_set_exceptions). An interrupt that was posted is delivered when they are next
/// enabled, or the next is posted.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
/// # Safety
///
/// The handlers are code that can be entered at any instruction of the thread.
///
#[doc = example!("thread_set_handlers")]
#[inline]
pub unsafe fn thread_set_handlers(exception: u64, interrupt: u64) -> Result<(u64, u64)> {
    on_objects(Call::ThreadSetHandlers, [exception, interrupt, 0, 0, 0])
        .ok()
        .map(|returned| (returned.rdi, returned.rsi))
}

/// Goes on where a handler of the calling native thread was entered: the last instruction of a handler.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadReturnFromException`](Call::ThreadReturnFromException) |
///
/// # Results
///
/// It does not return.
///
/// # Misuse
///
/// [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// The thread goes on with the [saved registers](Saved), its other registers as they are, and exceptions enabled. A posted interrupt is delivered.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
/// # Safety
///
/// The saved registers and the others are together those of code that can go on.
///
#[doc = example!("thread_return_from_exception")]
#[inline]
pub unsafe fn thread_return_from_exception() -> ! {
    // SAFETY: the call goes on elsewhere, with what the caller promises.
    unsafe { asm!("syscall", in("rax") Call::ThreadReturnFromException as u64, options(noreturn)) }
}

/// Says what the [saved registers](Saved) of the calling native thread are: those that entering a handler replaced last.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadGetSaved`](Call::ThreadGetSaved) |
///
/// # Results
///
/// * [`Ok`](Status::Ok): RAX in `rdi`, RCX in `rsi`, RDX in `rdx`, RIP in `r10`, RFLAGS in `r8`
///
/// # Misuse
///
/// [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// None.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_get_saved")]
pub fn thread_get_saved() -> Result<Saved> {
    let mut status = Call::ThreadGetSaved as u64;
    let (rax, rcx, rdx, rip, rflags): (u64, u64, u64, u64, u64);
    // SAFETY: the call changes RAX, RCX, R11 and the five registers that it returns in, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            lateout("rdi") rax,
            lateout("rsi") rcx,
            lateout("rdx") rdx,
            lateout("r10") rip,
            lateout("r8") rflags,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)?;
    Ok(Saved { rax, rcx, rdx, rip, rflags })
}

/// Sets the [saved registers](Saved) of the calling native thread: where [`thread_return_from_exception`] goes on.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadSetSaved`](Call::ThreadSetSaved) |
/// | `rdi` | RAX |
/// | `rsi` | RCX |
/// | `rdx` | RDX |
/// | `r10` | RIP |
/// | `r8` | RFLAGS, of which those of [`FLAGS`](crate::native_thread::FLAGS) count |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Refused`](Status::Refused): RIP is not an address of [ring 3](crate::native_thread::USER_END); nothing was changed
///
/// # Misuse
///
/// [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// None before the handler returns.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
/// # Safety
///
/// As for [`thread_return_from_exception`], when the handler returns.
///
#[doc = example!("thread_set_saved")]
#[inline]
pub unsafe fn thread_set_saved(saved: &Saved) -> Result<()> {
    done(Call::ThreadSetSaved, [saved.rax, saved.rcx, saved.rdx, saved.rip, saved.rflags])
}

/// [Redirects](Redirection) the calling native thread's `SYSCALL` instructions, but for those in one stretch of its code.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ThreadRedirect`](Call::ThreadRedirect) |
/// | `rdi` | the first address of the code whose `SYSCALL` instructions are calls of the low-level API |
/// | `rsi` | the length of that code in bytes |
/// | `rdx` | where all others go; 0 for no redirection |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Refused`](Status::Refused): an address is not [one of ring 3](crate::native_thread::USER_END); nothing was changed
///
/// # Misuse
///
/// [`UnknownCall`](Misuse::UnknownCall): the caller is a virtual CPU.
///
/// # Effects
///
/// From the next `SYSCALL` on.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
/// # Safety
///
/// What calls the API lies in the stretch, and the handler serves everything else.
///
#[doc = example!("thread_redirect")]
#[inline]
pub unsafe fn thread_redirect(redirection: &Redirection) -> Result<()> {
    done(Call::ThreadRedirect, [redirection.start, redirection.length, redirection.handler, 0, 0])
}
