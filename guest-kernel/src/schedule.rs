//! The root's time: round robin, with time slices, among the threads and donors that have time from the root; and the timer.
//!
//! A thread that is woken runs at once, in the slice of the one that it interrupts. Handing the CPU over in IPC, or donating it, does not begin
//! a new slice, so no chain of threads gets more than one slice before all others that are ready had theirs.
//!
//! # Why the root scheduler is in the kernel
//!
//! All other policy is that of threads ([`crate::dispatch`]). The root of all chains could be a thread as well, as it was to be in Fluke. It
//! is not, for three reasons. A scheduler thread of the root would stand between every interrupt and the driver that it is for: a
//! message and two switches, about 500 instructions more than the wake-up itself. If it waited, crashed or looped, nobody could run, the
//! keeper that should repair it included; this round robin cannot. And parents that do not care how their children's time is divided
//! would have to care. What is lost is little: a parent that does care makes itself or another thread the scheduler of its children, whose
//! threads then never see the root's time again, so that the round robin is between those that nobody divides time for, at most one
//! for each parent that does.

use crate::arch::cpu;
use crate::arena::Id;
use crate::deadlines::Deadlines;
use crate::dispatch::{End, LONGEST_CHAIN, Queued, Source};
use crate::kernel::Kernel;
use crate::thread::{Thread, Wait};
use protocols::api::Status;

/// Time slices in a second.
const SLICES_PER_SECOND: u64 = 100;
/// How often the kernel looks for keepers that do not reply.
const KEEPER_CHECKS_PER_SECOND: u64 = 4;
/// How long threads wait for a keeper's reply whose Space does not say.
const PATIENCE_SECONDS: u64 = 10;

/// The timer's state.
#[derive(Debug)]
pub struct Timer {
    /// Ticks of the time stamp counter in a second.
    pub frequency: u64,
    slice_end: u64,
    /// Somebody waits for the end of the slice.
    contested: bool,
    programmed: u64,
    /// Threads that wait until some time.
    pub sleepers: Deadlines<Thread>,
    /// When to look again for keepers that do not reply.
    keeper_check: u64,
}

impl Timer {
    /// A timer that is not running.
    pub fn new(frequency: u64) -> Self {
        Self {
            frequency,
            slice_end: 0,
            contested: false,
            programmed: u64::MAX,
            sleepers: Deadlines::default(),
            keeper_check: 0,
        }
    }

    fn begin_slice(&mut self, now: u64) {
        self.slice_end = now + self.frequency / SLICES_PER_SECOND;
        self.contested = false;
    }

    /// The end of the slice, for which somebody waits. What has passed while nobody did counts up to a slice, no more: a thread that ran alone for
    /// long, or was woken meanwhile, is not stopped in its tracks by the first who comes.
    fn contested_end(&mut self) -> u64 {
        if !self.contested {
            let now = cpu::time();
            if self.slice_end <= now {
                self.begin_slice(now);
            }
            self.contested = true;
        }
        self.slice_end
    }

    #[inline]
    fn program_by(&mut self, time: u64) {
        if time < self.programmed {
            self.programmed = time;
            cpu::set_timer_deadline(time);
        }
    }
}

impl Kernel {
    /// The thread to run; waits while there is none.
    #[inline]
    pub fn dispatch(&mut self) -> Id<Thread> {
        loop {
            // An interrupt may have woken a thread, which then runs already.
            if let Some(id) = self.current {
                return id;
            }
            self.run_next();
            if let Some(id) = self.current {
                return id;
            }
            if !self.dispatcher().is_asking() {
                cpu::wait_for_interrupt();
            }
            self.pending_interrupts();
        }
    }

    fn run_next(&mut self) {
        let continues = self.dispatcher().resume();
        self.ask_for_time();
        match continues {
            Some(true) => self.continue_slice(),
            Some(false) => self.begin_slice(),
            None => {}
        }
    }

    fn begin_slice(&mut self) {
        self.timer.begin_slice(cpu::time());
        self.continue_slice();
    }

