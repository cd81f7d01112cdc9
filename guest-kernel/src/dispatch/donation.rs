//! Donating: chains are made, followed, charged and ended.

use super::{Dispatcher, End, LONGEST_CHAIN, Told};
use crate::arena::Id;
use crate::objects::{Port, Portset};
use crate::thread::{Thread, Wait};
use protocols::api::{Sensitivity, Status};
use protocols::virtual_cpu::register::{RDX, RSI};

impl Dispatcher<'_> {
    /// Charges the time of the present grant to the targets along the chain.
    pub(super) fn settle(&mut self) {
        if self.grant.donor.is_none() {
            return;
        }
        let now = (self.grant.clock)();
        let elapsed = now.saturating_sub(core::mem::replace(&mut self.grant.since, now));
        let mut donor = self.grant.donor;
        for _ in 0..LONGEST_CHAIN {
            let Some(thread) = donor.and_then(|donor| self.thread(donor)) else { return };
            donor = thread.scheduling.outer;
            if let Wait::Donation(target) = thread.wait
                && let Some(target) = self.threads().get_mut(target)
            {
                target.scheduling.used += elapsed;
            }
        }
    }

    /// The running thread donates the CPU to `target`, until something happens that `sensitivity` or `portset` say, or the
    /// donation is [ended](Self::end_donation).
    pub fn donate(
        &mut self,
        donor: Id<Thread>,
        target: Id<Thread>,
        sensitivity: Sensitivity,
        portset: Option<Id<Portset>>,
    ) -> Result<(), Status> {
        if self.leads_to(target, donor) {
            return Err(Status::Circular);
        }
        if portset.is_some_and(|id| self.objects.portsets.get(id).is_some_and(|portset| portset.donor.is_some())) {
            return Err(Status::Refused);
        }
        self.settle();
        // It does not have the CPU: the chain would lead to the caller.
        if let Some(other) = self.donor_of(target) {
            self.conclude(other, Status::Disconnected);
            self.forget_donation(other);
            self.make_ready(other);
        }
        let outer = self.grant.donor;
        let Some(thread) = self.objects.threads.get_mut(donor) else { return Err(Status::NotFound) };
        thread.wait = Wait::Donation(target);
        let scheduling = &mut thread.scheduling;
        (scheduling.outer, scheduling.sensitivity) = (outer, sensitivity);
        (scheduling.portset, scheduling.dormant) = (portset, false);
        if let Some(target) = self.objects.threads.get_mut(target) {
            target.scheduling.donor = Some(donor);
        }
        if let Some(portset) = portset.and_then(|portset| self.objects.portsets.get_mut(portset)) {
            portset.donor = Some(donor);
        }
        *self.current = None;
        self.follow(donor, outer);
        Ok(())
    }

    /// Gives the CPU to the end of the chain that begins with `id`, on the time of `outer`.
    pub(super) fn follow(&mut self, id: Id<Thread>, outer: Option<Id<Thread>>) {
        let (mut at, mut innermost, mut locks) = (id, outer, false);
        for _ in 0..LONGEST_CHAIN {
            // Who waits for a Mutex may wait for its own donor: nobody runs then.
            if locks && self.is_donor_above(innermost, at) {
                break;
            }
            let Some(thread) = self.objects.threads.get_mut(at) else { break };
            if thread.stopped || thread.space.is_none() {
                break;
            }
            match thread.wait {
                Wait::Nothing => return self.run(at, innermost),
                Wait::Donation(target) => {
                    thread.scheduling.outer = innermost;
                    thread.scheduling.dormant = false;
                    self.unqueue(at);
                    innermost = Some(at);
                    at = target;
                    // Others may wait for the target as well.
                    self.detach_clients(target, false);
                }
                _ => {
                    thread.attach();
                    locks |= matches!(thread.wait, Wait::Mutex(_));
                    match self.worker_of(at) {
                        Some(server) => at = server,
                        None => break,
                    }
                }
            }
        }
        self.blocked(innermost);
    }

    fn run(&mut self, id: Id<Thread>, donor: Option<Id<Thread>>) {
        self.unqueue(id);
        if donor.is_some() && self.grant.donor.is_none() {
            self.grant.since = (self.grant.clock)();
        }
        self.grant.donor = donor;
        *self.current = Some(id);
    }

    /// Nobody whom `innermost` donates to can run: who wants to know goes on.
    fn blocked(&mut self, innermost: Option<Id<Thread>>) {
        let mut next = innermost;
        for _ in 0..LONGEST_CHAIN {
            let Some((donor, thread)) = next.and_then(|donor| Some((donor, self.thread(donor)?))) else { break };
            let Wait::Donation(target) = thread.wait else { break };
            let (outer, sensitivity) = (thread.scheduling.outer, thread.scheduling.sensitivity);
            self.detach_below(target);
            if sensitivity == Sensitivity::Block {
                self.conclude(donor, Status::Blocked);
                self.forget_donation(donor);
                return self.run(donor, outer);
            }
            // It may have asked for time on its own.
            self.unqueue(donor);
            if let Some(thread) = self.threads().get_mut(donor) {
                thread.scheduling.dormant = true;
            }
            next = outer;
        }
        self.grant.donor = None;
        *self.current = None;
    }

    /// Writes how a donation ends to the donor's registers.
    fn conclude(&mut self, donor: Id<Thread>, status: Status) {
        if let Some(Wait::Donation(target)) = self.thread(donor).map(|thread| thread.wait) {
            self.conclude_with(donor, target, status);
        }
    }

    /// Writes how a donation to `target` ends, or would have ended, to the registers of `donor`.
    pub fn conclude_with(&mut self, donor: Id<Thread>, target: Id<Thread>, status: Status) {
        let (value, used) =
            self.thread(target).map_or((0, 0), |target| (target.scheduling.value, target.scheduling.used));
        if let Some(thread) = self.threads().get_mut(donor) {
            thread.finish(status as u64);
            let gpr = thread.gpr_mut();
            (gpr[RSI], gpr[RDX]) = (value, used);
        }
    }

    /// Returns the target.
    fn forget_donation(&mut self, donor: Id<Thread>) -> Option<Id<Thread>> {
        let thread = self.thread(donor)?;
        let Wait::Donation(target) = thread.wait else { return None };
        let portset = thread.scheduling.portset;
        self.set_target(donor, target, None);
        if let Some(portset) = portset.and_then(|portset| self.objects.portsets.get_mut(portset))
            && portset.donor == Some(donor)
        {
            portset.donor = None;
        }
        Some(target)
    }

    /// Ends a donation, whose donor waits for nothing then. Who is told goes on, at once if the chain runs.
    pub fn end_donation(&mut self, donor: Id<Thread>, end: End) {
        self.settle();
        if let End::With(status) = end {
            self.conclude(donor, status);
        }
        let active = self.is_active(donor);
        let Some(target) = self.forget_donation(donor) else { return };
        let portset = self.thread(donor).and_then(|thread| thread.scheduling.portset);
        let told = portset.filter(|_| end != End::Cancelled).map(|portset| (portset, target));
        if active {
            self.suspend(Some(donor), told, false);
            self.grant.donor = self.outer(donor);
            if end != End::Cancelled {
                *self.current = Some(donor);
            }
            return;
        }
        self.release_below(target, told);
        if end != End::Cancelled {
            self.wake(donor);
        }
    }

    /// Lets whoever could run for `id` do so otherwise, now that `id` has no donor any more.
    fn release_below(&mut self, id: Id<Thread>, told: Option<Told>) {
        let mut at = id;
        for _ in 0..LONGEST_CHAIN {
            let Some(thread) = self.thread(at) else { return };
            if thread.can_run() {
                return self.provide(at, false, told);
            }
            match self.worker_of(at) {
                Some(server) => at = server,
                None => return,
            }
        }
    }

    /// Hands the time that is being used to the chain that begins with `id`, for whom the thread that has just run waits: the
    /// owner of a Mutex, for instance. Nothing happens if nobody at its end can run.
    pub fn donate_to(&mut self, id: Id<Thread>) {
        if self.current.is_none() && self.grant.donor.is_none() {
            self.follow(id, None);
        }
    }

    /// Lets a donor whose target cannot run, and who wants to hear of conflicts only, donate to another that can.
    pub(super) fn retarget(&mut self, donor: Id<Thread>, id: Id<Thread>, port: Id<Port>) -> bool {
        let Some(thread) = self.thread(donor) else { return false };
        let Wait::Donation(before) = thread.wait else { return false };
        if thread.scheduling.sensitivity != Sensitivity::Conflict || !thread.scheduling.dormant {
            return false;
        }
        let Some((owner, _)) = self.support(id).asks.filter(|&(owner, at)| at == port && owner != donor) else {
            return false;
        };
        if self.donor_of(owner).is_some() || self.leads_to(owner, donor) {
            return false;
        }
        self.set_target(donor, before, Some(owner));
        if let Some(thread) = self.threads().get_mut(donor) {
            thread.scheduling.dormant = false;
        }
        self.make_ready(donor);
        true
    }

    fn set_target(&mut self, donor: Id<Thread>, before: Id<Thread>, target: Option<Id<Thread>>) {
        if let Some(thread) = self.threads().get_mut(before)
            && thread.scheduling.donor == Some(donor)
        {
            thread.scheduling.donor = None;
        }
        if let Some(thread) = self.threads().get_mut(donor) {
            thread.wait = target.map_or(Wait::Nothing, Wait::Donation);
        }
        if let Some(thread) = target.and_then(|target| self.objects.threads.get_mut(target)) {
            thread.scheduling.donor = Some(donor);
        }
    }

    /// Whether the chain that begins with `id` comes to `end`.
    pub(super) fn leads_to(&self, id: Id<Thread>, end: Id<Thread>) -> bool {
        let mut at = id;
        for _ in 0..LONGEST_CHAIN {
            if at == end {
                return true;
            }
            let Some(thread) = self.thread(at) else { return false };
            match (thread.wait, self.worker_of(at)) {
                (Wait::Donation(next), _) | (_, Some(next)) => at = next,
                _ => return false,
            }
        }
        true
    }

    /// Lets those that wait on the way from a donor's target on do so outside of the running chain.
    pub(super) fn detach_below(&mut self, id: Id<Thread>) {
        let mut at = id;
        for _ in 0..LONGEST_CHAIN {
            let Some(thread) = self.threads().get_mut(at) else { return };
            thread.detach();
            match self.worker_of(at) {
                Some(server) => at = server,
                None => return,
            }
        }
    }
}
