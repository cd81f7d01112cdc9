//! Calls on Threads.
#![allow(unsafe_code)]

use core::arch::asm;

use super::{Result, address, address_mut, check, done, on_objects, raw};
use crate::api::{Call, NativeState, Run};
use crate::virtual_cpu::{Groups, VirtualCpuState};

/// [`Call::ThreadCreate`].
#[inline]
pub fn thread_create(thread: u64) -> Result<()> {
    done(Call::ThreadCreate, [thread, 0, 0, 0, 0])
}

/// [`Call::ThreadDestroy`].
#[inline]
pub fn thread_destroy(thread: u64) -> Result<()> {
    done(Call::ThreadDestroy, [thread, 0, 0, 0, 0])
}

/// [`Call::ThreadMove`].
#[inline]
pub fn thread_move(thread: u64, new: u64) -> Result<()> {
    done(Call::ThreadMove, [thread, new, 0, 0, 0])
}

/// [`Call::ThreadReference`].
#[inline]
pub fn thread_reference(thread: u64, reference: u64) -> Result<()> {
    done(Call::ThreadReference, [thread, reference, 0, 0, 0])
}

/// [`Call::ThreadGetState`] of the links alone: stops the thread, points the Reference `space` at its Space, and
/// returns the address by which it knows its own object.
#[inline]
pub fn thread_get_links(thread: u64, space: u64) -> Result<u64> {
    on_objects(Call::ThreadGetState, [thread, 0, 0, space, 0]).ok().map(|returned| returned.rdx)
}

/// [`Call::ThreadGetState`] of a thread in a native Space: fills in `groups` of `state`.
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

/// [`Call::ThreadGetState`] of a thread in a machine Space: fills in `groups` of `state`. For a thread in a native
/// Space it fills in the [`NativeState`], which is smaller, instead.
#[inline]
pub fn thread_get_virtual_cpu(thread: u64, state: &mut VirtualCpuState, groups: Groups) -> Result<()> {
    // SAFETY: the call writes at most one VirtualCpuState to `state`; all bytes are valid for it.
    unsafe { raw(Call::ThreadGetState as u64, [thread, address_mut(state), groups.bits(), 0, 0]) }.ok().map(|_| ())
}

/// [`Call::ThreadSetState`] of nothing but the address by which the thread knows its own object.
#[inline]
pub fn thread_set_self(thread: u64, address: u64) -> Result<()> {
    // SAFETY: neither state nor Space change.
    unsafe { thread_set(thread, 0, 0, 0, Run::Unchanged, address) }
}

/// [`Call::ThreadSetState`] with all arguments: the only call with six.
///
/// # Safety
/// As for the functions that use this.
#[inline]
unsafe fn thread_set(thread: u64, state: u64, groups: u64, space: u64, run: Run, own: u64) -> Result<()> {
    let mut status = Call::ThreadSetState as u64;
    // SAFETY: the call changes RAX, RCX and R11 only; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rdi") thread,
            in("rsi") state,
            in("rdx") groups,
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

/// [`Call::ThreadSetState`] of a thread in a native Space: sets `groups`; a `space` of 0 leaves the Space as it is.
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
    unsafe { thread_set(thread, state, groups.bits(), space, run, 0) }
}

/// [`Call::ThreadSetState`] of a thread in a machine Space: sets `groups`; a `space` of 0 leaves the Space as it is.
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
    unsafe { thread_set(thread, state, groups.bits(), space, run, 0) }
}

/// [`Call::ThreadInterrupt`]: returns the vector that was posted earlier and not delivered, 0 if there was none.
#[inline]
pub fn thread_interrupt(thread: u64, vector: u8) -> Result<u64> {
    on_objects(Call::ThreadInterrupt, [thread, u64::from(vector), 0, 0, 0]).ok().map(|returned| returned.rsi)
}

/// [`Call::ThreadSelf`].
#[inline]
pub fn thread_self() -> u64 {
    on_objects(Call::ThreadSelf, [0; 5]).rdi
}
