//! Ports are where clients send and keepers are asked: the server side of [IPC](super::ipc). Programs use
//! [`libnest::Port`](crate::libnest::Port).
//!
//! A Port is in a [Portset](super::portset), whose threads serve it; while it is in none, clients wait. Messages that come through a
//! Port carry its **alias**, a word by which the server tells its Ports apart, or the badge of the Reference that they came through.
//!
//! The kernel counts the References that link to each Port. A server can have it tell when the last one is gone: destroyed, made to link to
//! something else, or revoked. Keepers do not count.

use super::{Result, done, on_objects};
use crate::api::Call;
#[cfg(doc)]
use crate::{
    api::{MessageKind, ReferenceRights, Status},
    exception::Misuse,
};

create!(
    PortCreate,
    port_create(port),
    "port_create",
    "Port",
    "It is in no Portset, its alias is 0, and its server is not told when the last Reference goes."
);

destroy!(
    PortDestroy,
    port_destroy(port),
    "port_destroy",
    "Port",
    "Calls that no server has received end with `InvalidDestination`, connections that none has accepted with `ConnectInvalid`, and future \
     ones likewise. Calls that a server works on go on to its reply. Threads that need it as their keeper stop.",
    "Linear in the clients that wait at it, and in the Ports of its Portset that have messages.",
    "After each 64 clients it lets others run and is made again: they may find a Port at which fewer wait."
);

relocate!(PortMove, port_move(port), "port_move", "Port", "Clients that wait at it wait on.");

refer!(
    PortReference,
    port_reference(port),
    "port_reference",
    "Port",
    "Whoever has it can send and call, and make the Port a keeper."
);

/// Says what a Port is called and which Portset it is in. Returns the alias.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`PortGetState`](Call::PortGetState) | |
/// | `rdi` | the Port | read |
/// | `rdx` | a Reference to be pointed at its Portset; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` is the alias, `rdx` 1 if its server is told when the last Reference goes, else 0, `r10` how many References link
///   to it
///
#[doc = misuse!("")]
/// # Effects
///
/// The Reference links as the one did by which the Port was put into the Portset, or to nothing.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("port_get_state")]
#[inline]
pub fn port_get_state(port: u64, portset: u64) -> Result<u64> {
    on_objects(Call::PortGetState, [port, 0, portset, 0, 0]).ok().map(|returned| returned.rsi)
}

/// Sets what a Port is called and which Portset it is in. A `portset` of 0 leaves the Portset as it is.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`PortSetState`](Call::PortSetState) | |
/// | `rdi` | the Port | write |
/// | `rsi` | its alias | |
/// | `rdx` | a Reference to its Portset, right [`SERVE`](ReferenceRights::SERVE); 0: as it is | read |
/// | `r10` | 1: its server is told from now on of every time that the last Reference goes ([`NoReferences`](MessageKind::NoReferences)); 2: it is not, as at first; 0: as it is | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void; nothing was changed
///
#[doc = misuse!(
    ": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference); \
     [`BadArgument`](Misuse::BadArgument): `r10`"
)]
/// # Effects
///
/// Clients that wait at the Port are served at the new Portset. A Port of an interrupt line that was masked has it unmasked.
///
#[doc = never_waits!()]
/// # Cost
///
/// Linear in the Ports of its Portset that have messages, if it is one of them.
///
#[doc = example!("port_set_state")]
#[inline]
pub fn port_set_state(port: u64, alias: u64, portset: u64) -> Result<()> {
    done(Call::PortSetState, [port, alias, portset, 0, 0])
}

/// [`port_set_state`]; `tells` says whether the server is told when the last Reference goes.
#[inline]
pub fn port_set_state_telling(port: u64, alias: u64, portset: u64, tells: bool) -> Result<()> {
    done(Call::PortSetState, [port, alias, portset, if tells { 1 } else { 2 }, 0])
}
