//! Ports and Portsets.

use super::{Reference, create};
use crate::libc::system_call::{self as call, Result};
use crate::libnest::place::Place;

handle_with_reference! {
    /// A set of Ports that threads of the program serve.
    pub Portset, portset_reference, portset_destroy
}

impl Portset {
    /// A Portset without Ports.
    pub fn new() -> Result<Self> {
        Self::create(call::portset_create)
    }
}

handle_with_reference! {
    /// Where clients and exceptions arrive. Its Reference lets its holder send and call.
    pub Port, port_reference, port_destroy
}

impl Port {
    /// A Port in `portset`; messages that come through it carry `alias`.
    pub fn new(portset: &Portset, alias: u64) -> Result<Self> {
        let port = Self::create(call::port_create)?;
        call::port_set_state(port.address(), alias, portset.reference().address())?;
        Ok(port)
    }
}

handle! {
    /// A Port of which the handle keeps no Reference: its server can be told when nobody has one any more.
    WatchedPort, port_destroy
}

impl WatchedPort {
    /// A Port in `portset`; messages that come through it carry `alias`. Each time that its last Reference goes,
    /// [`Event::NoReferences`](crate::libnest::Event::NoReferences) arrives.
    pub fn new(portset: &Portset, alias: u64) -> Result<Self> {
        let port = Self { place: create(call::port_create)? };
        call::port_set_state_telling(port.address(), alias, portset.reference().address(), true)?;
        Ok(port)
    }

    /// A Reference to it, to be given away.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        call::port_reference(self.address(), reference.address())?;
        Ok(reference)
    }
}
