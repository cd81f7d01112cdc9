//! The short ways of donating without a limit and of giving the time back, where nobody else is concerned.
//!
//! They do what [`donate`](Dispatcher::donate) and [`give_back`](Dispatcher::give_back) do, where all of this holds: the
//! donor has time from the root and nobody's donation, the target could run, is in no queue and works for nobody, and has no time of its
//! own. Everything is checked first; where something does not hold, nothing has changed and the general way is taken.

use super::{Dispatcher, Queued, Source};
use crate::arena::Id;
use crate::thread::{Thread, Wait};
use protocols::api::{Sensitivity, Status};
use protocols::virtual_cpu::register::{RAX, RDX, RSI};

impl Dispatcher<'_> {
    /// The running thread donates to `target` until that cannot run. False if not the short way.
    #[inline]
    #[must_use]
    pub fn donate_quickly(&mut self, donor_id: Id<Thread>, target_id: Id<Thread>) -> bool {
        let Some((donor, target)) = self.objects.threads.pair_mut(donor_id, target_id) else { return false };
        let scheduling = &mut target.scheduling;
        if target.wait != Wait::Nothing
            || target.stopped
            || target.space.is_none()
            || target.client.is_some()
            || scheduling.queued != Queued::No
            || scheduling.donor.is_some()
            || self.grant.donor.is_some()
        {
            return false;
        }
        scheduling.donor = Some(donor_id);
        donor.wait = Wait::Donation(target_id);
        donor.deadline = 0;
        let scheduling = &mut donor.scheduling;
        (scheduling.outer, scheduling.sensitivity) = (None, Sensitivity::Block);
        (scheduling.portset, scheduling.dormant) = (None, false);
        self.grant.donor = Some(donor_id);
        self.grant.since = (self.grant.clock)();
        *self.current = Some(target_id);
        true
    }

    /// The running thread gives back what is left of its time to who donates to it, has the time from the root, and `fits`. `None` if not
    /// the short way.
    #[inline]
    #[must_use]
    pub fn give_back_quickly(&mut self, id: Id<Thread>, fits: impl FnOnce(&Thread) -> bool) -> Option<Id<Thread>> {
        let donor_id = self.grant.donor?;
        let (donor, target) = self.objects.threads.pair_mut(donor_id, id)?;
        let directly = donor.wait == Wait::Donation(id) && donor.scheduling.outer.is_none();
        if !directly || donor.stopped || donor.scheduling.portset.is_some() || !fits(donor) {
            return None;
        }
        let scheduling = &mut target.scheduling;
        if scheduling.source != Source::Donated || target.client.is_some() || target.owned.first().is_some() {
            return None;
        }
        scheduling.donor = None;
        scheduling.used += (self.grant.clock)().saturating_sub(self.grant.since);
        let (value, used) = (scheduling.value, scheduling.used);
        target.finish(Status::Ok as u64);
        donor.wait = Wait::Nothing;
        let gpr = donor.returning();
        (gpr[RAX], gpr[RSI], gpr[RDX]) = (Status::Yielded as u64, value, used);
        self.grant.donor = None;
        *self.current = Some(donor_id);
        Some(donor_id)
    }
}
