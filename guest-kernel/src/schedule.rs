//! Dividing the CPU: round robin, with time slices; a thread that is woken runs at once, in the slice of the one that it interrupts.
//!
//! Handing the CPU over in IPC does not begin a new slice, so no chain of threads gets more than one slice before all others that
//! are ready had theirs.

use crate::arch::cpu;
use crate::arena::Id;
use crate::deadlines::Deadlines;
use crate::kernel::Kernel;
use crate::objects::Queue;
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
    programmed: u64,
    /// Threads that wait until some time.
    pub sleepers: Deadlines<Thread>,
    /// When to look again for keepers that do not reply.
    keeper_check: u64,
}

impl Timer {
    /// A timer that is not running.
    pub fn new(frequency: u64) -> Self {
        Self { frequency, slice_end: 0, programmed: u64::MAX, sleepers: Deadlines::default(), keeper_check: 0 }
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
            if let Some(id) = self.pop_ready() {
                self.current = Some(id);
                let thread = self.objects.threads.get_mut(id);
                if thread.is_some_and(|thread| core::mem::take(&mut thread.interrupted)) {
                    self.continue_slice();
                } else {
                    self.begin_slice();
                }
                return id;
            }
            cpu::wait_for_interrupt();
            self.pending_interrupts();
        }
    }

    fn pop_ready(&mut self) -> Option<Id<Thread>> {
        let id = self.ready.pop_front(&mut self.objects.threads)?;
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.ready = false;
        }
        Some(id)
    }

    fn begin_slice(&mut self) {
        self.timer.slice_end = cpu::time() + self.timer.frequency / SLICES_PER_SECOND;
        self.continue_slice();
    }

    fn continue_slice(&mut self) {
        if self.ready.first().is_some() {
            self.timer.program_by(self.timer.slice_end);
        }
    }

    /// Makes a thread that waits for nothing ready to run, as soon as the running one lets it.
    #[inline]
    pub fn make_ready(&mut self, id: Id<Thread>) {
        self.enqueue(id, |queue, kernel| queue.push_back(&mut kernel.objects.threads, id));
    }

    fn enqueue(&mut self, id: Id<Thread>, push: impl FnOnce(&mut Queue, &mut Self)) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        if thread.stopped || thread.ready || thread.wait != Wait::Nothing || self.current == Some(id) {
            return;
        }
        thread.ready = true;
        thread.interrupted = false;
        let mut ready = self.ready;
        push(&mut ready, self);
        self.ready = ready;
        if self.current.is_some() {
            self.timer.program_by(self.timer.slice_end);
        }
    }

    /// Runs a thread that has been woken now, instead of the running one, which goes on in the same slice afterwards: a
    /// new one each time would let interrupts keep all others from running.
    pub fn wake(&mut self, id: Id<Thread>) {
        if let Some(current) = self.current.take() {
            self.enqueue(current, |queue, kernel| queue.push_front(&mut kernel.objects.threads, current));
            if let Some(thread) = self.objects.threads.get_mut(current) {
                thread.interrupted = thread.ready;
            }
        }
        self.enqueue(id, |queue, kernel| queue.push_front(&mut kernel.objects.threads, id));
        self.current = self.pop_ready();
    }

    /// [`wake`](Self::wake) for two threads of which it is known that they may run: `id`, in no queue, and the running one.
    #[inline(always)]
    pub fn wake_instead_of(&mut self, current: Id<Thread>, id: Id<Thread>) {
        if let Some(thread) = self.objects.threads.get_mut(current) {
            (thread.ready, thread.interrupted) = (true, true);
        }
        self.ready.push_front(&mut self.objects.threads, current);
        self.current = Some(id);
    }

    /// Hands the CPU from the running thread, which waits from now on, to another.
    #[inline]
    pub fn hand_over(&mut self, id: Id<Thread>) {
        self.current = Some(id);
    }

    /// Takes a thread off the CPU and out of the ready queue.
    pub fn unready(&mut self, id: Id<Thread>) {
        if self.current == Some(id) {
            self.current = None;
        }
        if let Some(thread) = self.objects.threads.get_mut(id).filter(|thread| thread.ready) {
            thread.ready = false;
            self.ready.remove(&mut self.objects.threads, id);
        }
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
        // Before anybody is woken: who is woken now interrupts the next thread's slice, not one that has ended.
        if now >= self.timer.slice_end && self.ready.first().is_some() {
            if let Some(current) = self.current.take() {
                self.make_ready(current);
            }
            self.current = self.pop_ready();
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
            next = next.min(self.timer.slice_end);
        }
        self.check_keepers(now);
        self.timer.program_by(next.min(self.timer.keeper_check));
    }

    /// A time has come that a thread waited for at some time: ends its wait if it still waits for that.
    fn slept(&mut self, id: Id<Thread>, now: u64) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        if !thread.wait.is_timed() || thread.deadline == 0 {
            return;
        }
        if thread.deadline > now {
            let deadline = thread.deadline;
            return self.timer.sleepers.add(&mut self.objects.threads, id, deadline);
        }
        if thread.wait.is_for_lock() {
            return self.lock_timed_out(id);
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
        for number in 0..self.objects.threads.places() {
            let Some(id) = self.objects.threads.at(number) else { continue };
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