    fn continue_slice(&mut self) {
        if self.ready.first().is_some() {
            let end = self.timer.contested_end();
            self.timer.program_by(end);
        }
    }

    /// Lets a thread that waits for nothing run when it is its turn, as its source of CPU time says.
    #[inline(never)]
    pub fn make_ready(&mut self, id: Id<Thread>) {
        self.dispatcher().make_ready(id);
        self.dispatched();
    }

    /// Does what dispatching has left to do.
    #[inline]
    pub(crate) fn dispatched(&mut self) {
        self.ask_for_time();
        if self.current.is_some() {
            self.continue_slice();
        }
    }

    /// Tells the schedulers of those that ask for CPU time. A scheduler that has to ask for time itself does so in turn; where too many do, the
    /// rest is left for the next time, so that it takes bounded time.
    #[inline]
    pub(crate) fn ask_for_time(&mut self) {
        if self.grant.attention {
            self.attend();
        }
    }

    #[cold]
    fn attend(&mut self) {
        if self.are_limits() {
            let limit = self.dispatcher().next_limit();
            self.timer.program_by(limit);
        }
        self.tell_schedulers();
        self.grant.attention = self.dispatcher().is_asking();
    }

    /// Whether anybody's time is limited, or was until now.
    fn are_limits(&self) -> bool {
        self.objects.limits != 0 || self.objects.refills.first(&self.objects.payers).is_some()
    }

    fn tell_schedulers(&mut self) {
        for _ in 0..LONGEST_CHAIN {
            if !self.dispatcher().is_asking() {
                return;
            }
            if let Some(port) = self.dispatcher().next_asker() {
                self.announce_to_one(port);
            }
        }
    }

    /// Runs a woken thread at once if it has CPU time from the root, instead of the running one, which goes on in the same slice
    /// afterwards: a new one each time would let interrupts keep all others from running.
    pub fn wake(&mut self, id: Id<Thread>) {
        self.dispatcher().wake(id);
        self.ask_for_time();
    }

    /// [`wake`](Self::wake) for two threads of which it is known that they may run, with time from the root: `id`, in no queue, and the
    /// running one.
    #[inline(always)]
    pub fn wake_instead_of(&mut self, current: Id<Thread>, id: Id<Thread>) {
        if let Some(thread) = self.objects.threads.get_mut(current) {
            (thread.scheduling.queued, thread.scheduling.interrupted) = (Queued::Ready, true);
        }
        self.ready.push_front(&mut self.objects.threads, current);
        self.current = Some(id);
    }

    /// Hands the CPU from the running thread, which waits from now on, to another whom it concerns, if that may run on root time; otherwise
    /// that has its turn as any other.
    pub fn pass_on(&mut self, id: Id<Thread>) {
        let on_root_time = self.objects.threads.get(id).is_some_and(|thread| thread.scheduling.source == Source::Root);
        if self.current.is_none() && on_root_time && !self.grant.is_donated() && self.objects.limits == 0 {
            self.hand_over(id);
        } else {
            self.make_ready(id);
        }
    }

    /// Hands the CPU from the running thread, which waits from now on, to another.
    #[inline]
    pub fn hand_over(&mut self, id: Id<Thread>) {
        self.current = Some(id);
    }

    /// Takes a thread off the CPU and out of its queue.
    pub fn unready(&mut self, id: Id<Thread>) {
        self.dispatcher().unready(id);
        // Whoever works for it may run on its time.
        self.check_running();
    }

    /// Takes the CPU from a thread that has no time from the root and does not run on anybody's any more.
    #[inline]
    pub fn check_running(&mut self) {
        self.dispatcher().check_running();
        self.ask_for_time();
    }

    /// Tells a donor how its donation ends. It goes on as soon as it has the CPU.
    pub fn end_donation(&mut self, donor: Id<Thread>, status: Status) {
        self.dispatcher().end_donation(donor, End::With(status));
        self.dispatched();
    }

    /// Ends a donation whose donor is about to do something else.
    pub fn cancel_donation(&mut self, donor: Id<Thread>) {
        self.dispatcher().end_donation(donor, End::Cancelled);
        self.dispatched();
    }

