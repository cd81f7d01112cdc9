//! Portsets are pools of server threads, and the [Ports](super::port) that they serve. Programs use
//! [`libnest::Server`](crate::libnest::Server).
//!
//! A thread serves by [waiting](super::ipc_wait_receive) on a Portset: it receives the next message of any of its Ports. Threads
//! take turns, and so do Ports that have messages.

use super::{Result, done};
use crate::api::Call;
#[cfg(doc)]
use crate::{api::Status, exception::Misuse};

create!(PortsetCreate, portset_create(portset), "portset_create", "Portset", "There are no Ports in it.");

destroy!(
    PortsetDestroy,
    portset_destroy(portset),
    "portset_destroy",
    "Portset",
    "Threads that wait for messages at it end their call with `InvalidDestination`. Its Ports remain, in no Portset; their clients go on \
     waiting.",
    "Linear in the threads that wait at it, and in its Ports that have messages.",
    "After each 64 of them it lets others run and is made again: they may find a Portset at which fewer wait."
);

relocate!(
    PortsetMove,
    portset_move(portset),
    "portset_move",
    "Portset",
    "Its Ports stay in it, and threads that wait at it wait on."
);

refer!(
    PortsetReference,
    portset_reference(portset),
    "portset_reference",
    "Portset",
    "Whoever has it can put Ports into the Portset ([`port_set_state`](super::port_set_state))."
);

/// Checks that there is a Portset: it has no state of its own. Who waits at it is the state of those threads, what is in it that of its
/// Ports.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`PortsetGetState`](Call::PortsetGetState) | |
/// | `rdi` | the Portset | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("")]
/// # Effects
///
/// None.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("portset_get_state")]
#[inline]
pub fn portset_get_state(portset: u64) -> Result<()> {
    done(Call::PortsetGetState, [portset, 0, 0, 0, 0])
}

/// Checks that there is a Portset, and that the caller may change it: it has no state of its own to be set.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`PortsetSetState`](Call::PortsetSetState) | |
/// | `rdi` | the Portset | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("")]
/// # Effects
///
/// None.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("portset_set_state")]
#[inline]
pub fn portset_set_state(portset: u64) -> Result<()> {
    done(Call::PortsetSetState, [portset, 0, 0, 0, 0])
}
