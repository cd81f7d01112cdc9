//! Calls on Spaces.
#![allow(unsafe_code)]

use super::{Result, address_mut, done, on_objects, raw};
use crate::api::{Call, SpaceKind, SpaceState};
use crate::policy;

/// [`Call::SpaceCreate`].
#[inline]
pub fn space_create(space: u64, kind: SpaceKind, allowance: u64) -> Result<()> {
    done(Call::SpaceCreate, [space, kind as u64, allowance, 0, 0])
}

/// [`Call::SpaceDestroy`].
#[inline]
pub fn space_destroy(space: u64) -> Result<()> {
    done(Call::SpaceDestroy, [space, 0, 0, 0, 0])
}

/// [`Call::SpaceMove`].
#[inline]
pub fn space_move(space: u64, new: u64) -> Result<()> {
    done(Call::SpaceMove, [space, new, 0, 0, 0])
}

/// [`Call::SpaceReference`].
#[inline]
pub fn space_reference(space: u64, reference: u64) -> Result<()> {
    done(Call::SpaceReference, [space, reference, 0, 0, 0])
}

/// [`Call::SpaceGetState`] without the keeper.
#[inline]
pub fn space_get_state(space: u64) -> Result<SpaceState> {
    let mut state = SpaceState::default();
    // SAFETY: the call writes one SpaceState to `state`, which is exclusively ours.
    unsafe { raw(Call::SpaceGetState as u64, [space, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::SpaceGetState`] without the simple state: points the Reference `keeper` at the keeper, and returns for how
/// many ticks its threads wait for a keeper's reply, 0 if that was never set.
#[inline]
pub fn space_get_keeper(space: u64, keeper: u64) -> Result<u64> {
    on_objects(Call::SpaceGetState, [space, 0, keeper, 0, 0]).ok().map(|returned| returned.rdx)
}

/// [`Call::SpaceSetState`]: the keeper.
#[inline]
pub fn space_set_keeper(space: u64, keeper: u64) -> Result<()> {
    done(Call::SpaceSetState, [space, keeper, 0, 0, 0])
}

/// [`Call::SpaceSetState`]: how many ticks its threads wait for a keeper's reply.
#[inline]
pub fn space_set_patience(space: u64, ticks: u64) -> Result<()> {
    done(Call::SpaceSetState, [space, 0, ticks, 0, 0])
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
