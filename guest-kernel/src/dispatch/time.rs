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

use super::{Dispatcher, Queued};
use crate::account::Payer;
use crate::arena::Id;
use crate::deadlines::{Place, Timed};
use crate::objects::{Objects, Queue};
use crate::thread::Thread;
use protocols::api::Quotas;

/// How many threads are let go at once by a payer that has time again, with interrupts off.
const AT_ONCE: usize = 16;

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
    /// The same, and by those below.
    below: u64,
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
        // Whether it has time now is judged at once.
        if was_limited {
            self.refills.remove(&mut self.payers, id);
            self.refills.add(&mut self.payers, id, now);
        }
    }

    /// Removes a payer.
    pub fn remove_payer(&mut self, id: Id<Payer>) {
        self.refills.remove(&mut self.payers, id);
        if self.payers.remove(id).is_some_and(|payer| payer.time.is_limited()) {
            self.limits -= 1;
        }
    }
}

impl Dispatcher<'_> {
    /// Who pays for a thread that has time from the root.
    pub(super) fn payer(&self, id: Id<Thread>) -> Option<Id<Payer>> {
        self.objects.payer_of(self.thread(id)?.space?)
    }

    /// Those who pay, from `payer` upwards.
    fn payers(&self, payer: Option<Id<Payer>>) -> impl Iterator<Item = (Id<Payer>, &Payer)> {
        let with = |id: Option<Id<Payer>>| id.and_then(|id| Some((id, self.objects.payers.get(id)?)));
        core::iter::successors(with(payer), move |(_, payer)| with(payer.parent()))
    }

    /// Who has no time left, of those who pay for a thread.
    pub(super) fn exhausted(&self, id: Id<Thread>) -> Option<Id<Payer>> {
        if self.objects.limits == 0 {
            return None;
        }
        self.payers(self.payer(id)).find(|(_, payer)| payer.time.exhausted).map(|(id, _)| id)
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
        let mut next = self.grant.payer;
        while let Some((id, payer)) = next.and_then(|id| Some((id, self.objects.payers.get_mut(id)?))) {
            let time = &mut payer.time;
            if self.grant.payer == Some(id) {
                time.own += elapsed;
            }
            time.below += elapsed;
            next = payer.parent();
            if payer.time.is_limited() {
                self.spend(id, elapsed, now / length);
            }
        }
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
        let refill = self.objects.refills.first(&self.objects.payers).map_or(u64::MAX, |(time, _)| time);
        let limited = self.payers(self.grant.payer).filter(|(_, payer)| payer.time.is_limited());
        let ends = limited.map(|(_, Payer { time, .. })| {
            let spent = time.spent.saturating_sub(time.budget.saturating_mul(now / length - time.period));
            now + time.budget.saturating_sub(spent)
        });
        ends.fold(refill, u64::min)
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
