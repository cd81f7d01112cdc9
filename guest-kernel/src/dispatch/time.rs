//! Whose time is used: how much CPU time Spaces have used, and its limits.
//!
//! Time belongs to the [payer](crate::account) of a thread that has time from the root: of the outermost, among the thread that was
//! chosen to run and those that wait for it, that has any left. It counts for all payers above as well. The fast paths of IPC
//! do not change whom it belongs to: a server runs on its client's time. While nobody has a limit, who is served or notified
//! goes on so a little longer, until the dispatcher chooses anew; where somebody has one, the dispatcher looks at every end of such a
//! loan, so that nobody gets time of others by being served or notified.
//!
//! A payer with a limit has a budget for each period. When it is used up, threads that have time from nobody else are *held* by the
//! payer until a period begins in which it has some again. What was used too much, because the timer came late, is taken off the next.
//!
//! To account for time does not take longer the deeper a Space is: payers without a limit are passed over, and what was used is
//! passed up when somebody asks, or when [`MOST_UNPASSED`] payers have something to pass.

use super::{Dispatcher, Queued};
use crate::account::Payer;
use crate::arena::Id;
use crate::deadlines::{Place, Timed};
use crate::objects::{Objects, Queue};
use crate::thread::Thread;
use core::cell::Cell;
use protocols::api::Quotas;

/// How many threads are let go at once by a payer that has time again, with interrupts off.
const AT_ONCE: usize = 16;

/// How many payers may have time that is not passed up.
pub const MOST_UNPASSED: usize = 64;

/// The CPU time of a payer.
#[derive(Debug, Default)]
pub struct Time {
    /// Its share, of [`Quotas::WHOLE_CPU`]; 0 for no limit.
    share: u64,
    /// Ticks in each period; 0 for no limit.
    budget: u64,
    /// Ticks used in the present period.
    spent: u64,
    /// Which period that is.
    period: u64,
    /// Ticks used by itself.
    own: u64,
    /// The same, and by those below, as far as they have passed it up.
    below: u64,
    /// What of that is not passed up yet.
    unpassed: u64,
    /// The nearest payer with a limit, from this one upwards, and when that was found out.
    limited: Cell<(u64, Option<Id<Payer>>)>,
    /// It has a limit and nothing left.
    pub(super) exhausted: bool,
    /// Threads that are held.
    held: Queue,
    refill: Place<Payer>,
}

impl Timed for Payer {
    fn timed(&mut self) -> &mut Place<Self> {
        &mut self.time.refill
    }
    fn timed_ref(&self) -> &Place<Self> {
        &self.time.refill
    }
}

impl Time {
    /// The share; ticks used by itself, and by those below as well.
    pub fn used(&self) -> (u64, u64, u64) {
        (self.share, self.own, self.below)
    }

    /// What is not passed up yet.
    #[cfg(test)]
    pub fn unpassed(&self) -> u64 {
        self.unpassed
    }

    /// Threads that are held.
    #[cfg(test)]
    pub fn held(&self) -> &Queue {
        &self.held
    }

    /// Whether it has a limit.
    pub fn is_limited(&self) -> bool {
        self.budget != 0
    }

    /// The present period is `period`.
    fn renew(&mut self, period: u64) {
        if period > self.period {
            self.spent = self.spent.saturating_sub(self.budget.saturating_mul(period - self.period));
            self.period = period;
        }
    }
}

impl Objects {
    /// Limits a payer to a share of the CPU in periods of `length` ticks from `now` on; 0 for no limit.
    pub fn set_share(&mut self, id: Id<Payer>, share: u64, now: u64, length: u64) {
        let Some(payer) = self.payers.get_mut(id) else { return };
        let time = &mut payer.time;
        let was_limited = time.is_limited();
        time.share = share;
        time.budget = match share {
            0 => 0,
            share => (u128::from(share) * u128::from(length) / u128::from(Quotas::WHOLE_CPU)).max(1) as u64,
        };
        match (was_limited, time.is_limited()) {
            (false, true) => {
                (time.period, time.spent) = (now / length, 0);
                self.limits += 1;
            }
            (true, false) => self.limits -= 1,
            _ => {}
        }
        self.limit_changes += 1;
        // Whether it has time now is judged at once.
        if was_limited {
            self.refills.remove(&mut self.payers, id);
            self.refills.add(&mut self.payers, id, now);
        }
    }

