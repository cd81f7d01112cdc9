//! The calls and their numbers.

use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The calls: `type * 16 + operation`. What each does is said on the page of the function that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Call {
    /// Creates a Mutex. [Page](crate::libc::system_call::mutex::mutex_create)
    MutexCreate = 0x10,
    /// Destroys a Mutex. [Page](crate::libc::system_call::mutex::mutex_destroy)
    MutexDestroy = 0x11,
    /// Moves a Mutex to another place. [Page](crate::libc::system_call::mutex::mutex_move)
    MutexMove = 0x12,
    /// Points a Reference at a Mutex. [Page](crate::libc::system_call::mutex::mutex_reference)
    MutexReference = 0x13,
    /// Says what the state of a Mutex is. [Page](crate::libc::system_call::mutex::mutex_get_state)
    MutexGetState = 0x14,
    /// Sets the state of a Mutex. [Page](crate::libc::system_call::mutex::mutex_set_state)
    MutexSetState = 0x15,
    /// Locks a Mutex, waiting until it can. [Page](crate::libc::system_call::mutex::mutex_lock)
    MutexLock = 0x16,
    /// Locks a Mutex if it is free. [Page](crate::libc::system_call::mutex::mutex_trylock)
    MutexTrylock = 0x17,
    /// Unlocks a Mutex. [Page](crate::libc::system_call::mutex::mutex_unlock)
    MutexUnlock = 0x18,

    /// Creates a Cond. [Page](crate::libc::system_call::cond::cond_create)
    CondCreate = 0x20,
    /// Destroys a Cond. [Page](crate::libc::system_call::cond::cond_destroy)
    CondDestroy = 0x21,
    /// Moves a Cond to another place. [Page](crate::libc::system_call::cond::cond_move)
    CondMove = 0x22,
    /// Points a Reference at a Cond. [Page](crate::libc::system_call::cond::cond_reference)
    CondReference = 0x23,
    /// Says what the state of a Cond is. [Page](crate::libc::system_call::cond::cond_get_state)
    CondGetState = 0x24,
    /// Sets the state of a Cond. [Page](crate::libc::system_call::cond::cond_set_state)
    CondSetState = 0x25,
    /// Unlocks a Mutex and sleeps in a Cond until somebody signals. [Page](crate::libc::system_call::cond::cond_wait)
    CondWait = 0x26,
    /// Wakes one of those who sleep in a Cond. [Page](crate::libc::system_call::cond::cond_signal)
    CondSignal = 0x27,
    /// Wakes all who sleep in a Cond. [Page](crate::libc::system_call::cond::cond_broadcast)
    CondBroadcast = 0x28,

    /// Creates a Mapping. [Page](crate::libc::system_call::mapping::mapping_create)
    MappingCreate = 0x30,
    /// Destroys a Mapping. [Page](crate::libc::system_call::mapping::mapping_destroy)
    MappingDestroy = 0x31,
    /// Moves a Mapping to another place. [Page](crate::libc::system_call::mapping::mapping_move)
    MappingMove = 0x32,
    /// Points a Reference at a Mapping. [Page](crate::libc::system_call::mapping::mapping_reference)
    MappingReference = 0x33,
    /// Says what the state of a Mapping is. [Page](crate::libc::system_call::mapping::mapping_get_state)
    MappingGetState = 0x34,
    /// Sets the state of a Mapping. [Page](crate::libc::system_call::mapping::mapping_set_state)
    MappingSetState = 0x35,
    /// Changes the rights of a Mapping. [Page](crate::libc::system_call::mapping::mapping_protect)
    MappingProtect = 0x36,
    /// Says which pages of a copy-on-write Mapping were copied. [Page](crate::libc::system_call::mapping::mapping_get_copied)
    MappingGetCopied = 0x38,
    /// Sets which pages of a copy-on-write Mapping count as copied. [Page](crate::libc::system_call::mapping::mapping_set_copied)
    MappingSetCopied = 0x39,

    /// Creates a Region. [Page](crate::libc::system_call::region::region_create)
    RegionCreate = 0x40,
    /// Destroys a Region. [Page](crate::libc::system_call::region::region_destroy)
    RegionDestroy = 0x41,
    /// Moves a Region to another place. [Page](crate::libc::system_call::region::region_move)
    RegionMove = 0x42,
    /// Points a Reference at a Region. [Page](crate::libc::system_call::region::region_reference)
    RegionReference = 0x43,
    /// Says what the state of a Region is. [Page](crate::libc::system_call::region::region_get_state)
    RegionGetState = 0x44,
    /// Sets the state of a Region. [Page](crate::libc::system_call::region::region_set_state)
    RegionSetState = 0x45,
    /// Limits everything derived from a Region. [Page](crate::libc::system_call::region::region_protect)
    RegionProtect = 0x46,
    /// Finds objects in the memory that a Region exports. [Page](crate::libc::system_call::region::region_search)
    RegionSearch = 0x47,
    /// Has a Region remember which of its pages are written. [Page](crate::libc::system_call::region::region_track)
    RegionTrack = 0x48,
    /// Reports and forgets which pages of a Region were written. [Page](crate::libc::system_call::region::region_get_dirty)
    RegionGetDirty = 0x49,
    /// Has a Region remember that pages were written. [Page](crate::libc::system_call::region::region_set_dirty)
    RegionSetDirty = 0x4a,

    /// Creates a Port. [Page](crate::libc::system_call::port::port_create)
    PortCreate = 0x50,
    /// Destroys a Port. [Page](crate::libc::system_call::port::port_destroy)
    PortDestroy = 0x51,
    /// Moves a Port to another place. [Page](crate::libc::system_call::port::port_move)
    PortMove = 0x52,
    /// Points a Reference at a Port. [Page](crate::libc::system_call::port::port_reference)
    PortReference = 0x53,
    /// Says what the state of a Port is. [Page](crate::libc::system_call::port::port_get_state)
    PortGetState = 0x54,
    /// Sets the state of a Port. [Page](crate::libc::system_call::port::port_set_state)
    PortSetState = 0x55,

    /// Creates a Portset. [Page](crate::libc::system_call::portset::portset_create)
    PortsetCreate = 0x60,
    /// Destroys a Portset. [Page](crate::libc::system_call::portset::portset_destroy)
    PortsetDestroy = 0x61,
    /// Moves a Portset to another place. [Page](crate::libc::system_call::portset::portset_move)
    PortsetMove = 0x62,
    /// Points a Reference at a Portset. [Page](crate::libc::system_call::portset::portset_reference)
    PortsetReference = 0x63,
    /// Says what the state of a Portset is. [Page](crate::libc::system_call::portset::portset_get_state)
    PortsetGetState = 0x64,
    /// Sets the state of a Portset. [Page](crate::libc::system_call::portset::portset_set_state)
    PortsetSetState = 0x65,

    /// Creates a Space. [Page](crate::libc::system_call::space::space_create)
    SpaceCreate = 0x70,
    /// Destroys a Space. [Page](crate::libc::system_call::space::space_destroy)
    SpaceDestroy = 0x71,
    /// Moves a Space to another place. [Page](crate::libc::system_call::space::space_move)
    SpaceMove = 0x72,
    /// Points a Reference at a Space. [Page](crate::libc::system_call::space::space_reference)
    SpaceReference = 0x73,
    /// Says what the state of a Space is. [Page](crate::libc::system_call::space::space_get_state)
    SpaceGetState = 0x74,
    /// Sets the state of a Space. [Page](crate::libc::system_call::space::space_set_state)
    SpaceSetState = 0x75,
    /// Sets what a machine may do without asking. [Page](crate::libc::system_call::space::space_set_policy)
    SpaceSetPolicy = 0x76,
    /// Changes the quotas of a Space. [Page](crate::libc::system_call::space::space_set_quotas)
    SpaceSetQuotas = 0x77,

    /// Creates a Thread. [Page](crate::libc::system_call::thread::thread_create)
    ThreadCreate = 0x80,
    /// Destroys a Thread. [Page](crate::libc::system_call::thread::thread_destroy)
    ThreadDestroy = 0x81,
    /// Moves a Thread to another place. [Page](crate::libc::system_call::thread::thread_move)
    ThreadMove = 0x82,
    /// Points a Reference at a Thread. [Page](crate::libc::system_call::thread::thread_reference)
    ThreadReference = 0x83,
    /// Says what the state of a Thread is. [Page](crate::libc::system_call::thread::thread_get_state)
    ThreadGetState = 0x84,
    /// Sets the state of a Thread. [Page](crate::libc::system_call::thread::thread_set_state)
    ThreadSetState = 0x85,
    /// Posts an interrupt to a Thread. [Page](crate::libc::system_call::thread::thread_interrupt)
    ThreadInterrupt = 0x86,
    /// Says by which address the caller knows its own object. [Page](crate::libc::system_call::thread::thread_self)
    ThreadSelf = 0x87,
    /// Enables or disables the caller's exceptions. [Page](crate::libc::system_call::thread::thread_set_exceptions)
    ThreadSetExceptions = 0x88,
    /// Sets the caller's exception and interrupt handlers. [Page](crate::libc::system_call::thread::thread_set_handlers)
    ThreadSetHandlers = 0x89,
    /// Ends a handler. [Page](crate::libc::system_call::thread::thread_return_from_exception)
    ThreadReturnFromException = 0x8a,
    /// Says what a handler has saved. [Page](crate::libc::system_call::thread::thread_get_saved)
    ThreadGetSaved = 0x8b,
    /// Sets what a handler goes back to. [Page](crate::libc::system_call::thread::thread_set_saved)
    ThreadSetSaved = 0x8c,
    /// Redirects the caller's `SYSCALL` instructions. [Page](crate::libc::system_call::thread::thread_redirect)
    ThreadRedirect = 0x8d,

    /// Creates a Reference. [Page](crate::libc::system_call::reference::reference_create)
    ReferenceCreate = 0x90,
    /// Destroys a Reference. [Page](crate::libc::system_call::reference::reference_destroy)
    ReferenceDestroy = 0x91,
    /// Moves a Reference to another place. [Page](crate::libc::system_call::reference::reference_move)
    ReferenceMove = 0x92,
    /// Makes a Reference link as another does. [Page](crate::libc::system_call::reference::reference_copy)
    ReferenceCopy = 0x96,
    /// Says what a Reference links to. [Page](crate::libc::system_call::reference::reference_check)
    ReferenceCheck = 0x97,
    /// Copies a Reference with fewer rights, or with a badge. [Page](crate::libc::system_call::reference::reference_restrict)
    ReferenceRestrict = 0x98,
    /// Copies a Reference so that the copies can be revoked. [Page](crate::libc::system_call::reference::reference_grant)
    ReferenceGrant = 0x99,
    /// Revokes what was granted. [Page](crate::libc::system_call::reference::reference_revoke)
    ReferenceRevoke = 0x9a,

    /// Sends eight words to a Port and waits for the reply. [Page](crate::libc::system_call::ipc::ipc_call)
    IpcCall = 0xa0,
    /// Sends bits, one way. [Page](crate::libc::system_call::ipc::ipc_send)
    IpcSend = 0xa1,
    /// Replies to the present client. [Page](crate::libc::system_call::ipc::ipc_reply)
    IpcReply = 0xa2,
    /// Waits for a message at a Portset. [Page](crate::libc::system_call::ipc::ipc_wait_receive)
    IpcWaitReceive = 0xa3,
    /// Replies, then waits for a message at a Portset. [Page](crate::libc::system_call::ipc::ipc_reply_wait_receive)
    IpcReplyWaitReceive = 0xa4,
    /// `IpcCall` that sends and takes a Reference. [Page](crate::libc::system_call::ipc::ipc_call_with_reference)
    IpcCallWithReference = 0xa8,
    /// `IpcReplyWaitReceive` that sends and takes a Reference. [Page](crate::libc::system_call::ipc::ipc_reply_wait_receive_with_reference)
    IpcReplyWaitReceiveWithReference = 0xa9,
    /// `IpcWaitReceive` that takes a Reference. [Page](crate::libc::system_call::ipc::ipc_wait_receive_with_reference)
    IpcWaitReceiveWithReference = 0xaa,
    /// `IpcReply` that sends a Reference. [Page](crate::libc::system_call::ipc::ipc_reply_with_reference)
    IpcReplyWithReference = 0xab,

    /// *Connect*, *send* as a client. [Page](crate::libc::system_call::connection::client_connect_send)
    ClientConnectSend = 0xb0,
    /// *Connect*, *send*, *over*, *receive* as a client. [Page](crate::libc::system_call::connection::client_connect_send_over_receive)
    ClientConnectSendOverReceive = 0xb1,
    /// *Send* as a client. [Page](crate::libc::system_call::connection::client_send)
    ClientSend = 0xb2,
    /// *Send*, *over*, *receive* as a client. [Page](crate::libc::system_call::connection::client_send_over_receive)
    ClientSendOverReceive = 0xb3,
    /// *Over*, *receive* as a client. [Page](crate::libc::system_call::connection::client_over_receive)
    ClientOverReceive = 0xb4,
    /// *Receive* as a client. [Page](crate::libc::system_call::connection::client_receive)
    ClientReceive = 0xb5,
    /// *Ack*, *send* as a client. [Page](crate::libc::system_call::connection::client_ack_send)
    ClientAckSend = 0xb6,
    /// *Ack*, *send*, *over*, *receive* as a client. [Page](crate::libc::system_call::connection::client_ack_send_over_receive)
    ClientAckSendOverReceive = 0xb7,
    /// Ends the caller's connection as a client. [Page](crate::libc::system_call::connection::client_disconnect)
    ClientDisconnect = 0xb8,
    /// Alerts the peer of the caller's connection as a client. [Page](crate::libc::system_call::connection::client_alert)
    ClientAlert = 0xb9,
    /// Says what a Thread's end of a connection is. [Page](crate::libc::system_call::connection::thread_get_connection)
    ThreadGetConnection = 0xbd,
    /// Moves a Thread's end of a connection to another. [Page](crate::libc::system_call::connection::thread_move_connection)
    ThreadMoveConnection = 0xbe,
    /// Connects two Threads. [Page](crate::libc::system_call::connection::thread_connect)
    ThreadConnect = 0xbf,

    /// *Send* as a server. [Page](crate::libc::system_call::connection::server_send)
    ServerSend = 0xc2,
    /// *Send*, *over*, *receive* as a server. [Page](crate::libc::system_call::connection::server_send_over_receive)
    ServerSendOverReceive = 0xc3,
    /// *Over*, *receive* as a server. [Page](crate::libc::system_call::connection::server_over_receive)
    ServerOverReceive = 0xc4,
    /// *Receive* as a server. [Page](crate::libc::system_call::connection::server_receive)
    ServerReceive = 0xc5,
    /// *Ack*, *send* as a server. [Page](crate::libc::system_call::connection::server_ack_send)
    ServerAckSend = 0xc6,
    /// *Ack*, *send*, *over*, *receive* as a server. [Page](crate::libc::system_call::connection::server_ack_send_over_receive)
    ServerAckSendOverReceive = 0xc7,
    /// Ends the caller's connection as a server. [Page](crate::libc::system_call::connection::server_disconnect)
    ServerDisconnect = 0xc8,
    /// Alerts the peer of the caller's connection as a server. [Page](crate::libc::system_call::connection::server_alert)
    ServerAlert = 0xc9,
    /// *Wait*, *receive* as a server. [Page](crate::libc::system_call::connection::server_wait_receive)
    ServerWaitReceive = 0xca,
    /// *Send*, *wait*, *receive* as a server. [Page](crate::libc::system_call::connection::server_send_wait_receive)
    ServerSendWaitReceive = 0xcb,
    /// *Ack*, *send*, *wait*, *receive* as a server. [Page](crate::libc::system_call::connection::server_ack_send_wait_receive)
    ServerAckSendWaitReceive = 0xcc,

    /// Donates CPU time to a Thread, and waits meanwhile. [Page](crate::libc::system_call::scheduling::thread_schedule)
    ThreadSchedule = 0xd0,
    /// Has a Thread scheduled by whoever serves a Port. [Page](crate::libc::system_call::scheduling::thread_set_scheduler)
    ThreadSetScheduler = 0xd1,
    /// Says where a Thread has its time from. [Page](crate::libc::system_call::scheduling::thread_get_scheduler)
    ThreadGetScheduler = 0xd2,
}
