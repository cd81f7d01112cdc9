//! Spaces are address spaces: native, or a machine's guest-physical one. They show what [Mappings](super::mapping) import, and
//! nothing else. Programs use [`libnest::Space`](crate::libnest::Space).
//!
//! A Space pays for the kernel memory, the objects and the CPU time that its threads use, out of [**quotas**](Quotas) that it has from its
//! creator's. It has a **keeper**, if it is given one: a Port at which the [exceptions](crate::exception) of its threads arrive.
#![allow(unsafe_code)]

use super::{Result, address_mut, done, on_objects, raw};
use crate::api::{Call, Quotas, SpaceKind, SpaceState};
use crate::policy;
#[cfg(doc)]
use crate::{
    api::{ReferenceRights, Status},
    exception::Misuse,
};

/// Creates a Space of a kind, with [`Quotas`] from those of the caller's Space.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`SpaceCreate`](Call::SpaceCreate) | |
/// | `rdi` | where: a multiple of [`OBJECT_SIZE`](crate::api::OBJECT_SIZE) | write, create objects |
/// | `rsi` | its [`SpaceKind`] | |
/// | `rdx` | its quota of kernel memory, in frames of 4 KiB | |
/// | `r10` | its quota of objects | |
/// | `r8` | its share of the CPU, of [`WHOLE_CPU`](Quotas::WHOLE_CPU); 0: no limit of its own | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NoMemory`](Status::NoMemory): the kernel memory of the caller's Space does not suffice for the Space and its quota, that does not for
///   what the Space needs at once, or the kernel has no memory left
/// * [`NoObjects`](Status::NoObjects): the objects of the caller's Space do not suffice for the Space and its quota
/// * [`Refused`](Status::Refused): it would be nested deeper than [`MAX_SPACE_DEPTH`](crate::api::MAX_SPACE_DEPTH)
/// * [`Unsupported`](Status::Unsupported): there are no such Spaces on this host
///
/// But for `Ok`, nothing was created.
///
/// # Misuse
///
/// [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`ObjectExists`](Misuse::ObjectExists): there is an object of any type
/// already; [`BadArgument`](Misuse::BadArgument): no such kind, or more than the whole CPU.
///
/// # Effects
///
/// The Space shows nothing, has no keeper, and a machine no policy: everything exits. It is charged to the caller's
/// Space, and its own quotas are taken from those of that, until it is destroyed.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant; a machine's tables are made at once.
///
#[doc = example!("space_create")]
#[inline]
pub fn space_create(space: u64, kind: SpaceKind, quotas: Quotas) -> Result<()> {
    let Quotas { frames, objects, cpu } = quotas;
    done(Call::SpaceCreate, [space, kind as u64, frames, objects, cpu])
}

destroy!(
    SpaceDestroy,
    space_destroy(space),
    "space_destroy",
    "Space",
    "Its threads stop and are in no Space any more; their peers are alerted and disconnected. Mappings into \
     it and Regions of it lose their link, and what was derived from it is no longer accessible, at once. The grants that it paid for are \
     revoked. Its quotas return to the Space that created it, but for what objects cost that it has paid for and that still exist: that \
     returns when they are destroyed. The caller must not run in it: \
     [`CurrentThread`](Misuse::CurrentThread).",
    "Linear in its threads, tables, Mappings, Regions and grants, and in what was derived from it.",
    "After each 8 threads, 64 Mappings, 64 Regions and 256 grants it lets others run and is made again: they see the Space with what is left of \
     it."
);

relocate!(SpaceMove, space_move(space), "space_move", "Space", "Its threads run on.");

refer!(
    SpaceReference,
    space_reference(space),
    "space_reference",
    "Space",
    "Whoever has it can make Mappings appear in the Space, export its memory, and have Threads run in it."
);