    /// Removes a payer.
    pub fn remove_payer(&mut self, id: Id<Payer>) {
        self.pass_up(id);
        self.refills.remove(&mut self.payers, id);
        if self.payers.remove(id).is_some_and(|payer| payer.time.is_limited()) {
            self.limits -= 1;
            self.limit_changes += 1;
        }
    }

    /// Adds what a payer has not passed up to all above it.
    fn pass_up(&mut self, id: Id<Payer>) {
        let Some(payer) = self.payers.get_mut(id) else { return };
        let ticks = core::mem::take(&mut payer.time.unpassed);
        let mut next = payer.parent().filter(|_| ticks != 0);
        while let Some(payer) = next.and_then(|id| self.payers.get_mut(id)) {
            payer.time.below += ticks;
            next = payer.parent();
        }
    }

    /// The nearest payer with a limit, from `payer` upwards. Looked for anew only when a limit has come or gone.
    fn limited(&self, payer: Option<Id<Payer>>) -> Option<Id<Payer>> {
        if self.limits == 0 {
            return None;
        }
        let asked = payer?;
        let now = self.limit_changes;
        let mut next = Some(asked);
        let found = loop {
            let Some((id, payer)) = next.and_then(|id| Some((id, self.payers.get(id)?))) else { break None };
            if payer.time.is_limited() {
                break Some(id);
            }
            match payer.time.limited.get() {
                (when, found) if when == now => break found,
                _ => next = payer.parent(),
            }
        };
        if let Some(payer) = self.payers.get(asked) {
            payer.time.limited.set((now, found));
        }
        found
    }

    /// The next one above a payer.
    fn limited_above(&self, id: Id<Payer>) -> Option<Id<Payer>> {
        let parent = self.payers.get(id)?.parent();
        self.limited(parent)
    }
}

