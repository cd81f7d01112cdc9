//! The `SYSCALL` instruction: every call of the [low-level API](crate::api) as one function.
//!
//! Functions are `unsafe` where the call can change what the caller's own memory holds or maps, or runs code in it;
//! [`libnest`](crate::libnest) wraps those in handles that make it impossible. The others can at worst end the
//! program: misuse is an exception, never undefined behaviour.
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use crate::api::{
    Call, MappingState, MessageKind, MutexState, NativeState, ObjectType, ReferenceRights, RegionState, Rights, Run,
    Sensitivity, SpaceKind, SpaceState, Status, WITH_REFERENCE,
};
use crate::policy;
use crate::scheduling::TimeSource;
use crate::virtual_cpu::{Groups, VirtualCpuState};

/// What a call returns: `Err` with every [`Status`] but `Ok`.
pub type Result<T> = core::result::Result<T, Status>;
/// A message: eight words.
pub type Message = [u64; crate::exception::MESSAGE_WORDS];

/// Registers after a call.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// RAX: a [`Status`].
    pub status: u64,
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
}

impl Returned {
    #[inline(always)]
    fn ok(self) -> Result<Self> {
        check(self.status).map(|()| self)
    }
}

#[inline(always)]
fn check(status: u64) -> Result<()> {
    if status == Status::Ok as u64 { Ok(()) } else { Err(decode(status)) }
}

#[cold]
fn decode(status: u64) -> Status {
    try_transmute!(status).unwrap_or(Status::Unsupported)
}

/// Makes call `call` with up to five arguments (RDI, RSI, RDX, R10, R8).
///
/// # Safety
/// The call must not touch memory that Rust code relies on: see the documentation of the [`Call`].
#[inline(always)]
pub unsafe fn raw(call: u64, arguments: [u64; 5]) -> Returned {
    let (mut status, mut rdi, mut rsi, mut rdx) = (call, arguments[0], arguments[1], arguments[2]);
    // SAFETY: the API keeps all registers but those named, and uses no stack of the caller; what the call itself does is
    // the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") rdi,
            inout("rsi") rsi,
            inout("rdx") rdx,
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Returned { status, rdi, rsi, rdx }
}

/// [`raw`] for calls that only work on objects.
#[inline(always)]
fn on_objects(call: Call, arguments: [u64; 5]) -> Returned {
    // SAFETY: every caller in this module passes a call that neither maps nor writes the caller's memory, but for lock
    // words, which are shared with the kernel for as long as their Mutexes exist, nor runs code in it.
    unsafe { raw(call as u64, arguments) }
}

