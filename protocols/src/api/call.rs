//! The calls and their numbers.

#[cfg(doc)]
use super::*;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The calls. Below, `space: rdi` means that the argument called *space* stands in RDI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Call {
    /// Creates a Mutex at `rdi`, free: its lock word, the first eight bytes of its memory, becomes 0. `Ok`, `NoMemory`.
    MutexCreate = 0x10,
    /// Destroys Mutex `rdi`, locked or not. Threads that wait for it end their call with `Destroyed`; the word stays
    /// but for the waiters' bit, so that an owner that unlocks it in ring 3 need not know.
    MutexDestroy = 0x11,
    /// Moves Mutex `rdi` to `rsi`, its lock word with it. Threads that wait for it go on waiting.
    MutexMove = 0x12,
    /// Points Reference `rsi` at Mutex `rdi`.
    MutexReference = 0x13,
    /// Writes the [`MutexState`] of Mutex `rdi` to `rsi` (0: nothing).
    MutexGetState = 0x14,
    /// Sets Mutex `rdi` from the [`MutexState`] at `rsi` (0: unchanged). An owner of 0 unlocks it: the first that waits
    /// gets it.
    MutexSetState = 0x15,
    /// Locks Mutex `rdi` for the calling thread, if need be after all who wait already.
    ///
    /// *Arguments*: `rdi` the Mutex, with the right to write; `rsi` the time stamp counter value until which it waits,
    /// 0 for ever; `rdx` what RAX returns once the thread has the Mutex, 0 (`Ok`) for all but the kernel itself, which
    /// makes a thread that sleeps in [`CondWait`](Self::CondWait) one that is about to make this call.
    ///
    /// *Results*: `rdx`; `TimedOut` (a Mutex that is free is locked however late it is); `Destroyed` (while the thread
    /// waited).
    ///
    /// *Effects*: the owner part of the [lock word](crate::lock_word) is the thread's own address, as
    /// [`ThreadSelf`](Self::ThreadSelf) returns it. The word is believed whatever it holds: who can write it can lock
    /// others out, and no more.
    ///
    /// *Misuse*: `AlreadyOwner`; `NoSelf` (the thread has no address of its own).
    ///
    /// *Restart*: waits; a thread that is stopped while it waits loses its turn and makes the call again when it goes
    /// on.
    MutexLock = 0x16,
    /// Locks Mutex `rdi` if it is free. Never waits. Rights, effects and misuse as those of
    /// [`MutexLock`](Self::MutexLock).
    ///
    /// *Results*: `Ok`, `Held` (another thread owns it).
    MutexTrylock = 0x17,
    /// Unlocks Mutex `rdi`, with the right to write: the first that waits owns it at once, else it is free. Never
    /// waits.
    ///
    /// *Results*: `Ok`. *Misuse*: `NotOwner` (the lock word does not name the calling thread), `NoSelf`.
    MutexUnlock = 0x18,

    /// Creates a Cond at `rdi`. `Ok`, `NoMemory`.
    CondCreate = 0x20,
    /// Destroys Cond `rdi`. Threads asleep in it lock their Mutexes again, then end their call with `Destroyed`.
    CondDestroy = 0x21,
    /// Moves Cond `rdi` to `rsi`. Threads asleep in it sleep on.
    CondMove = 0x22,
    /// Points Reference `rsi` at Cond `rdi`.
    CondReference = 0x23,
    /// Cond `rdi` has no state of its own: this checks that it exists.
    CondGetState = 0x24,
    /// Cond `rdi` has no state of its own: this checks that it exists.
    CondSetState = 0x25,
    /// Unlocks a Mutex and sleeps, in one, until somebody signals; locks the Mutex again before it returns.
    ///
    /// *Arguments*: `rdi` the Cond, `rsi` the Mutex, both with the right to write; `rdx` the time stamp counter value
    /// until which it sleeps, 0 for ever.
    ///
    /// *Results*, each with the Mutex locked but the last: `Ok` (signalled, or for no reason: look again at what the
    /// thread waits for); `TimedOut`; `Destroyed` (the Cond was destroyed, and the Mutex is locked, or the Mutex was).
    /// RDI, RSI and RDX are undefined.
    ///
    /// *Misuse*: `NotOwner` (of the Mutex), `NoSelf`.
    ///
    /// *Restart*: waits. From the moment that the Mutex is unlocked the thread's registers are those of a thread about
    /// to call [`MutexLock`](Self::MutexLock) without a deadline and, in `rdx`, with the result that this call has so
    /// far: `Ok`, then `TimedOut` or `Destroyed`. So a thread that is stopped while it sleeps locks the Mutex and
    /// returns when it goes on. If the deadline has passed already, it returns `TimedOut` without unlocking.
    CondWait = 0x26,
    /// Wakes the thread that has slept longest in Cond `rdi`, with the right to write. Never waits; nothing is
    /// remembered if nobody sleeps. The thread returns from [`CondWait`](Self::CondWait) when it has its Mutex: at once
    /// if that is free, else in its turn. `Ok`.
    CondSignal = 0x27,
    /// Wakes all threads asleep in Cond `rdi`, as [`CondSignal`](Self::CondSignal) wakes one. `Ok`.
    CondBroadcast = 0x28,

    /// Creates a Mapping at `rdi`, linked to nothing.
    /// `Ok`, `NoMemory`.
    MappingCreate = 0x30,
    /// Destroys the Mapping at `rdi`: what came through it is no longer accessible, at once.
    MappingDestroy = 0x31,
    /// Moves Mapping `rdi` to `rsi`.
    MappingMove = 0x32,
    /// Points Reference `rsi` at Mapping `rdi`.
    MappingReference = 0x33,
    /// Writes the [`MappingState`] of Mapping `rdi` to `rsi`, points Reference `rdx` at its Region and Reference `r10`
    /// at the Space it appears in (each 0: not asked for).
    MappingGetState = 0x34,
    /// Sets Mapping `rdi` from the [`MappingState`] at `rsi` (0: unchanged; it must have been set before), its Region
    /// from *reference* `rdx`, the Space it appears in from
    /// *reference* `r10` (right `MAP`). The Mapping has at most the memory rights of the Reference to its Region
    /// ([`ReferenceRights::memory`]), for as long as it shows that Region.
    /// `Ok`, `Overlap` (with another Mapping of the Space), `Circular` (the Space shows itself then), `NoMemory`,
    /// `InvalidDestination` (a Reference is void).
    MappingSetState = 0x35,

    /// Creates a Region at `rdi`, exporting nothing. `Ok`, `NoMemory`.
    RegionCreate = 0x40,
    /// Destroys Region `rdi`: what came through Mappings of it is no longer accessible, at once.
    RegionDestroy = 0x41,
    /// Moves Region `rdi` to `rsi`.
    RegionMove = 0x42,
    /// Points Reference `rsi` at Region `rdi`.
    RegionReference = 0x43,
    /// Writes the [`RegionState`] of Region `rdi` to `rsi`, points Reference `rdx` at the Space that it exports and
    /// Reference `r10` at its keeper Port (each 0: not asked for). `r8` returns how many References link to the Region.
    RegionGetState = 0x44,
    /// Sets Region `rdi` from the [`RegionState`] at `rsi` (0: unchanged; it must have been set before), the Space that
    /// it exports from *reference* `rdx` (0 at first: the caller's own Space; right `EXPORT`), the keeper Port from *reference*
    /// `r10` (right `CALL`). `Ok`, `Circular`, `InvalidDestination` (a Reference is void).
    RegionSetState = 0x45,
    /// Limits everything derived from Region `rdi` to [`Rights`] `rsi`, at once; relaxes the limit too.
    RegionProtect = 0x46,
    /// Finds the first object of the memory that Region `rdi` exports at or after offset `rsi`. `Ok`: `rsi` is its offset, `rdx` its
    /// [`ObjectType`]. `NotFound`: there is none. Continue at `rsi + OBJECT_SIZE`.
    RegionSearch = 0x47,

    /// Creates a Port at `rdi`, in no Portset. `Ok`, `NoMemory`.
    PortCreate = 0x50,
    /// Destroys Port `rdi`: present and future calls to it end with `InvalidDestination`.
    PortDestroy = 0x51,
    /// Moves Port `rdi` to `rsi`.
    PortMove = 0x52,
    /// Points Reference `rsi` at Port `rdi`.
    PortReference = 0x53,
    /// Returns the alias of Port `rdi` in `rsi`, and points Reference `rdx` at its Portset (0: not asked for). `rdx` returns 1 if
    /// its server is told when the last Reference goes, 0 if not; `r10` how many References link to the Port.
    PortGetState = 0x54,
    /// Sets the alias of Port `rdi` to `rsi` and its Portset from *reference* `rdx` (right `SERVE`). With 1 in `r10` the
    /// server is told from now on of every time that the last Reference to the Port goes ([`MessageKind::NoReferences`]),
    /// with 2 it is not, as at first; with 0 that stays as it is. `Ok`, `InvalidDestination` (the Reference is void).
    PortSetState = 0x55,

    /// Creates a Portset at `rdi`. `Ok`, `NoMemory`.
    PortsetCreate = 0x60,
    /// Destroys Portset `rdi`; its Ports remain, in no Portset.
    PortsetDestroy = 0x61,
    /// Moves Portset `rdi` to `rsi`.
    PortsetMove = 0x62,
    /// Points Reference `rsi` at Portset `rdi`.
    PortsetReference = 0x63,
    /// Portset `rdi` has no state of its own: this checks that it exists.
    PortsetGetState = 0x64,
    /// Portset `rdi` has no state of its own: this checks that it exists.
    PortsetSetState = 0x65,

    /// Creates a Space at `rdi` of [`SpaceKind`] `rsi`, with a kernel-memory allowance of `rdx` frames taken from that of the
    /// caller's Space. `Ok`, `NoMemory` (the caller's allowance does not suffice), `Unsupported` (no such kind here).
    SpaceCreate = 0x70,
    /// Destroys Space `rdi`, which must not be the caller's own (`CurrentThread`): Mappings into it and Regions of it lose their link, its Threads stop, its allowance returns.
    SpaceDestroy = 0x71,
    /// Moves Space `rdi` to `rsi`.
    SpaceMove = 0x72,
    /// Points Reference `rsi` at Space `rdi`.
    SpaceReference = 0x73,
    /// Writes the [`SpaceState`] of Space `rdi` to `rsi` and points Reference `rdx` at its keeper Port (each 0: not
    /// asked for). `rdx` returns for how many ticks its threads wait for a keeper's reply, 0 if that was never set.
    SpaceGetState = 0x74,
    /// Sets the keeper Port of Space `rdi` from *reference* `rsi` (right `CALL`), and how many ticks of the time stamp counter its threads wait for
    /// a keeper's reply, its own or a Region's, from `rdx` (0: unchanged; at first ten seconds). A thread that has waited longer stops.
    /// The kernel looks four times in a second. `Ok`, `InvalidDestination` (the Reference is void).
    SpaceSetState = 0x75,
    /// Sets policy of a machine Space `rdi`: `rsi` is a [`policy::Kind`](crate::policy::Kind), `rdx` the address of `r10` entries.
    /// `Ok`, `Refused` (an entry is not allowed; none was applied), `NoMemory`.
    SpaceSetPolicy = 0x76,

    /// Creates a Thread at `rdi`, stopped, in no Space. `Ok`, `NoMemory`.
    ThreadCreate = 0x80,
    /// Destroys Thread `rdi`, which must not be the caller.
    ThreadDestroy = 0x81,
    /// Moves Thread `rdi` to `rsi`. If it was created in the caller's Space, what [`ThreadSelf`](Self::ThreadSelf)
    /// returns to it follows; else it is 0 until a [`ThreadSetState`](Self::ThreadSetState) says more. A thread that
    /// owns a Mutex should not be moved: the lock word names it by its old address.
    ThreadMove = 0x82,
    /// Points Reference `rsi` at Thread `rdi`.
    ThreadReference = 0x83,
    /// Stops Thread `rdi` (not the caller) and writes the [`Groups`](crate::virtual_cpu::Groups) `rdx` of its state to `rsi` (0:
    /// not asked for): a [`NativeState`], or a [`VirtualCpuState`](crate::virtual_cpu::VirtualCpuState). Points Reference `r10` (0:
    /// not asked for) at its Space; `rdx` returns the address by which it knows its own object, 0 if it knows none. Points
    /// Reference `r8` (0: not asked for) at what it waited for in a call: the Portset of a server, the Port of a caller, the Thread
    /// that works on its call, a Mutex or a Cond.
    ///
    /// The thread is stopped at once, whatever it waits for and whether that exists or not, and stays stopped until a
    /// `thread_set_state` lets it go on. A thread that waited in a call is about to make it (one that waited in a Cond is about to
    /// call [`MutexLock`](Self::MutexLock)); one that waited for a keeper meets its exception again. The exception: a thread that waits
    /// for the caller's own reply to an exception or a VM exit is left waiting for it, since it can do nothing before.
    ThreadGetState = 0x84,
    /// Sets [`Groups`](crate::virtual_cpu::Groups) `rdx` of Thread `rdi` (not the caller) from `rsi` (0: unchanged), a
    /// [`NativeState`] or a [`VirtualCpuState`](crate::virtual_cpu::VirtualCpuState), its Space from *reference* `r10` (right
    /// `RUN`); `r8` is a [`Run`]. From then on [`ThreadSelf`](Self::ThreadSelf) returns `r9` to it (0: as before), a multiple
    /// of [`OBJECT_SIZE`]; the kernel does not check that its object appears there, and needs the thread to be in a Space. A
    /// thread that waits in a call is taken out of it, one that goes to another Space is stopped.
    /// `Ok`, `NoMemory`, `Refused` (the state is one that no thread can have; nothing was changed), `InvalidDestination`
    /// (the Reference is void: the Space is gone).
    ThreadSetState = 0x85,
    /// Posts interrupt vector `rsi` (16 to 255; 0 withdraws) to Thread `rdi`. `rsi` returns the vector posted earlier and not
    /// delivered, 0 if none. To a virtual CPU it is delivered as soon as its guest accepts interrupts, and wakes it from HLT. To a
    /// native thread it is delivered as soon as [exceptions are enabled](crate::native_thread::Exceptions); a thread that waits in a
    /// call is taken out of it and is about to make it again when its handler returns.
    ThreadInterrupt = 0x86,
    /// Returns in `rdi` the address by which the calling thread knows its own object: where it was created, if that was
    /// in its own Space, or what [`ThreadSetState`](Self::ThreadSetState) has said; 0 if it knows none. The shortest call.
    ThreadSelf = 0x87,
    /// Enables [exceptions](crate::native_thread::Exceptions) of the calling native thread if `rdi` is 1, disables them if it is 0.
    /// `rdi` returns what they were. A posted interrupt is delivered as soon as they are enabled.
    ThreadSetExceptions = 0x88,
    /// Sets the exception handler of the calling native thread to `rdi` and its interrupt handler to `rsi`, 0 for none. Both
    /// return what they were. `Ok`, `Refused` (an address is not one of ring 3).
    ThreadSetHandlers = 0x89,
    /// Goes on with the [saved registers](crate::native_thread::Saved) of the calling native thread, and enables exceptions.
    ThreadReturnFromException = 0x8a,
    /// Returns the [saved registers](crate::native_thread::Saved) of the calling native thread: RAX in `rdi`, RCX in `rsi`, RDX in
    /// `rdx`, RIP in `r10`, RFLAGS in `r8`.
    ThreadGetSaved = 0x8b,
    /// Sets the [saved registers](crate::native_thread::Saved) of the calling native thread from `rdi`, `rsi`, `rdx`, `r10` and `r8`, as
    /// [`ThreadGetSaved`](Call::ThreadGetSaved) returns them. `Ok`, `Refused` (RIP is not an address of ring 3).
    ThreadSetSaved = 0x8c,
    /// [Redirects](crate::native_thread::Redirection) the calling native thread's `SYSCALL` instructions outside the `rsi` bytes from
    /// `rdi` on to `rdx`, 0 for no redirection. `Ok`, `Refused` (an address is not one of ring 3).
    ThreadRedirect = 0x8d,

    /// Creates a Reference at `rdi`, linked to nothing. `Ok`, `NoMemory`.
    ReferenceCreate = 0x90,
    /// Destroys Reference `rdi`; its target is not affected.
    ReferenceDestroy = 0x91,
    /// Moves Reference `rdi` to `rsi`.
    ReferenceMove = 0x92,
    /// Makes Reference `rsi` link as `rdi` does: to the same object with the same rights (but `REVOKE`), badge and grant. Right
    /// `COPY`, unless `rdi` links to nothing.
    ReferenceCopy = 0x96,
    /// Returns in `rsi` the [`ObjectType`] of what Reference `rdi` links to, 0 if it links to nothing or is void; in `rdx` its
    /// [`ReferenceRights`], 0 if it links to nothing. The badge is its server's business.
    ReferenceCheck = 0x97,
    /// [Copies](Call::ReferenceCopy) Reference `rdi` to `rsi` with those of its [`ReferenceRights`] that are in `rdx`, and with badge
    /// `r10`, unless that is 0: then the badge stays. Rights `COPY` and, to set a badge, `BADGE`, which the result has no
    /// more: a badge is set once. Only links to Ports have badges (`WrongType`). Both may be the same Reference.
    ReferenceRestrict = 0x98,
    /// [Copies](Call::ReferenceCopy) Reference `rdi` to `rsi` through a new grant, which is charged to the caller's Space and
    /// derived from the grant of `rdi`, if that has one. `rsi` alone can revoke it (right `REVOKE`); copies of it cannot. Rights `COPY` and `GRANT`.
    /// A grant ends when it is revoked, when the caller's Space is destroyed, or when nothing was made through it any more.
    /// `Ok`, `NoMemory`, `InvalidDestination` (`rdi` is void), `Refused` (its grant is being revoked, or derived from a grant that was
    /// derived from a grant, and so on, [`MAX_GRANT_DEPTH`] times).
    ReferenceGrant = 0x99,
    /// Ends the grant through which Reference `rdi` links, and all that were derived from it. All References through them are void when
    /// the call returns; `rdi` links to nothing. Right `REVOKE`. Takes time for each derived grant and each Mapping made
    /// through them, not for the copies. After many it lets others run and is made again, so that it may be found half done. `Ok`, also if the grant has ended already.
    ReferenceRevoke = 0x9a,

    /// Sends eight words to the Port of *reference* `rdi` (right `CALL`) and waits for the reply (idempotent: may be delivered more than once).
    /// Words stand in RSI, RDX, R10, R8, R9, R12, R13, R14 both ways. Waits.
    /// `Ok`, `InvalidDestination` (the Reference is void, or the server is gone that worked on the call).
    IpcCall = 0xa0,
    /// Sets bits `rsi` in the notification word of the Port of *reference* `rdi` (one-way; right `SEND`). Never waits; bits that
    /// the server has not received yet are merged. `Ok`, `InvalidDestination` (the Reference is void).
    IpcSend = 0xa1,
    /// Replies the eight words to the caller's present client, if there still is one.
    /// `Ok`, `Disconnected` (there is none).
    IpcReply = 0xa2,
    /// Waits on the Portset at `rdi` for a message until the time stamp counter reaches R15 (0: for ever). A client that has not been replied to is
    /// disconnected. `Ok`: RDI is the badge of the Reference that the message came through, or else the [alias](Call::PortSetState) of the
    /// Port, R15 the [`MessageKind`], and the eight words are the message. `TimedOut`. Waits.
    IpcWaitReceive = 0xa3,
    /// [`IpcReply`](Call::IpcReply), then [`IpcWaitReceive`](Call::IpcWaitReceive), in one: the main loop of a server. Waits.
    IpcReplyWaitReceive = 0xa4,

    /// [`IpcCall`](Call::IpcCall) with References: sends the one at RBX (0: none; right `COPY`) along with the words, and has the one at RBP (0: none
    /// is taken) link as the one that comes with the reply. What is sent is a [copy](Call::ReferenceCopy) of what RBX links to when the message is received:
    /// nothing, if RBX was destroyed or is void then, or if the receiver takes none. Both addresses are checked before
    /// anything is sent. R15 returns [`WITH_REFERENCE`] or 0. Waits. `Ok`, `InvalidDestination`.
    IpcCallWithReference = 0xa8,
    /// [`IpcReplyWaitReceive`](Call::IpcReplyWaitReceive) with References: sends the one at RBX with the reply, takes one to RBP with the
    /// next message, as [`IpcCallWithReference`](Call::IpcCallWithReference) does. R15 returns the [`MessageKind`] and, if a Reference came,
    /// [`WITH_REFERENCE`]. Waits.
    IpcReplyWaitReceiveWithReference = 0xa9,
    /// [`IpcWaitReceive`](Call::IpcWaitReceive) with a Reference: takes one to RBP. R15 as above. Waits.
    IpcWaitReceiveWithReference = 0xaa,
    /// [`IpcReply`](Call::IpcReply) with the Reference at RBX. `Ok`, `Disconnected`.
    IpcReplyWithReference = 0xab,

    /// *Connects* to the Port of *reference* `rdi`, then *sends* as the [`Transfer`] at `rsi` says. The caller's present connection as
    /// a client ends first. Steps, roles, results and restart of this and all calls below: see [`Transfer`]. Waits.
    /// `Ok`, `ConnectInvalid`, `SendDisconnected`, `Alerted`.
    ClientConnectSend = 0xb0,
    /// *Connect*, *send*, *over*, *receive*: a whole remote procedure call. Registers as for
    /// [`ClientConnectSend`](Call::ClientConnectSend). Waits.
    /// `Ok` or `ReceiveDisconnected` (the server's reply is complete), `MoreData`, `MoreReferences` (it goes on: receive again),
    /// `ConnectInvalid`, `SendDisconnected`, `OverDisconnected`, `Alerted`.
    ClientConnectSendOverReceive = 0xb1,
    /// *Sends* as the [`Transfer`] at `rsi` says. Waits. `Ok`, `SendDisconnected`, `Alerted`.
    ClientSend = 0xb2,
    /// *Send*, *over*, *receive*; [`Transfer`] `rsi`. Waits. The results of all three.
    ClientSendOverReceive = 0xb3,
    /// *Over*, *receive*; [`Transfer`] `rsi`. Waits. The results of both.
    ClientOverReceive = 0xb4,
    /// *Receives* as the [`Transfer`] at `rsi` says. Waits.
    /// `Ok`, `MoreData`, `MoreReferences`, `ReceiveDisconnected`, `Alerted`.
    ClientReceive = 0xb5,
    /// *Ack*, *send*; [`Transfer`] `rsi`. Waits. `Ok`, `AckDisconnected`, `SendDisconnected`, `Alerted`.
    ClientAckSend = 0xb6,
    /// *Ack*, *send*, *over*, *receive*; [`Transfer`] `rsi`. Waits. The results of all.
    ClientAckSendOverReceive = 0xb7,
    /// Ends the connection, whatever the peer does. Never waits. `Ok`, `Disconnected` (there is none).
    ClientDisconnect = 0xb8,
    /// Alerts the peer. Never waits. `Ok`, `Disconnected` (there is no connection).
    ClientAlert = 0xb9,
    /// Writes the [`ConnectionState`] of Thread `rdi`'s end on [`Side`] `rsi` to `rdx`, and points Reference `r10` (0: none) at its
    /// peer. `Ok`, `NotFound` (there is no connection; the state is written).
    ThreadGetConnection = 0xbd,
    /// Moves the end on [`Side`] `rdx` of Thread `rdi` to Thread `rsi`, with its role and alert; the peer does not notice. A call that either makes
    /// on it is interrupted, and repeated from where it stood. So a stopped thread keeps its connection while it is destroyed and recreated, or
    /// one thread takes part in several. `Ok`, `NotFound` (`rdi` has no such connection), `Refused` (`rsi` has one already).
    ThreadMoveConnection = 0xbe,
    /// Makes a connection between client Thread `rdi` and server Thread `rsi`, whose sender is [`Side`] `rdx`; bits 0 and 1 of `r10` say
    /// whether client and server are alerted: how a connection with both ends is restored. `Ok`, `Refused` (one of them has a connection on that side, or
    /// they are the same thread).
    ThreadConnect = 0xbf,

    /// As [`ClientSend`](Call::ClientSend), for the caller's connection as a server.
    ServerSend = 0xc2,
    /// As [`ClientSendOverReceive`](Call::ClientSendOverReceive), as a server.
    ServerSendOverReceive = 0xc3,
    /// As [`ClientOverReceive`](Call::ClientOverReceive), as a server.
    ServerOverReceive = 0xc4,
    /// As [`ClientReceive`](Call::ClientReceive), as a server.
    ServerReceive = 0xc5,
    /// As [`ClientAckSend`](Call::ClientAckSend), as a server.
    ServerAckSend = 0xc6,
    /// As [`ClientAckSendOverReceive`](Call::ClientAckSendOverReceive), as a server.
    ServerAckSendOverReceive = 0xc7,
    /// As [`ClientDisconnect`](Call::ClientDisconnect), as a server.
    ServerDisconnect = 0xc8,
    /// As [`ClientAlert`](Call::ClientAlert), as a server.
    ServerAlert = 0xc9,
    /// *Waits* on the Portset at `rdi` until the time stamp counter reaches R15 (0: for ever); its connection as a server, and a client that has not been
    /// replied to, are disconnected. A client that connects is *received* from as the [`Transfer`] at `rsi` says: RDI is the alias of the Port, R15 is
    /// [`MessageKind::Connection`], and the status that of the *receive*. Any other message ends the call as it ends
    /// [`IpcWaitReceive`](Call::IpcWaitReceive). Waits.
    ServerWaitReceive = 0xca,
    /// *Sends* as the [`Transfer`] at `rsi` says, then [`ServerWaitReceive`](Call::ServerWaitReceive) with the same registers. Waits.
    ServerSendWaitReceive = 0xcb,
    /// *Ack*, *send*, then [`ServerWaitReceive`](Call::ServerWaitReceive) with the same registers: the main loop of a server of long messages. Waits.
    ServerAckSendWaitReceive = 0xcc,
    /// Donates the CPU to Thread `rdi` (with the right to read; not the caller), and waits meanwhile. See [`scheduling`](crate::scheduling).
    ///
    /// The donation lasts until the time stamp counter reaches `rsi` (0: no limit), until what [`Sensitivity`] `rdx` says, and until
    /// a message arrives at the Portset at `r10` (0: none), which is received as by [`IpcWaitReceive`](Call::IpcWaitReceive). If
    /// there is a message already, it is received and nothing is donated. If the time that the caller itself runs on ends before, the target loses
    /// the CPU as well, and has it back when the caller would.
    ///
    /// *Results*: `Ok`: a message, in the registers that [`IpcWaitReceive`](Call::IpcWaitReceive) names. All others return in `rsi` the
    /// [word](Call::ThreadSetScheduler) of the thread that had the time last, and in `rdx` for how many ticks it has had donated time in all:
    /// `TimedOut`; `Blocked` (it cannot run, nor anybody whom it waits for; only with [`Sensitivity::Block`]); `Yielded` (it gave the rest back);
    /// `NotFound` (it was destroyed); `Disconnected` (somebody else donates to it now); `InvalidDestination` (the Portset was destroyed). Without effect, and
    /// with nothing returned: `Circular` (the target waits for the caller, directly or not, or for more than 128 threads
    /// one after the other), `Refused` (another thread donates with the Portset at present).
    ///
    /// With `rdi` 0 it gives the caller's own time back instead: to its donor, or to the others that have time from the root. `Ok`.
    ///
    /// *Misuse*: `CurrentThread`, `BadArgument` (no such sensitivity). *Restart*: waits; the target goes on without the donation when the
    /// caller is stopped and set to something else.
    ThreadSchedule = 0xd0,
    /// Makes Port *reference* `rsi` the scheduler of Thread `rdi` (with the right to write; the caller too), known to it by the word `rdx`: whenever
    /// the thread could run and nobody donates to it, the Port has a [`Wakeup`](MessageKind::Wakeup) message with the word. With 0
    /// for `rsi` the thread runs on donated time only. Either way it has no time from the root any more, nor can it ever have again. Never waits. `Ok`.
    ThreadSetScheduler = 0xd1,
    /// Returns in `rdi` where Thread `rdi` (with the right to read; the caller too) has its time from ([`TimeSource`](crate::scheduling::TimeSource)), in `rsi` the word by which its
    /// scheduler knows it, in `rdx` for how many ticks it has had donated time in all, and points *reference* `rsi` (0: none) at the
    /// scheduler's Port. `Ok`.
    ThreadGetScheduler = 0xd2,
}