impl Dispatcher<'_> {
    /// Who pays for a thread that has time from the root.
    pub(super) fn payer(&self, id: Id<Thread>) -> Option<Id<Payer>> {
        self.objects.payer_of(self.thread(id)?.space?)
    }

    /// Who has no time left, of those who pay for a thread.
    pub(super) fn exhausted(&self, id: Id<Thread>) -> Option<Id<Payer>> {
        if self.objects.limits == 0 {
            return None;
        }
        let mut next = self.objects.limited(self.payer(id));
        while let Some(id) = next {
            if self.objects.payers.get(id).is_some_and(|payer| payer.time.exhausted) {
                return Some(id);
            }
            next = self.objects.limited_above(id);
        }
        None
    }

    /// From now on time belongs to `payer`.
    #[inline]
    pub(super) fn charge_to(&mut self, payer: Option<Id<Payer>>) {
        if self.grant.payer != payer {
            self.account();
            self.grant.payer = payer;
            self.grant.attention |= self.objects.limits != 0;
        }
    }

    /// Accounts for the time used so far.
    pub fn account(&mut self) {
        let (now, length) = ((self.grant.clock)(), self.grant.period);
        let elapsed = now.saturating_sub(core::mem::replace(&mut self.grant.accounted, now));
        let Some(id) = self.grant.payer else { return };
        let Some(payer) = self.objects.payers.get_mut(id) else { return };
        let time = &mut payer.time;
        time.own += elapsed;
        time.below += elapsed;
        let is_new = time.unpassed == 0;
        time.unpassed += elapsed;
        if is_new && elapsed != 0 {
            if self.grant.unpassed.is_full() {
                self.pass_time_up();
            }
            // There is room now.
            let _ = self.grant.unpassed.push(id);
        }
        let mut next = self.objects.limited(Some(id));
        while let Some(id) = next {
            self.spend(id, elapsed, now / length);
            next = self.objects.limited_above(id);
        }
    }

    /// Has every payer know what was used below it, but for what whose time is used has used.
    pub fn pass_time_up(&mut self) {
        let present = self.grant.payer;
        let objects = &mut *self.objects;
        self.grant.unpassed.retain(|&id| {
            let stays = Some(id) == present;
            if !stays {
                objects.pass_up(id);
            }
            stays
        });
    }

    fn spend(&mut self, id: Id<Payer>, elapsed: u64, period: u64) {
        let Some(payer) = self.objects.payers.get_mut(id) else { return };
        let time = &mut payer.time;
        time.renew(period);
        time.spent += elapsed;
        if time.spent >= time.budget && !time.exhausted {
            time.exhausted = true;
            let when = (period + time.spent / time.budget) * self.grant.period;
            let Objects { payers, refills, .. } = &mut *self.objects;
            refills.remove(payers, id);
            refills.add(payers, id, when);
            self.grant.attention = true;
        }
    }

    /// Lets a thread wait for `payer` to have time again.
    pub(super) fn hold(&mut self, id: Id<Thread>, payer_id: Id<Payer>) {
        let objects = &mut *self.objects;
        let Some(payer) = objects.payers.get_mut(payer_id) else { return };
        if let Some(thread) = objects.threads.get_mut(id) {
            thread.scheduling.queued = Queued::Held(payer_id);
            payer.time.held.push_back(&mut objects.threads, id);
        }
    }

    /// Takes a thread out of those that `payer` holds.
    pub(super) fn release(&mut self, id: Id<Thread>, payer: Id<Payer>) {
        if let Some(payer) = self.objects.payers.get_mut(payer) {
            payer.time.held.remove(&mut self.objects.threads, id);
        }
    }

    /// When to look again whether somebody has time, or has none left.
    pub fn next_limit(&self) -> u64 {
        let (now, length) = ((self.grant.clock)(), self.grant.period);
        let mut soonest = self.objects.refills.first(&self.objects.payers).map_or(u64::MAX, |(time, _)| time);
        let mut next = self.objects.limited(self.grant.payer);
        while let Some((id, payer)) = next.and_then(|id| Some((id, self.objects.payers.get(id)?))) {
            let time = &payer.time;
            let spent = time.spent.saturating_sub(time.budget.saturating_mul(now / length - time.period));
            soonest = soonest.min(now + time.budget.saturating_sub(spent));
            next = self.objects.limited_above(id);
        }
        soonest
    }

    /// Takes the CPU from those who have no time left, and lets those go on who have some again: after a time that
    /// [`next_limit`](Self::next_limit) has named. Takes bounded time; what is left over is due at once.
    pub fn look_at_limits(&mut self) {
        self.account();
        let (now, length) = ((self.grant.clock)(), self.grant.period);
        for _ in 0..AT_ONCE {
            let Some((time, id)) = self.objects.refills.first(&self.objects.payers) else { break };
            if time > now {
                break;
            }
            self.objects.refills.remove(&mut self.objects.payers, id);
            self.refill(id, now, length);
        }
        self.check_running();
    }

    fn refill(&mut self, id: Id<Payer>, now: u64, length: u64) {
        let Some(payer) = self.objects.payers.get_mut(id) else { return };
        let time = &mut payer.time;
        time.renew(now / length);
        if time.is_limited() && time.spent >= time.budget {
            time.exhausted = true;
            let when = (now / length + time.spent / time.budget) * length;
            return self.objects.refills.add(&mut self.objects.payers, id, when);
        }
        time.exhausted = false;
        for _ in 0..AT_ONCE {
            let Some(thread) = self.objects.payers.get(id).and_then(|payer| payer.time.held.first()) else { return };
            self.unqueue(thread);
            self.make_ready(thread);
        }
        self.objects.refills.add(&mut self.objects.payers, id, now);
    }

    /// Lets those that wait for `id` do so outside of the running chain, so that they do not get the CPU with the reply, but for
    /// those through whom `id` has the time of `pays`.
    pub(super) fn detach_unpaid(&mut self, id: Id<Thread>, pays: Id<Thread>) {
        if self.objects.limits == 0 {
            return;
        }
        self.detach_clients(id, false);
        let mut at = pays;
        for _ in 0..super::LONGEST_CHAIN {
            if at == id {
                return;
            }
            if let Some(client) = self.objects.threads.get_mut(at) {
                client.attach();
            }
            match self.worker_of(at) {
                Some(worker) => at = worker,
                None => return,
            }
        }
    }
}