macro_rules! one_object {
    ($($(#[$doc:meta])* $name:ident = $call:ident, $message:literal;)*) => {$(
        #[doc = $message]
        #[inline]
        pub fn $name(object: u64) -> Result<()> {
            on_objects(Call::$call, [object, 0, 0, 0, 0]).ok().map(|_| ())
        }
    )*};
}

one_object! {
    mutex_destroy = MutexDestroy, "[`Call::MutexDestroy`].";
    mutex_trylock = MutexTrylock, "[`Call::MutexTrylock`].";
    mutex_unlock = MutexUnlock, "[`Call::MutexUnlock`].";
    cond_create = CondCreate, "[`Call::CondCreate`].";
    cond_destroy = CondDestroy, "[`Call::CondDestroy`].";
    cond_signal = CondSignal, "[`Call::CondSignal`].";
    cond_broadcast = CondBroadcast, "[`Call::CondBroadcast`].";
    mapping_create = MappingCreate, "[`Call::MappingCreate`].";
    mapping_destroy = MappingDestroy, "[`Call::MappingDestroy`]. What came through it must no longer be in use: an access afterwards is an exception.";
    region_create = RegionCreate, "[`Call::RegionCreate`].";
    region_destroy = RegionDestroy, "[`Call::RegionDestroy`].";
    port_create = PortCreate, "[`Call::PortCreate`].";
    port_destroy = PortDestroy, "[`Call::PortDestroy`].";
    portset_create = PortsetCreate, "[`Call::PortsetCreate`].";
    portset_destroy = PortsetDestroy, "[`Call::PortsetDestroy`].";
    space_destroy = SpaceDestroy, "[`Call::SpaceDestroy`].";
    thread_create = ThreadCreate, "[`Call::ThreadCreate`].";
    thread_destroy = ThreadDestroy, "[`Call::ThreadDestroy`].";
    reference_create = ReferenceCreate, "[`Call::ReferenceCreate`].";
    reference_destroy = ReferenceDestroy, "[`Call::ReferenceDestroy`].";
    reference_revoke = ReferenceRevoke, "[`Call::ReferenceRevoke`].";
}

macro_rules! two_addresses {
    ($($name:ident = $call:ident, $message:literal;)*) => {$(
        #[doc = $message]
        #[inline]
        pub fn $name(object: u64, reference: u64) -> Result<()> {
            on_objects(Call::$call, [object, reference, 0, 0, 0]).ok().map(|_| ())
        }
    )*};
}

two_addresses! {
    cond_move = CondMove, "[`Call::CondMove`].";
    mapping_move = MappingMove, "[`Call::MappingMove`].";
    region_move = RegionMove, "[`Call::RegionMove`].";
    port_move = PortMove, "[`Call::PortMove`].";
    portset_move = PortsetMove, "[`Call::PortsetMove`].";
    space_move = SpaceMove, "[`Call::SpaceMove`].";
    thread_move = ThreadMove, "[`Call::ThreadMove`].";
    reference_move = ReferenceMove, "[`Call::ReferenceMove`].";
    mutex_reference = MutexReference, "[`Call::MutexReference`].";
    cond_reference = CondReference, "[`Call::CondReference`].";
    mapping_reference = MappingReference, "[`Call::MappingReference`].";
    region_reference = RegionReference, "[`Call::RegionReference`].";
    port_reference = PortReference, "[`Call::PortReference`].";
    portset_reference = PortsetReference, "[`Call::PortsetReference`].";
    space_reference = SpaceReference, "[`Call::SpaceReference`].";
    thread_reference = ThreadReference, "[`Call::ThreadReference`].";
    reference_copy = ReferenceCopy, "[`Call::ReferenceCopy`]: from the first to the second.";
    reference_grant = ReferenceGrant, "[`Call::ReferenceGrant`]: from the first to the second.";
    space_set_keeper = SpaceSetState, "[`Call::SpaceSetState`]: the keeper.";
}

/// [`Call::MutexCreate`].
///
/// # Safety
/// Rust code must not rely on the first eight bytes at the address, but as an atomic word.
#[inline]
pub unsafe fn mutex_create(mutex: u64) -> Result<()> {
    on_objects(Call::MutexCreate, [mutex, 0, 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::MutexMove`].
///
/// # Safety
/// As for [`mutex_create`], at the new address; nobody must use the Mutex meanwhile.
#[inline]
pub unsafe fn mutex_move(mutex: u64, new: u64) -> Result<()> {
    on_objects(Call::MutexMove, [mutex, new, 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::MutexGetState`].
#[inline]
pub fn mutex_get_state(mutex: u64) -> Result<MutexState> {
    let mut state = MutexState::default();
    // SAFETY: the call writes one MutexState to `state`, which is exclusively ours.
    unsafe { raw(Call::MutexGetState as u64, [mutex, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::MutexSetState`].
#[inline]
pub fn mutex_set_state(mutex: u64, state: &MutexState) -> Result<()> {
    on_objects(Call::MutexSetState, [mutex, address(state), 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::MutexLock`]; a `deadline` of 0 waits for ever.
#[inline]
pub fn mutex_lock(mutex: u64, deadline: u64) -> Result<()> {
    on_objects(Call::MutexLock, [mutex, deadline, 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::CondWait`]; a `deadline` of 0 sleeps for ever.
#[inline]
pub fn cond_wait(cond: u64, mutex: u64, deadline: u64) -> Result<()> {
    on_objects(Call::CondWait, [cond, mutex, deadline, 0, 0]).ok().map(|_| ())
}

/// [`Call::MappingGetState`]; References of 0 are not asked for.
#[inline]
pub fn mapping_get_state(mapping: u64, region: u64, space: u64) -> Result<MappingState> {
    let mut state = MappingState::default();
    // SAFETY: the call writes one MappingState to `state`, which is exclusively ours.
    unsafe { raw(Call::MappingGetState as u64, [mapping, address_mut(&mut state), region, space, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::RegionGetState`]; References of 0 are not asked for.
#[inline]
pub fn region_get_state(region: u64, space: u64, keeper: u64) -> Result<RegionState> {
    let mut state = RegionState::default();
    // SAFETY: the call writes one RegionState to `state`, which is exclusively ours.
    unsafe { raw(Call::RegionGetState as u64, [region, address_mut(&mut state), space, keeper, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::PortGetState`]: the alias; a `portset` Reference of 0 is not asked for.
#[inline]
pub fn port_get_state(port: u64, portset: u64) -> Result<u64> {
    on_objects(Call::PortGetState, [port, 0, portset, 0, 0]).ok().map(|returned| returned.rsi)
}

/// [`Call::MappingSetState`].
///
/// # Safety
/// The Space of the Mapping must not be the caller's own, or nothing in it may depend on what the Mapping covers.
#[inline]
pub unsafe fn mapping_set_state(mapping: u64, state: &MappingState, region: u64, space: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::MappingSetState as u64, [mapping, address(state), region, space, 0]) }.ok().map(|_| ())
}

/// [`Call::RegionSetState`].
///
/// # Safety
/// Memory that the Region exports with the right to write must be memory of which Rust holds no references.
#[inline]
pub unsafe fn region_set_state(region: u64, state: &RegionState, space: u64, keeper: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::RegionSetState as u64, [region, address(state), space, keeper, 0]) }.ok().map(|_| ())
}

/// [`Call::RegionProtect`].
#[inline]
pub fn region_protect(region: u64, rights: Rights) -> Result<()> {
    on_objects(Call::RegionProtect, [region, rights.bits(), 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::RegionSearch`]: offset and type of the first object at or after `offset`, `None` if there is none.
#[inline]
pub fn region_search(region: u64, offset: u64) -> Result<Option<(u64, ObjectType)>> {
    match on_objects(Call::RegionSearch, [region, offset, 0, 0, 0]).ok() {
        Ok(returned) => Ok(object_type(returned.rdx).map(|kind| (returned.rsi, kind))),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

/// [`Call::PortSetState`]; a `portset` of 0 leaves the Portset as it is.
#[inline]
pub fn port_set_state(port: u64, alias: u64, portset: u64) -> Result<()> {
    on_objects(Call::PortSetState, [port, alias, portset, 0, 0]).ok().map(|_| ())
}

/// [`Call::PortSetState`]; `tells` says whether the server is told when the last Reference goes.
#[inline]
pub fn port_set_state_telling(port: u64, alias: u64, portset: u64, tells: bool) -> Result<()> {
    on_objects(Call::PortSetState, [port, alias, portset, if tells { 1 } else { 2 }, 0]).ok().map(|_| ())
}

/// [`Call::SpaceCreate`].
#[inline]
pub fn space_create(space: u64, kind: SpaceKind, allowance: u64) -> Result<()> {
    on_objects(Call::SpaceCreate, [space, kind as u64, allowance, 0, 0]).ok().map(|_| ())
}

/// [`Call::SpaceSetState`]: how many ticks its threads wait for a keeper's reply.
#[inline]
pub fn space_set_patience(space: u64, ticks: u64) -> Result<()> {
    on_objects(Call::SpaceSetState, [space, 0, ticks, 0, 0]).ok().map(|_| ())
}

/// [`Call::SpaceGetState`] without the simple state: points the Reference `keeper` at the keeper, and returns for how
/// many ticks its threads wait for a keeper's reply, 0 if that was never set.
#[inline]
pub fn space_get_keeper(space: u64, keeper: u64) -> Result<u64> {
    on_objects(Call::SpaceGetState, [space, 0, keeper, 0, 0]).ok().map(|returned| returned.rdx)
}

/// [`Call::SpaceGetState`] without the keeper.
#[inline]
pub fn space_get_state(space: u64) -> Result<SpaceState> {
    let mut state = SpaceState::default();
    // SAFETY: the call writes one SpaceState to `state`, which is exclusively ours.
    unsafe { raw(Call::SpaceGetState as u64, [space, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

macro_rules! set_policy {
    ($($name:ident, $kind:ident, $entry:ident;)*) => {$(
        #[doc = concat!("[`Call::SpaceSetPolicy`] of kind [`", stringify!($kind), "`](policy::Kind::", stringify!($kind), ").")]
        #[inline]
        pub fn $name(space: u64, entries: &[policy::$entry]) -> Result<()> {
            let list = entries.as_ptr() as u64;
            on_objects(Call::SpaceSetPolicy, [space, policy::Kind::$kind as u64, list, entries.len() as u64, 0])
                .ok()
                .map(|_| ())
        }
    )*};
}

set_policy! {
    space_set_policy_cpuid, Cpuid, CpuidEntry;
    space_set_policy_msr, Msr, MsrEntry;
    space_set_policy_controls, Controls, Controls;
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

/// [`Call::ReferenceCheck`]: what the Reference links to.
#[inline]
pub fn reference_check(reference: u64) -> Result<Option<ObjectType>> {
    on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok().map(|returned| object_type(returned.rsi))
}

/// [`Call::ReferenceCheck`]: the rights of the Reference.
#[inline]
pub fn reference_rights(reference: u64) -> Result<ReferenceRights> {
    let returned = on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok()?;
    Ok(ReferenceRights::from_bits_truncate(returned.rdx))
}

/// [`Call::ReferenceRestrict`]: from the first to the second; a `badge` of 0 leaves the badge as it is.
#[inline]
pub fn reference_restrict(from: u64, to: u64, rights: ReferenceRights, badge: u64) -> Result<()> {
    on_objects(Call::ReferenceRestrict, [from, to, rights.bits(), badge, 0]).ok().map(|_| ())
}

/// [`Call::IpcCall`]: sends `message` to the Port of the Reference and waits for the reply, which replaces it.
#[inline]
pub fn ipc_call(reference: u64, message: &mut Message) -> Result<()> {
    let mut status = Call::IpcCall as u64;
    let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7] = *message;
    // SAFETY: the call changes RAX, RCX, R11 and the eight words only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rdi") reference,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            inout("r8") w3,
            inout("r9") w4,
            inout("r12") w5,
            inout("r13") w6,
            inout("r14") w7,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    *message = [w0, w1, w2, w3, w4, w5, w6, w7];
    check(status)
}

/// [`Call::IpcSend`].
#[inline]
pub fn ipc_send(reference: u64, bits: u64) -> Result<()> {
    on_objects(Call::IpcSend, [reference, bits, 0, 0, 0]).ok().map(|_| ())
}

/// [`Call::IpcReply`].
#[inline]
pub fn ipc_reply(message: &Message) -> Result<()> {
    let mut status = Call::IpcReply as u64;
    // SAFETY: the call changes RAX, RCX and R11 only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rsi") message[0],
            in("rdx") message[1],
            in("r10") message[2],
            in("r8") message[3],
            in("r9") message[4],
            in("r12") message[5],
            in("r13") message[6],
            in("r14") message[7],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)
}

/// A message as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The badge of the Reference that it came through, or else the alias of the Port.
    pub alias: u64,
    /// What it is.
    pub kind: MessageKind,
    /// Whether a Reference came with it.
    pub with_reference: bool,
    /// The eight words.
    pub words: Message,
}

/// [`Call::IpcWaitReceive`]; a `deadline` of 0 waits for ever.
#[inline]
pub fn ipc_wait_receive(portset: u64, deadline: u64) -> Result<Received> {
    receive(Call::IpcWaitReceive, portset, deadline, &[0; 8])
}

/// [`Call::IpcWaitReceiveWithReference`]; a `taking` of 0 takes no Reference.
#[inline]
pub fn ipc_wait_receive_with_reference(portset: u64, deadline: u64, taking: u64) -> Result<Received> {
    exchange(Call::IpcWaitReceiveWithReference, portset, deadline, &[0; 8], [0, taking]).and_then(received)
}

/// [`Call::IpcReplyWaitReceiveWithReference`]: sends Reference `sent` with the reply, takes one to `taking`; 0 is none.
#[inline]
pub fn ipc_reply_wait_receive_with_reference(
    portset: u64,
    deadline: u64,
    reply: &Message,
    sent: u64,
    taking: u64,
) -> Result<Received> {
    exchange(Call::IpcReplyWaitReceiveWithReference, portset, deadline, reply, [sent, taking]).and_then(received)
}

/// [`Call::IpcReplyWithReference`]: sends Reference `sent`; 0 is none.
#[inline]
pub fn ipc_reply_with_reference(message: &Message, sent: u64) -> Result<()> {
    exchange(Call::IpcReplyWithReference, 0, 0, message, [sent, 0]).map(|_| ())
}

/// [`Call::IpcCallWithReference`]: sends Reference `sent` along, takes one to `taking`; 0 is none. Returns whether one came.
#[inline]
pub fn ipc_call_with_reference(reference: u64, message: &mut Message, sent: u64, taking: u64) -> Result<bool> {
    let (_, r15, words) = exchange(Call::IpcCallWithReference, reference, 0, message, [sent, taking])?;
    *message = words;
    Ok(r15 & WITH_REFERENCE != 0)
}

fn received((alias, r15, words): (u64, u64, Message)) -> Result<Received> {
    let kind = try_transmute!(r15 & !WITH_REFERENCE).unwrap_or(MessageKind::Notification);
    Ok(Received { alias, kind, with_reference: r15 & WITH_REFERENCE != 0, words })
}

/// A call that sends and takes a Reference. Returns RDI, R15 and the words.
fn exchange(
    call: Call,
    rdi: u64,
    r15: u64,
    message: &Message,
    [sent, taking]: [u64; 2],
) -> Result<(u64, u64, Message)> {
    let mut registers = [call as u64, rdi, r15, sent, taking];
    let mut words = *message;
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory. RBX and RBP, which the
    // compiler keeps for itself, are restored. `registers` and `words` are exclusively ours, and R11 and RCX hold their
    // addresses: they are on the stack meanwhile.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push r11",
            "push rcx",
            "mov rax, [r11]",
            "mov rdi, [r11 + 8]",
            "mov r15, [r11 + 16]",
            "mov rbx, [r11 + 24]",
            "mov rbp, [r11 + 32]",
            "mov rsi, [rcx]",
            "mov rdx, [rcx + 8]",
            "mov r10, [rcx + 16]",
            "mov r8, [rcx + 24]",
            "mov r9, [rcx + 32]",
            "mov r12, [rcx + 40]",
            "mov r13, [rcx + 48]",
            "mov r14, [rcx + 56]",
            "syscall",
            "pop rcx",
            "mov [rcx], rsi",
            "mov [rcx + 8], rdx",
            "mov [rcx + 16], r10",
            "mov [rcx + 24], r8",
            "mov [rcx + 32], r9",
            "mov [rcx + 40], r12",
            "mov [rcx + 48], r13",
            "mov [rcx + 56], r14",
            "pop r11",
            "mov [r11], rax",
            "mov [r11 + 8], rdi",
            "mov [r11 + 16], r15",
            "pop rbp",
            "pop rbx",
            inout("r11") registers.as_mut_ptr() => _,
            inout("rcx") words.as_mut_ptr() => _,
            out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    check(registers[0])?;
    Ok((registers[1], registers[2], words))
}

/// [`Call::IpcReplyWaitReceive`]; a `deadline` of 0 waits for ever.
#[inline]
pub fn ipc_reply_wait_receive(portset: u64, deadline: u64, reply: &Message) -> Result<Received> {
    receive(Call::IpcReplyWaitReceive, portset, deadline, reply)
}

#[inline(always)]
fn receive(call: Call, portset: u64, deadline: u64, reply: &Message) -> Result<Received> {
    let mut status = call as u64;
    let (alias, kind): (u64, u64);
    let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7] = *reply;
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") portset => alias,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            inout("r8") w3,
            inout("r9") w4,
            inout("r12") w5,
            inout("r13") w6,
            inout("r14") w7,
            inout("r15") deadline => kind,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)?;
    let kind = try_transmute!(kind).unwrap_or(MessageKind::Notification);
    Ok(Received { alias, kind, with_reference: false, words: [w0, w1, w2, w3, w4, w5, w6, w7] })
}

/// How [`Call::ThreadSchedule`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// A message was received.
    Message(Received),
    /// The donation ended, or there was none.
    Ended {
        /// Why.
        status: Status,
        /// The word of the thread that had the time last.
        value: u64,
        /// For how many ticks that has had donated time in all.
        used: u64,
    },
}

/// [`Call::ThreadSchedule`]: donates to `thread` until `deadline` (0: no limit), until what `sensitivity` says, and until there is a message at
/// `portset` (0: none).
#[inline]
pub fn thread_schedule(thread: u64, deadline: u64, sensitivity: Sensitivity, portset: u64) -> Scheduled {
    let mut status = Call::ThreadSchedule as u64;
    let (alias, kind): (u64, u64);
    let (mut w0, mut w1, mut w2) = (deadline, sensitivity as u64, portset);
    let (w3, w4, w5, w6, w7): (u64, u64, u64, u64, u64);
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory; what the thread does on the time it could do on
    // its own.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") thread => alias,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            lateout("r8") w3,
            lateout("r9") w4,
            lateout("r12") w5,
            lateout("r13") w6,
            lateout("r14") w7,
            lateout("r15") kind,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match check(status) {
        Ok(()) => {
            let kind = try_transmute!(kind).unwrap_or(MessageKind::Notification);
            Scheduled::Message(Received { alias, kind, with_reference: false, words: [w0, w1, w2, w3, w4, w5, w6, w7] })
        }
        Err(status) => Scheduled::Ended { status, value: w0, used: w1 },
    }
}

/// [`Call::ThreadSchedule`] of no thread: gives the caller's own time back.
#[inline]
pub fn thread_yield() {
    on_objects(Call::ThreadSchedule, [0; 5]);
}

/// [`Call::ThreadSetScheduler`]; with 0 for `scheduler` the thread has donated time only.
#[inline]
pub fn thread_set_scheduler(thread: u64, scheduler: u64, value: u64) -> Result<()> {
    on_objects(Call::ThreadSetScheduler, [thread, scheduler, value, 0, 0]).ok().map(|_| ())
}

/// [`Call::ThreadGetScheduler`]: where the thread has its time from, the word by which its scheduler knows it, and for how many ticks it has
/// had donated time. Points Reference `scheduler` (0: none) at the Port.
#[inline]
pub fn thread_get_scheduler(thread: u64, scheduler: u64) -> Result<(TimeSource, u64, u64)> {
    let returned = on_objects(Call::ThreadGetScheduler, [thread, scheduler, 0, 0, 0]).ok()?;
    let source = returned.rdi;
    Ok((try_transmute!(source).unwrap_or(TimeSource::Donated), returned.rsi, returned.rdx))
}

fn object_type(number: u64) -> Option<ObjectType> {
    try_transmute!(number).ok()
}

fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

fn address_mut<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_types_are_decoded() {
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(4), Err(Status::TimedOut));
        assert_eq!(check(99), Err(Status::Unsupported), "unknown numbers must not become undefined values");
        assert_eq!(object_type(5), Some(ObjectType::Port));
        assert_eq!(object_type(0), None);
    }
}
