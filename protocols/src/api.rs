//! The low-level API: Fluke's kernel object types and their calls, through two doors.
//!
//! This page is about what all calls have in common, and [lists them](#the-calls). Every call has a page of its own: that of the function
//! that makes it from Rust. Every exported state has one too: [`MutexState`], [`MappingState`], [`RegionState`], [`SpaceState`],
//! [`NativeState`], [`VirtualCpuState`](crate::virtual_cpu::VirtualCpuState), [`ConnectionState`] and, of what a call on a connection has
//! still to do, [`Transfer`].
//!
//! # How to read the pages
//!
//! | section | says |
//! |---|---|
//! | Arguments | in which register each argument stands, and what *rights* are needed: of memory those with which the caller's Space maps the object or structure ([`Rights`]), of References [`ReferenceRights`] |
//! | Results | every [`Status`] that the call can return, and the values that come back with it |
//! | Misuse | what a correct program does not do: an [exception](crate::exception::Misuse) of the caller |
//! | Effects | what has changed when the call returns `Ok`. Any other result, and misuse, has changed nothing unless the page says so |
//! | Restart | whether the call waits, and what the caller's registers say when it is stopped meanwhile |
//! | Cost | what the time depends on; constant is what depends on nothing that others can make large |
//! | Example | a program that makes the call. All of them are run inside the system by the conformance tests |
//!
//! The examples use [`libnest`](crate::libnest), which wraps calls in handles, and [`Peer`](crate::libnest::Peer), a second thread that makes the
//! calls that it is told. A function is `unsafe` where the call can change what the caller's own memory holds or maps.
//!
//! # Versions
//!
//! [`VERSION`] is that of everything on these pages. A program finds the version of the kernel that it runs on in its
//! [start-up page](crate::startup::Startup::version), where its parent has put it; the root nester gets it from the kernel. A program that is built
//! for another version does not start.
//!
//! # How a call is made
//!
//! A native thread executes `SYSCALL`, ring 0 of a machine executes `VMCALL`; everything else is the same. RAX holds
//! the [`Call`]; arguments stand in RDI, RSI, RDX, R10, R8, R9 in this order. RAX returns a [`Status`]; values come
//! back in the argument registers that a call names. RCX and R11 are undefined after `SYSCALL`; all other registers are
//! kept. Addresses are addresses in the caller's own Space: virtual for a native thread, guest-physical for a machine.
//!
//! # Objects live in memory
//!
//! An object is created at an address and named by any address that maps the same memory. It takes [`OBJECT_SIZE`]
//! bytes at a multiple of [`OBJECT_SIZE`], which must be mapped with [`Rights::WRITE`] and [`Rights::CREATE_OBJECT`] to
//! create, destroy or change it and with [`Rights::READ`] to use it. The bytes themselves mean nothing, but for the
//! [lock word](crate::lock_word) of a Mutex. Objects whose memory its parent owns can be found by the parent with
//! [`Call::RegionSearch`], named through the parent's own mapping of that memory, and destroyed.
//!
//! Inter-object links are always given as Reference objects: an argument called *reference* is the address of
//! a Reference; `0` leaves the link as it is.
//!
//! # Operations that all types have
//!
//! | operation | effect |
//! |---|---|
//! | `create` | a new object, charged to the [quotas](Quotas) of the caller's Space |
//! | `destroy` | the object is gone, References to it link to nothing; whoever paid for it gets the charge back. Where much hangs on it (waiters, Mappings), others run in between and the call is made again: it may be found half done |
//! | `move` | the object lives at the new place and nowhere else; links to it and who pays for it stay as they are |
//! | `reference` | a Reference links to the object |
//! | `get_state` | says what the object is: its simple state, and a Reference for each of its links, pointed at what the object links to, with the rights, badge and grant that it was linked by. What is 0 is not asked for |
//! | `set_state` | the object is what the arguments say. What is 0 stays as it is |
//!
//! A Reference's only state is its link, which [`reference_copy`](crate::libc::system_call::reference_copy) reads and sets; there are no
//! References to References. Nobody's state says who refers to it, nor who waits in it: that is state of those who do.
//!
//! # References
//!
//! A Reference links to an object, or to nothing. With the link it holds what the link is good for:
//!
//! * [`ReferenceRights`]. Calls on an object itself (`port_reference` and the like) make links with all rights; every copy has at
//!   most those of its original. A call that needs a right which its Reference lacks is `Misuse::NoRight`.
//! * A **badge**: a word other than 0, chosen once by whoever holds a Reference to a Port that has none yet
//!   ([`Call::ReferenceRestrict`]). Calls and the kernel's messages that come through a badged Reference arrive with the badge in place
//!   of the Port's alias, so that a server can tell its clients, or the objects that it serves, apart, and no client can
//!   pretend to be another. [Notifications](Call::IpcSend) of all senders are merged, so they arrive with the alias.
//! * A **grant**, if the Reference was made by [`Call::ReferenceGrant`] or copied from one that was. Whoever made the grant
//!   takes it back with [`Call::ReferenceRevoke`]: all copies, wherever they are, link to nothing at once. What that costs does not
//!   depend on their number. Copies can be granted again: revoking a grant revokes all that were derived from it.
//!
//! A link whose target was destroyed or whose grant was revoked is *void*: calls that need its target end with `InvalidDestination`.
//! It can be copied as any other. A call that was sent before goes on to its reply. What a revoked Reference had been used for ends as well, if it gives
//! access: Mappings of a Region show nothing any more, a keeper Port is none any more, nor is a scheduler's. A Space that a Mapping appears in, a Thread runs in or
//! a Region exports, and the Portset of a Port, stay as they are: those links are made once.
//!
//! The kernel counts the References that link to each Port. A server can have it [tell](MessageKind::NoReferences) when
//! the last one is gone: destroyed, made to link to something else, or revoked. Keepers do not count.
//!
//! # Errors
//!
//! Conditions that a correct program meets are a [`Status`]. Misuse (no object at an address, wrong type, bad
//! alignment, unknown call) is an exception of the calling thread: [`exception::Misuse`](crate::exception::Misuse),
//! delivered to its Space's keeper, or stopping it where there is none.
//!
//! # Restart
//!
//! Every call is atomic: a call that waits, or that meets a fault in the caller's memory, leaves the caller's registers
//! as a call about to be made, and is made again from the start when the thread goes on. Calls below say *waits* where they can.
//!
//! So a thread can be stopped at any time, exported, destroyed, recreated from the export and resumed, and neither it nor anybody who works with
//! it can tell. What to export and to set again is its state with all groups and its own address
//! ([`thread_get_state`](crate::libc::system_call::thread::thread_get_state),
//! [`thread_set_state`](crate::libc::system_call::thread::thread_set_state)), its scheduler
//! ([`thread_get_scheduler`](crate::libc::system_call::scheduling::thread_get_scheduler),
//! [`thread_set_scheduler`](crate::libc::system_call::scheduling::thread_set_scheduler)), and what it has begun with others: its
//! connections on both [sides](Side), and whom it [serves](SERVED)
//! ([`thread_move_connection`](crate::libc::system_call::connection::thread_move_connection)). What others see is no more than what calls
//! say of a thread that is stopped: a message of `ipc_call`, or of its fault or exit, may arrive twice, who sleeps in a Cond wakes, who waits
//! for a Mutex loses its turn. The ticks of donated time that it has had begin at 0 again, and References to it have to be made anew.
//!
//! *Tested* by the conformance program (module `atomicity`): for every call, through both doors, wherever a stop can land between the
//! instruction before the call and the one after it, in the thread that makes the call and in those that it works with, also while a keeper supplies memory
//! that the call misses, and in calls that the kernel interrupts itself.
//!
//! # The calls
//!
//! Each name leads to its page.
//!
//! ## [Mutexes](crate::libc::system_call::mutex)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`mutex_create`](crate::libc::system_call::mutex::mutex_create) | `0x10` | Creates a Mutex. | never | constant |
//! | [`mutex_destroy`](crate::libc::system_call::mutex::mutex_destroy) | `0x11` | Destroys a Mutex. | never | linear: waiters |
//! | [`mutex_move`](crate::libc::system_call::mutex::mutex_move) | `0x12` | Moves a Mutex to another place. | never | constant |
//! | [`mutex_reference`](crate::libc::system_call::mutex::mutex_reference) | `0x13` | Points a Reference at a Mutex. | never | constant |
//! | [`mutex_get_state`](crate::libc::system_call::mutex::mutex_get_state) | `0x14` | Says what the state of a Mutex is. | never | constant |
//! | [`mutex_set_state`](crate::libc::system_call::mutex::mutex_set_state) | `0x15` | Sets the state of a Mutex. | never | constant |
//! | [`mutex_lock`](crate::libc::system_call::mutex::mutex_lock) | `0x16` | Locks a Mutex, waiting until it can. | waits | constant |
//! | [`mutex_trylock`](crate::libc::system_call::mutex::mutex_trylock) | `0x17` | Locks a Mutex if it is free. | never | constant |
//! | [`mutex_unlock`](crate::libc::system_call::mutex::mutex_unlock) | `0x18` | Unlocks a Mutex. | never | constant |
//!
//! ## [Conds](crate::libc::system_call::cond)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`cond_create`](crate::libc::system_call::cond::cond_create) | `0x20` | Creates a Cond. | never | constant |
//! | [`cond_destroy`](crate::libc::system_call::cond::cond_destroy) | `0x21` | Destroys a Cond. | never | linear: sleepers |
//! | [`cond_move`](crate::libc::system_call::cond::cond_move) | `0x22` | Moves a Cond to another place. | never | constant |
//! | [`cond_reference`](crate::libc::system_call::cond::cond_reference) | `0x23` | Points a Reference at a Cond. | never | constant |
//! | [`cond_get_state`](crate::libc::system_call::cond::cond_get_state) | `0x24` | Says what the state of a Cond is. | never | constant |
//! | [`cond_set_state`](crate::libc::system_call::cond::cond_set_state) | `0x25` | Sets the state of a Cond. | never | constant |
//! | [`cond_wait`](crate::libc::system_call::cond::cond_wait) | `0x26` | Unlocks a Mutex and sleeps in a Cond until somebody signals. | waits | constant |
//! | [`cond_signal`](crate::libc::system_call::cond::cond_signal) | `0x27` | Wakes one of those who sleep in a Cond. | never | constant |
//! | [`cond_broadcast`](crate::libc::system_call::cond::cond_broadcast) | `0x28` | Wakes all who sleep in a Cond. | never | linear: sleepers |
//!
//! ## [Mappings](crate::libc::system_call::mapping)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`mapping_create`](crate::libc::system_call::mapping::mapping_create) | `0x30` | Creates a Mapping. | never | constant |
//! | [`mapping_destroy`](crate::libc::system_call::mapping::mapping_destroy) | `0x31` | Destroys a Mapping. | never | linear: what was derived |
//! | [`mapping_move`](crate::libc::system_call::mapping::mapping_move) | `0x32` | Moves a Mapping to another place. | never | constant |
//! | [`mapping_reference`](crate::libc::system_call::mapping::mapping_reference) | `0x33` | Points a Reference at a Mapping. | never | constant |
//! | [`mapping_get_state`](crate::libc::system_call::mapping::mapping_get_state) | `0x34` | Says what the state of a Mapping is. | never | constant |
//! | [`mapping_set_state`](crate::libc::system_call::mapping::mapping_set_state) | `0x35` | Sets the state of a Mapping. | never | linear: what was derived |
//! | [`mapping_protect`](crate::libc::system_call::mapping::mapping_protect) | `0x36` | Changes the rights of a Mapping. | never | linear: what was derived |
//! | [`mapping_get_copied`](crate::libc::system_call::mapping::mapping_get_copied) | `0x38` | Says which pages of a copy-on-write Mapping were copied. | never | linear: words |
//! | [`mapping_set_copied`](crate::libc::system_call::mapping::mapping_set_copied) | `0x39` | Sets which pages of a copy-on-write Mapping count as copied. | never | linear: words, what was derived |
//!
//! ## [Regions](crate::libc::system_call::region)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`region_create`](crate::libc::system_call::region::region_create) | `0x40` | Creates a Region. | never | constant |
//! | [`region_destroy`](crate::libc::system_call::region::region_destroy) | `0x41` | Destroys a Region. | never | linear: what was derived |
//! | [`region_move`](crate::libc::system_call::region::region_move) | `0x42` | Moves a Region to another place. | never | constant |
//! | [`region_reference`](crate::libc::system_call::region::region_reference) | `0x43` | Points a Reference at a Region. | never | constant |
//! | [`region_get_state`](crate::libc::system_call::region::region_get_state) | `0x44` | Says what the state of a Region is. | never | constant |
//! | [`region_set_state`](crate::libc::system_call::region::region_set_state) | `0x45` | Sets the state of a Region. | never | linear: what was derived |
//! | [`region_protect`](crate::libc::system_call::region::region_protect) | `0x46` | Limits everything derived from a Region. | never | linear: what was derived |
//! | [`region_search`](crate::libc::system_call::region::region_search) | `0x47` | Finds objects in the memory that a Region exports. | never | linear: memory searched |
//! | [`region_track`](crate::libc::system_call::region::region_track) | `0x48` | Has a Region [remember](tracking) which of its pages are written. | never | linear: what was derived, 128 MiB of memory |
//! | [`region_get_dirty`](crate::libc::system_call::region::region_get_dirty) | `0x49` | Reports and forgets which pages of a Region were written. | never | linear: what was written |
//! | [`region_set_dirty`](crate::libc::system_call::region::region_set_dirty) | `0x4a` | Has a Region remember that pages were written. | never | linear: pages |
//!
//! ## [Ports](crate::libc::system_call::port)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`port_create`](crate::libc::system_call::port::port_create) | `0x50` | Creates a Port. | never | constant |
//! | [`port_destroy`](crate::libc::system_call::port::port_destroy) | `0x51` | Destroys a Port. | never | linear: clients, pending Ports |
//! | [`port_move`](crate::libc::system_call::port::port_move) | `0x52` | Moves a Port to another place. | never | constant |
//! | [`port_reference`](crate::libc::system_call::port::port_reference) | `0x53` | Points a Reference at a Port. | never | constant |
//! | [`port_get_state`](crate::libc::system_call::port::port_get_state) | `0x54` | Says what the state of a Port is. | never | constant |
//! | [`port_set_state`](crate::libc::system_call::port::port_set_state) | `0x55` | Sets the state of a Port. | never | linear: pending Ports |
//!
//! ## [Portsets](crate::libc::system_call::portset)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`portset_create`](crate::libc::system_call::portset::portset_create) | `0x60` | Creates a Portset. | never | constant |
//! | [`portset_destroy`](crate::libc::system_call::portset::portset_destroy) | `0x61` | Destroys a Portset. | never | linear: servers, pending Ports |
//! | [`portset_move`](crate::libc::system_call::portset::portset_move) | `0x62` | Moves a Portset to another place. | never | constant |
//! | [`portset_reference`](crate::libc::system_call::portset::portset_reference) | `0x63` | Points a Reference at a Portset. | never | constant |
//! | [`portset_get_state`](crate::libc::system_call::portset::portset_get_state) | `0x64` | Says what the state of a Portset is. | never | constant |
//! | [`portset_set_state`](crate::libc::system_call::portset::portset_set_state) | `0x65` | Sets the state of a Portset. | never | constant |
//!
//! ## [Spaces](crate::libc::system_call::space)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`space_create`](crate::libc::system_call::space::space_create) | `0x70` | Creates a Space. | never | constant |
//! | [`space_destroy`](crate::libc::system_call::space::space_destroy) | `0x71` | Destroys a Space. | never | linear: all of it |
//! | [`space_move`](crate::libc::system_call::space::space_move) | `0x72` | Moves a Space to another place. | never | constant |
//! | [`space_reference`](crate::libc::system_call::space::space_reference) | `0x73` | Points a Reference at a Space. | never | constant |
//! | [`space_get_state`](crate::libc::system_call::space::space_get_state) | `0x74` | Says what the state of a Space is. | never | constant |
//! | [`space_set_state`](crate::libc::system_call::space::space_set_state) | `0x75` | Sets the state of a Space. | never | constant |
//! | [`space_set_policy`](crate::libc::system_call::space::space_set_policy) | `0x76` | Sets what a machine may do without asking. | never | linear: entries |
//! | [`space_set_quotas`](crate::libc::system_call::space::space_set_quotas) | `0x77` | Changes what a Space may use. | never | constant |
//!
//! ## [Threads](crate::libc::system_call::thread)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`thread_create`](crate::libc::system_call::thread::thread_create) | `0x80` | Creates a Thread. | never | constant |
//! | [`thread_destroy`](crate::libc::system_call::thread::thread_destroy) | `0x81` | Destroys a Thread. | never | constant |
//! | [`thread_move`](crate::libc::system_call::thread::thread_move) | `0x82` | Moves a Thread to another place. | never | constant |
//! | [`thread_reference`](crate::libc::system_call::thread::thread_reference) | `0x83` | Points a Reference at a Thread. | never | constant |
//! | [`thread_get_state`](crate::libc::system_call::thread::thread_get_state) | `0x84` | Says what the state of a Thread is. | never | constant |
//! | [`thread_set_state`](crate::libc::system_call::thread::thread_set_state) | `0x85` | Sets the state of a Thread. | never | constant |
//! | [`thread_interrupt`](crate::libc::system_call::thread::thread_interrupt) | `0x86` | Posts an interrupt to a Thread. | never | constant |
//! | [`thread_self`](crate::libc::system_call::thread::thread_self) | `0x87` | Says by which address the caller knows its own object. | never | constant |
//! | [`thread_set_exceptions`](crate::libc::system_call::thread::thread_set_exceptions) | `0x88` | Enables or disables the caller's exceptions. | never | constant |
//! | [`thread_set_handlers`](crate::libc::system_call::thread::thread_set_handlers) | `0x89` | Sets the caller's exception and interrupt handlers. | never | constant |
//! | [`thread_return_from_exception`](crate::libc::system_call::thread::thread_return_from_exception) | `0x8a` | Ends a handler. | never | constant |
//! | [`thread_get_saved`](crate::libc::system_call::thread::thread_get_saved) | `0x8b` | Says what a handler has saved. | never | constant |
//! | [`thread_set_saved`](crate::libc::system_call::thread::thread_set_saved) | `0x8c` | Sets what a handler goes back to. | never | constant |
//! | [`thread_redirect`](crate::libc::system_call::thread::thread_redirect) | `0x8d` | Redirects the caller's `SYSCALL` instructions. | never | constant |
//!
//! ## [CPU time](crate::libc::system_call::scheduling)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`thread_schedule`](crate::libc::system_call::scheduling::thread_schedule) | `0xd0` | Donates CPU time to a Thread, and waits meanwhile. | waits | linear: threads in a row, at most 128 |
//! | [`thread_set_scheduler`](crate::libc::system_call::scheduling::thread_set_scheduler) | `0xd1` | Has a Thread scheduled by whoever serves a Port. | never | constant |
//! | [`thread_get_scheduler`](crate::libc::system_call::scheduling::thread_get_scheduler) | `0xd2` | Says where a Thread has its time from. | never | constant |
//!
//! ## [References](crate::libc::system_call::reference)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`reference_create`](crate::libc::system_call::reference::reference_create) | `0x90` | Creates a Reference. | never | constant |
//! | [`reference_destroy`](crate::libc::system_call::reference::reference_destroy) | `0x91` | Destroys a Reference. | never | constant |
//! | [`reference_move`](crate::libc::system_call::reference::reference_move) | `0x92` | Moves a Reference to another place. | never | constant |
//! | [`reference_copy`](crate::libc::system_call::reference::reference_copy) | `0x96` | Makes a Reference link as another does. | never | constant |
//! | [`reference_check`](crate::libc::system_call::reference::reference_check) | `0x97` | Says what a Reference links to. | never | constant |
//! | [`reference_restrict`](crate::libc::system_call::reference::reference_restrict) | `0x98` | Copies a Reference with fewer rights, or with a badge. | never | constant |
//! | [`reference_grant`](crate::libc::system_call::reference::reference_grant) | `0x99` | Copies a Reference so that the copies can be revoked. | never | constant |
//! | [`reference_revoke`](crate::libc::system_call::reference::reference_revoke) | `0x9a` | Revokes what was granted. | never | linear: grants, Mappings |
//!
//! ## [Short messages](crate::libc::system_call::ipc)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`ipc_call`](crate::libc::system_call::ipc::ipc_call) | `0xa0` | Sends eight words to a Port and waits for the reply. | waits | constant |
//! | [`ipc_send`](crate::libc::system_call::ipc::ipc_send) | `0xa1` | Sends bits, one way. | never | constant |
//! | [`ipc_reply`](crate::libc::system_call::ipc::ipc_reply) | `0xa2` | Replies to the present client. | never | constant |
//! | [`ipc_wait_receive`](crate::libc::system_call::ipc::ipc_wait_receive) | `0xa3` | Waits for a message at a Portset. | waits | constant |
//! | [`ipc_reply_wait_receive`](crate::libc::system_call::ipc::ipc_reply_wait_receive) | `0xa4` | Replies, then waits for a message at a Portset. | waits | constant |
//! | [`ipc_call_with_reference`](crate::libc::system_call::ipc::ipc_call_with_reference) | `0xa8` | `IpcCall` that sends and takes a Reference. | waits | constant |
//! | [`ipc_reply_wait_receive_with_reference`](crate::libc::system_call::ipc::ipc_reply_wait_receive_with_reference) | `0xa9` | `IpcReplyWaitReceive` that sends and takes a Reference. | waits | constant |
//! | [`ipc_wait_receive_with_reference`](crate::libc::system_call::ipc::ipc_wait_receive_with_reference) | `0xaa` | `IpcWaitReceive` that takes a Reference. | waits | constant |
//! | [`ipc_reply_with_reference`](crate::libc::system_call::ipc::ipc_reply_with_reference) | `0xab` | `IpcReply` that sends a Reference. | never | constant |
//!
//! ## [Connections](crate::libc::system_call::connection)
//!
//! | call | number | effect | waits | cost |
//! |---|---|---|---|---|
//! | [`client_connect_send`](crate::libc::system_call::connection::client_connect_send) | `0xb0` | *Connect*, *send* as a client. | waits | linear: what moves |
//! | [`client_connect_send_over_receive`](crate::libc::system_call::connection::client_connect_send_over_receive) | `0xb1` | *Connect*, *send*, *over*, *receive* as a client. | waits | linear: what moves |
//! | [`client_send`](crate::libc::system_call::connection::client_send) | `0xb2` | *Send* as a client. | waits | linear: what moves |
//! | [`client_send_over_receive`](crate::libc::system_call::connection::client_send_over_receive) | `0xb3` | *Send*, *over*, *receive* as a client. | waits | linear: what moves |
//! | [`client_over_receive`](crate::libc::system_call::connection::client_over_receive) | `0xb4` | *Over*, *receive* as a client. | waits | linear: what moves |
//! | [`client_receive`](crate::libc::system_call::connection::client_receive) | `0xb5` | *Receive* as a client. | waits | linear: what moves |
//! | [`client_ack_send`](crate::libc::system_call::connection::client_ack_send) | `0xb6` | *Ack*, *send* as a client. | waits | linear: what moves |
//! | [`client_ack_send_over_receive`](crate::libc::system_call::connection::client_ack_send_over_receive) | `0xb7` | *Ack*, *send*, *over*, *receive* as a client. | waits | linear: what moves |
//! | [`client_disconnect`](crate::libc::system_call::connection::client_disconnect) | `0xb8` | Ends the caller's connection as a client. | never | constant |
//! | [`client_alert`](crate::libc::system_call::connection::client_alert) | `0xb9` | Alerts the peer of the caller's connection as a client. | never | constant |
//! | [`thread_get_connection`](crate::libc::system_call::connection::thread_get_connection) | `0xbd` | Says what a Thread's end of a connection is. | never | constant |
//! | [`thread_move_connection`](crate::libc::system_call::connection::thread_move_connection) | `0xbe` | Moves a Thread's end of a connection to another. | never | constant |
//! | [`thread_connect`](crate::libc::system_call::connection::thread_connect) | `0xbf` | Connects two Threads. | never | constant |
//! | [`server_send`](crate::libc::system_call::connection::server_send) | `0xc2` | *Send* as a server. | waits | linear: what moves |
//! | [`server_send_over_receive`](crate::libc::system_call::connection::server_send_over_receive) | `0xc3` | *Send*, *over*, *receive* as a server. | waits | linear: what moves |
//! | [`server_over_receive`](crate::libc::system_call::connection::server_over_receive) | `0xc4` | *Over*, *receive* as a server. | waits | linear: what moves |
//! | [`server_receive`](crate::libc::system_call::connection::server_receive) | `0xc5` | *Receive* as a server. | waits | linear: what moves |
//! | [`server_ack_send`](crate::libc::system_call::connection::server_ack_send) | `0xc6` | *Ack*, *send* as a server. | waits | linear: what moves |
//! | [`server_ack_send_over_receive`](crate::libc::system_call::connection::server_ack_send_over_receive) | `0xc7` | *Ack*, *send*, *over*, *receive* as a server. | waits | linear: what moves |
//! | [`server_disconnect`](crate::libc::system_call::connection::server_disconnect) | `0xc8` | Ends the caller's connection as a server. | never | constant |
//! | [`server_alert`](crate::libc::system_call::connection::server_alert) | `0xc9` | Alerts the peer of the caller's connection as a server. | never | constant |
//! | [`server_wait_receive`](crate::libc::system_call::connection::server_wait_receive) | `0xca` | *Wait*, *receive* as a server. | waits | linear: what moves |
//! | [`server_send_wait_receive`](crate::libc::system_call::connection::server_send_wait_receive) | `0xcb` | *Send*, *wait*, *receive* as a server. | waits | linear: what moves |
//! | [`server_ack_send_wait_receive`](crate::libc::system_call::connection::server_ack_send_wait_receive) | `0xcc` | *Ack*, *send*, *wait*, *receive* as a server. | waits | linear: what moves |

