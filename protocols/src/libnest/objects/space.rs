//! Spaces.

use super::{Port, Reference, create};
use crate::api::{Quotas, SpaceKind, SpaceState};
use crate::libc::system_call::{self as call, Result};
use crate::libnest::place::Place;
use crate::policy::{Controls, CpuidEntry, MsrEntry};

handle_with_reference! {
    /// A Space that the program has created: never its own.
    pub Space, space_reference, space_destroy
}

impl Space {
    /// An empty Space with quotas from the program's own. Frames of kernel memory alone are [enough to say](Quotas::of_memory).
    pub fn new(kind: SpaceKind, quotas: impl Into<Quotas>) -> Result<Self> {
        let quotas = quotas.into();
        Self::create(|address| call::space_create(address, kind, quotas))
    }

    /// Changes its quotas; those that are [`Quotas::UNCHANGED`] stay.
    pub fn set_quotas(&self, quotas: Quotas) -> Result<()> {
        call::space_set_quotas(self.address(), quotas)
    }

    /// Limits its share of the CPU, of [`Quotas::WHOLE_CPU`]; 0 for no limit of its own.
    pub fn set_cpu(&self, cpu: u64) -> Result<()> {
        self.set_quotas(Quotas { frames: Quotas::UNCHANGED, objects: Quotas::UNCHANGED, cpu })
    }

    /// Makes `port` its keeper: exceptions and VM exits of its threads arrive there.
    pub fn set_keeper(&self, port: &Port) -> Result<()> {
        self.set_keeper_through(port.reference())
    }

    /// Makes the Port that `reference` links to its keeper, with the badge and for as long as the grant of `reference`.
    pub fn set_keeper_through(&self, reference: &Reference) -> Result<()> {
        call::space_set_keeper(self.address(), reference.address())
    }

    /// Lets its threads wait for a keeper's reply for so many ticks of the time stamp counter, then stop.
    pub fn set_patience(&self, ticks: u64) -> Result<()> {
        call::space_set_patience(self.address(), ticks)
    }

    /// What it is, may use and uses.
    pub fn state(&self) -> Result<SpaceState> {
        call::space_get_state(self.address())
    }

    /// Sets the CPUID table of a machine Space.
    pub fn set_cpuid(&self, entries: &[CpuidEntry]) -> Result<()> {
        call::space_set_policy_cpuid(self.address(), entries)
    }

    /// Adds to the MSR table of a machine Space.
    pub fn set_msrs(&self, entries: &[MsrEntry]) -> Result<()> {
        call::space_set_policy_msr(self.address(), entries)
    }

    /// Sets the scalar policy of a machine Space.
    pub fn set_controls(&self, controls: &Controls) -> Result<()> {
        call::space_set_policy_controls(self.address(), core::slice::from_ref(controls))
    }
}