    /// Ends a thread's wait at `deadline`, which is noted in it.
    ///
    /// A wait that ends before leaves the thread among the sleepers, so that ending waits costs nothing; whoever waits again and again with
    /// a deadline is put in its place there only when an earlier one passes.
    #[inline]
    pub fn set_deadline(&mut self, id: Id<Thread>, deadline: u64) {
        let threads = &mut self.objects.threads;
        let noted = threads.get(id).and_then(|thread| thread.timed.time());
        if noted.is_none_or(|noted| noted > deadline) {
            self.timer.sleepers.remove(threads, id);
            self.timer.sleepers.add(threads, id, deadline);
        }
        self.timer.program_by(deadline);
    }

    /// The timer has fired: ends the time slice, and wakes whoever has slept long enough.
    pub fn timer_fired(&mut self) {
        let now = cpu::time();
        self.timer.programmed = u64::MAX;
        let limited = self.are_limits();
        if limited {
            self.dispatcher().look_at_limits();
        }
        // Before anybody is woken: who is woken now interrupts the next thread's slice, not one that has ended.
        if now >= self.timer.slice_end && self.ready.first().is_some() {
            self.dispatcher().end_slice();
            self.begin_slice();
        }
        while let Some((time, id)) = self.timer.sleepers.first(&self.objects.threads)
            && time <= now
        {
            self.timer.sleepers.remove(&mut self.objects.threads, id);
            self.slept(id, now);
        }
        let mut next = self.timer.sleepers.first(&self.objects.threads).map_or(u64::MAX, |(time, _)| time);
        if self.ready.first().is_some() {
            next = next.min(self.timer.contested_end());
        } else {
            self.timer.contested = false;
        }
        self.check_keepers(now);
        if limited {
            next = next.min(self.dispatcher().next_limit());
        }
        self.timer.program_by(next.min(self.timer.keeper_check));
        self.ask_for_time();
    }

    /// A time has come that a thread waited for at some time: ends its wait if it still waits for that.
    fn slept(&mut self, id: Id<Thread>, now: u64) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let (wait, deadline) = (thread.wait, thread.deadline);
        if !wait.is_timed() || deadline == 0 {
            return;
        }
        if deadline > now {
            return self.timer.sleepers.add(&mut self.objects.threads, id, deadline);
        }
        match wait {
            Wait::Donation(_) => return self.end_donation(id, Status::TimedOut),
            Wait::Mutex(_) | Wait::Cond(_) => {
                self.lock_timed_out(id);
                // The owner may have run on its time.
                return self.check_running();
            }
            _ => {}
        }
        self.stop_waiting(id);
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.finish(Status::TimedOut as u64);
        }
        self.wake(id);
    }

    /// Stops the threads that have waited too long for their keepers. They are looked for now and then, so that waiting costs
    /// nothing where keepers reply.
    pub fn check_keepers(&mut self, now: u64) {
        if now < self.timer.keeper_check {
            return self.timer.program_by(self.timer.keeper_check);
        }
        self.timer.keeper_check = now + self.timer.frequency / KEEPER_CHECKS_PER_SECOND;
        self.timer.program_by(self.timer.keeper_check);
        let mut next = self.objects.threads.after(None);
        while let Some(id) = next {
            next = self.objects.threads.after(Some(id));
            if self.waits_too_long(id, now) {
                self.stop_waiting(id);
                self.fail_client_because(id, "its keeper has not replied in time");
            }
        }
    }

    fn waits_too_long(&mut self, id: Id<Thread>, now: u64) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        if !thread.needs_keeper() {
            return false;
        }
        if thread.keeper_since == 0 {
            thread.keeper_since = now;
            return false;
        }
        let space = thread.space.and_then(|space| self.objects.spaces.get(space));
        let patience = match space.map_or(0, |space| space.patience) {
            0 => self.timer.frequency.saturating_mul(PATIENCE_SECONDS),
            patience => patience,
        };
        now - thread.keeper_since >= patience
    }
}