mod call;
mod mapping;
mod message;
mod mutex;
mod reference;
mod region;
mod space;
mod status;
mod thread;
pub mod tracking;
pub mod transfer;

pub use crate::native_thread::NativeState;
pub use call::Call;
pub use mapping::{COPIED_WORDS, MappingState};
pub use message::{MessageKind, WITH_REFERENCE};
pub use mutex::MutexState;
pub use reference::{MAX_GRANT_DEPTH, ReferenceRights};
pub use region::RegionState;
pub use space::{MAX_SPACE_DEPTH, Quotas, SpaceKind, SpaceState};
pub use status::Status;
pub use thread::{Run, Sensitivity};
pub use tracking::DirtyRange;
pub use transfer::{Buffer, ConnectionState, SERVED, Side, Table, Transfer};

use bitflags::bitflags;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The version of this interface: calls, states, messages, protocols, the start-up page.
///
/// It changes when something that exists changes: a number, a layout, an argument, a result, an effect. What is only added, a call or a
/// value that was refused before, does not change it. [`NativeState`] has a [version](crate::native_thread::VERSION) of its own beside it, since states outlive
/// the programs that saved them.
///
/// A program finds the version that it runs on at [`Startup::version`](crate::startup::Startup::version).
pub const VERSION: u64 = 2;
/// Bytes of memory that an object takes, and its alignment.
pub const OBJECT_SIZE: u64 = 64;

/// Numbers of the object types. A call's number is `type * 16 + operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum ObjectType {
    /// Excludes threads from each other. Locked and unlocked without the kernel while nobody has to wait.
    Mutex = 1,
    /// Where threads that hold a Mutex sleep until others signal.
    Cond = 2,
    /// Imports part of a Region into a Space.
    Mapping = 3,
    /// Exports part of a Space.
    Region = 4,
    /// Where clients send: the server side of IPC.
    Port = 5,
    /// A pool of server threads, and the Ports that they serve.
    Portset = 6,
    /// An address space: native, or a machine's physical one.
    Space = 7,
    /// A thread: ring-3 registers in a native Space, a virtual CPU in a machine Space.
    Thread = 8,
    /// A link to an object, and what it is good for: what capabilities are held in.
    Reference = 9,
}

bitflags! {
    /// What an access may do, what a Mapping passes on, what a Region exports.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Rights: u64 {
        /// Read.
        const READ = 1;
        /// Write.
        const WRITE = 2;
        /// Execute.
        const EXECUTE = 4;
        /// Create objects.
        const CREATE_OBJECT = 8;
    }
}
