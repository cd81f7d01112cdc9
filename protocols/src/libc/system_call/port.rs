//! Calls on Ports.

use super::{Result, done, on_objects};
use crate::api::Call;

/// [`Call::PortCreate`].
#[inline]
pub fn port_create(port: u64) -> Result<()> {
    done(Call::PortCreate, [port, 0, 0, 0, 0])
}

/// [`Call::PortDestroy`].
#[inline]
pub fn port_destroy(port: u64) -> Result<()> {
    done(Call::PortDestroy, [port, 0, 0, 0, 0])
}

/// [`Call::PortMove`].
#[inline]
pub fn port_move(port: u64, new: u64) -> Result<()> {
    done(Call::PortMove, [port, new, 0, 0, 0])
}

/// [`Call::PortReference`].
#[inline]
pub fn port_reference(port: u64, reference: u64) -> Result<()> {
    done(Call::PortReference, [port, reference, 0, 0, 0])
}

/// [`Call::PortGetState`]: the alias; a `portset` Reference of 0 is not asked for.
#[inline]
pub fn port_get_state(port: u64, portset: u64) -> Result<u64> {
    on_objects(Call::PortGetState, [port, 0, portset, 0, 0]).ok().map(|returned| returned.rsi)
}

/// [`Call::PortSetState`]; a `portset` of 0 leaves the Portset as it is.
#[inline]
pub fn port_set_state(port: u64, alias: u64, portset: u64) -> Result<()> {
    done(Call::PortSetState, [port, alias, portset, 0, 0])
}

/// [`Call::PortSetState`]; `tells` says whether the server is told when the last Reference goes.
#[inline]
pub fn port_set_state_telling(port: u64, alias: u64, portset: u64, tells: bool) -> Result<()> {
    done(Call::PortSetState, [port, alias, portset, if tells { 1 } else { 2 }, 0])
}