/// Says what a Space is, may use and uses.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`SpaceGetState`](Call::SpaceGetState) | |
/// | `rdi` | the Space | read |
/// | `rsi` | where its [`SpaceState`] goes; 0: it is not asked for | write |
/// | `rdx` | a Reference to be pointed at its keeper Port; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdx` returns for how many ticks of the time stamp counter its threads wait for a keeper's reply, 0 if that was never
///   set
///
#[doc = misuse!("")]
/// # Effects
///
/// The Reference links as the one did by which the keeper was [set](space_set_state), or to nothing.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("space_get_state")]
#[inline]
pub fn space_get_state(space: u64) -> Result<SpaceState> {
    let mut state = SpaceState::default();
    // SAFETY: the call writes one SpaceState to `state`, which is exclusively ours.
    unsafe { raw(Call::SpaceGetState as u64, [space, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

/// [`space_get_state`] without the simple state: points the Reference `keeper` at the keeper, and returns for how
/// many ticks its threads wait for a keeper's reply, 0 if that was never set.
#[inline]
pub fn space_get_keeper(space: u64, keeper: u64) -> Result<u64> {
    on_objects(Call::SpaceGetState, [space, 0, keeper, 0, 0]).ok().map(|returned| returned.rdx)
}

/// Sets the keeper of a Space, and for how long its threads wait for a keeper's reply; 0 leaves each as it is.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`SpaceSetState`](Call::SpaceSetState) | |
/// | `rdi` | the Space | write |
/// | `rsi` | a Reference to its keeper Port, right [`CALL`](ReferenceRights::CALL); 0: as it is, at first none | read |
/// | `rdx` | for how many ticks of the time stamp counter its threads wait for a keeper's reply, its own or a Region's; 0: as it is, at first ten seconds | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void; nothing was changed
///
#[doc = misuse!(": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// Exceptions and exits from now on arrive there; those that wait for a reply are not sent again. A thread that has waited longer than it
/// may is stopped. The kernel looks four times in a second.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("space_set_state")]
#[inline]
pub fn space_set_state(space: u64, keeper: u64, patience: u64) -> Result<()> {
    done(Call::SpaceSetState, [space, keeper, patience, 0, 0])
}

/// [`space_set_state`] of the keeper.
#[inline]
pub fn space_set_keeper(space: u64, keeper: u64) -> Result<()> {
    space_set_state(space, keeper, 0)
}

/// [`space_set_state`] of how many ticks its threads wait for a keeper's reply.
#[inline]
pub fn space_set_patience(space: u64, ticks: u64) -> Result<()> {
    space_set_state(space, 0, ticks)
}

/// Changes the quotas of a Space.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`SpaceSetQuotas`](Call::SpaceSetQuotas) | |
/// | `rdi` | the Space | write |
/// | `rsi` | its quota of kernel memory, in frames of 4 KiB; [`UNCHANGED`](Quotas::UNCHANGED): as it is | |
/// | `rdx` | its quota of objects; [`UNCHANGED`](Quotas::UNCHANGED): as it is | |
/// | `r10` | its share of the CPU, of [`WHOLE_CPU`](Quotas::WHOLE_CPU), 0 for no limit of its own; [`UNCHANGED`](Quotas::UNCHANGED): as it is | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NoMemory`](Status::NoMemory), [`NoObjects`](Status::NoObjects): the Space that created it has not that much left, or is gone
/// * [`Refused`](Status::Refused): it uses more, or has passed on more
///
/// But for `Ok`, nothing was changed.
///
#[doc = misuse!("; [`NoRight`](Misuse::NoRight): also if the caller's Space is not above: the one that created it, the one that created that, and so on; [`BadArgument`](Misuse::BadArgument): more than the whole CPU")]
/// # Effects
///
/// More is taken from the Space that created it, less returns there. A share of the CPU counts from now on.
///
#[doc = never_waits!()]
/// # Cost
///
/// Linear in the Spaces above it.
///
#[doc = example!("space_set_quotas")]
#[inline]
pub fn space_set_quotas(space: u64, quotas: Quotas) -> Result<()> {
    let Quotas { frames, objects, cpu } = quotas;
    done(Call::SpaceSetQuotas, [space, frames, objects, cpu, 0])
}

/// Sets part of what a machine may do without asking its keeper: `count` entries of a [kind](policy::Kind). Programs use the
/// [typed](space_set_policy_cpuid) [forms](space_set_policy_msr) [of it](space_set_policy_controls).
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`SpaceSetPolicy`](Call::SpaceSetPolicy) | |
/// | `rdi` | the Space, of a machine | write |
/// | `rsi` | the [`policy::Kind`] of the entries | |
/// | `rdx` | the address of the first entry | read |
/// | `r10` | how many: 1 to [`MAX_CPUID_ENTRIES`](policy::MAX_CPUID_ENTRIES), a page of [`MsrEntry`](policy::MsrEntry), or one [`Controls`](policy::Controls) | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Refused`](Status::Refused): an entry is not allowed, or the table would hold too many; none was applied
///
#[doc = misuse!(": also if the Space is native; [`BadArgument`](Misuse::BadArgument): no such kind, or not so many")]
/// # Effects
///
/// As the [kind](policy::Kind) says, from the next entry of each virtual CPU on.
///
#[doc = never_waits!()]
/// # Cost
///
/// Linear in the entries, of which there is at most a page.
///
#[doc = example!("space_set_policy")]
#[inline]
pub fn space_set_policy(space: u64, kind: policy::Kind, entries: u64, count: u64) -> Result<()> {
    done(Call::SpaceSetPolicy, [space, kind as u64, entries, count, 0])
}

macro_rules! set_policy {
    ($($name:ident, $kind:ident, $entry:ident;)*) => {$(
        #[doc = concat!("[`space_set_policy`] of kind [`", stringify!($kind), "`](policy::Kind::", stringify!($kind), ").")]
        #[inline]
        pub fn $name(space: u64, entries: &[policy::$entry]) -> Result<()> {
            space_set_policy(space, policy::Kind::$kind, entries.as_ptr() as u64, entries.len() as u64)
        }
    )*};
}

set_policy! {
    space_set_policy_cpuid, Cpuid, CpuidEntry;
    space_set_policy_msr, Msr, MsrEntry;
    space_set_policy_controls, Controls, Controls;
}
