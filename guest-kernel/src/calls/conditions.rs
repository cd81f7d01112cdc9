//! Calls on Conds, and how waits for Mutexes and in Conds end early.

use super::{Done, Stop};
use crate::arch::cpu;
use crate::arena::Id;
use crate::dismantle::PIECES;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::{Cond, Object};
use crate::thread::{Thread, Wait};
use protocols::api::{Call, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{RAX, RDI, RDX, RSI};

impl Kernel {
    pub(super) fn condition_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Cond>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Cond(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn wait_in_condition(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [address, mutex_address, deadline]: [u64; 3],
    ) -> Result<Option<Status>, Stop> {
        let condition_id = self.condition_at(caller, address, Rights::WRITE)?;
        let mutex = self.mutex_at(caller, mutex_address, Rights::WRITE)?;
        let own = self.owner_address(id)?;
        if !self.owns(mutex, own) {
            return Err(Misuse::NotOwner.into());
        }
        if deadline != 0 && deadline <= cpu::time() {
            return Ok(Some(Status::TimedOut));
        }
        let objects = &mut self.objects;
        let Some(condition) = objects.conditions.get_mut(condition_id) else { return Err(Misuse::NoObject.into()) };
        condition.waiters.push_back(&mut objects.threads, id);
        if let Some(thread) = objects.threads.get_mut(id) {
            thread.mutex = Some(mutex);
            let gpr = thread.gpr_mut();
            (gpr[RAX], gpr[RDI]) = (Call::MutexLock as u64, mutex_address);
            (gpr[RSI], gpr[RDX]) = (0, Status::Ok as u64);
        }
        self.fall_asleep(id, Wait::Cond(condition_id), deadline);
        self.pass_mutex_on(mutex);
        Ok(None)
    }

    pub(super) fn signal_condition(&mut self, caller: Id<Space>, address: u64) -> Done {
        let condition = self.condition_at(caller, address, Rights::WRITE)?;
        self.wake_one(condition, Status::Ok);
        Ok(Status::Ok)
    }

    /// `None`: there are many, and the caller makes the call again.
    pub(super) fn broadcast_condition(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        address: u64,
    ) -> Result<Option<Status>, Stop> {
        let condition = self.condition_at(caller, address, Rights::WRITE)?;
        if (0..PIECES).any(|_| !self.wake_one(condition, Status::Ok)) {
            return Ok(Some(Status::Ok));
        }
        Ok(self.repeat(id))
    }

    /// Wakes whoever has slept longest in a Cond. False if nobody sleeps.
    pub fn wake_one(&mut self, id: Id<Cond>, status: Status) -> bool {
        let objects = &mut self.objects;
        let first = objects.conditions.get_mut(id).and_then(|cond| cond.waiters.pop_front(&mut objects.threads));
        if let Some(sleeper) = first {
            self.lock_again(sleeper, status);
        }
        first.is_some()
    }

    fn leave_condition(&mut self, id: Id<Thread>, condition: Id<Cond>) {
        if let Some(condition) = self.objects.conditions.get_mut(condition) {
            condition.waiters.remove(&mut self.objects.threads, id);
        }
    }

    /// Takes a thread out of the queue of a Mutex or Cond, if it is in one. It waits for nothing then, and makes its
    /// call again when it goes on.
    pub fn interrupt_lock(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id).filter(|thread| thread.wait.is_for_lock()) else { return };
        let wait = core::mem::replace(&mut thread.wait, Wait::Nothing);
        thread.repeat_call();
        self.leave_lock(id, wait);
    }

    fn leave_lock(&mut self, id: Id<Thread>, wait: Wait) {
        match wait {
            Wait::Mutex(mutex) => self.leave_mutex(id, mutex),
            Wait::Cond(condition) => self.leave_condition(id, condition),
            _ => {}
        }
    }

    /// Ends a thread's wait for a Mutex or in a Cond because its deadline has passed.
    pub fn lock_timed_out(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let wait = core::mem::replace(&mut thread.wait, Wait::Nothing);
        self.leave_lock(id, wait);
        if matches!(wait, Wait::Cond(_)) {
            return self.lock_again(id, Status::TimedOut);
        }
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.finish(Status::TimedOut as u64);
        }
        self.wake(id);
    }
}
