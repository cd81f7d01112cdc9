//! Calls on Mutexes.

use super::{Done, Stop};
use crate::arch::{cpu, physical};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::lock_word::{self, Attempt};
use crate::memory::hierarchy::Space;
use crate::objects::{Mutex, Object, Objects};
use crate::thread::{Thread, Wait};
use core::sync::atomic::AtomicU64;
use protocols::address::HostPhysical;
use protocols::api::{MutexState, OBJECT_SIZE, Rights, Status};
use protocols::exception::Misuse;
use protocols::lock_word::{Word, owner};
use protocols::virtual_cpu::register::{RDI, RDX, RSI};
use zerocopy::IntoBytes;

/// The lock word of a Mutex. A Mutex is only ever placed where there is one.
fn word(mutex: &Mutex) -> Option<&'static AtomicU64> {
    physical::shared_word(mutex.memory)
}

impl Mutex {
    /// A free Mutex with its lock word at `memory`.
    pub fn new(memory: HostPhysical) -> Self {
        let mutex = Self::at(memory);
        if let Some(word) = word(&mutex) {
            lock_word::pass_on(word, 0, false);
        }
        mutex
    }
}

impl Kernel {
    pub(super) fn mutex_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Mutex>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Mutex(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    /// The address by which a thread owns Mutexes.
    pub(super) fn owner_address(&self, id: Id<Thread>) -> Result<u64, Stop> {
        let own = self.objects.threads.get(id).and_then(Thread::own_address);
        own.ok_or(Misuse::NoSelf.into())
    }

    fn lock_word(&self, id: Id<Mutex>) -> Option<(&'static AtomicU64, bool)> {
        let mutex = self.objects.mutexes.get(id)?;
        Some((word(mutex)?, mutex.waiters.first().is_some()))
    }

    /// Whether a Mutex names a thread's own address as its owner's.
    pub(super) fn owns(&self, mutex: Id<Mutex>, own: u64) -> bool {
        self.lock_word(mutex).is_some_and(|(word, _)| lock_word::is_owner(word, own))
    }

    pub(super) fn lock_mutex(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        address: u64,
    ) -> Result<Option<Status>, Stop> {
        let mutex = self.mutex_at(caller, address, Rights::WRITE)?;
        let own = self.owner_address(id)?;
        let Some((word, others_wait)) = self.lock_word(mutex) else { return Err(Misuse::NoObject.into()) };
        let Some(thread) = self.objects.threads.get_mut(id) else { return Ok(None) };
        let (deadline, status) = (thread.gpr()[RSI], thread.gpr()[RDX]);
        match lock_word::lock(word, own, others_wait) {
            Attempt::Locked => thread.finish(status),
            Attempt::Own => return Err(Misuse::AlreadyOwner.into()),
            Attempt::Held if deadline != 0 && deadline <= cpu::time() => {
                lock_word::settle(word, others_wait);
                return Ok(Some(Status::TimedOut));
            }
            Attempt::Held => {
                self.note_owner(caller, mutex, owner(Word::load(word)));
                self.wait_for_mutex(id, mutex, deadline);
            }
        }
        Ok(None)
    }

    pub(super) fn try_mutex(&mut self, id: Id<Thread>, caller: Id<Space>, address: u64) -> Done {
        let mutex = self.mutex_at(caller, address, Rights::WRITE)?;
        let own = self.owner_address(id)?;
        let Some((word, others_wait)) = self.lock_word(mutex) else { return Err(Misuse::NoObject.into()) };
        match lock_word::lock(word, own, others_wait) {
            Attempt::Locked => Ok(Status::Ok),
            Attempt::Own => Err(Misuse::AlreadyOwner.into()),
            Attempt::Held => {
                lock_word::settle(word, others_wait);
                Ok(Status::Held)
            }
        }
    }

    pub(super) fn unlock_mutex(&mut self, id: Id<Thread>, caller: Id<Space>, address: u64) -> Done {
        let mutex = self.mutex_at(caller, address, Rights::WRITE)?;
        let own = self.owner_address(id)?;
        if !self.owns(mutex, own) {
            return Err(Misuse::NotOwner.into());
        }
        // The caller's own result must stand in its registers before somebody else may run.
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.finish(Status::Ok as u64);
        }
        self.pass_mutex_on(mutex);
        self.check_running();
        Ok(Status::Ok)
    }

    pub(super) fn get_mutex(&mut self, caller: Id<Space>, address: u64, state: u64) -> Done {
        let mutex = self.mutex_at(caller, address, Rights::READ)?;
        if state != 0 {
            let word = self.lock_word(mutex).map_or(0, |(word, _)| Word::load(word));
            self.write(caller, state, MutexState { owner: owner(word) }.as_bytes())?;
        }
        Ok(Status::Ok)
    }

    pub(super) fn set_mutex(&mut self, caller: Id<Space>, address: u64, state: u64) -> Done {
        let mutex = self.mutex_at(caller, address, Rights::WRITE)?;
        if state == 0 {
            return Ok(Status::Ok);
        }
        let state: MutexState = self.read(caller, state)?;
        if !state.owner.is_multiple_of(OBJECT_SIZE) {
            return Err(Misuse::BadArgument.into());
        }
        match state.owner {
            0 => self.pass_mutex_on(mutex),
            owner => {
                if let Some((word, others_wait)) = self.lock_word(mutex) {
                    lock_word::pass_on(word, owner, others_wait);
                }
                self.objects.set_mutex_owner(mutex, None);
                self.note_owner(caller, mutex, owner);
            }
        }
        self.check_running();
        Ok(Status::Ok)
    }

    /// Finds the owner of a Mutex, to whom those that wait donate. Its word, which users write, is believed for
    /// nothing else: what it names must be a Thread that the caller can name as well, and could donate to by `thread_schedule`, and
    /// that knows itself by this address.
    fn note_owner(&mut self, caller: Id<Space>, mutex: Id<Mutex>, address: u64) {
        let known = self.objects.mutexes.get(mutex).and_then(Mutex::owner);
        let is_named = |objects: &Objects, id| {
            objects.threads.get(id).and_then(Thread::own_address).is_some_and(|own| own == address)
        };
        if known.is_some_and(|known| is_named(&self.objects, known)) {
            return;
        }
        let found = self.thread_at(caller, address, Rights::READ).ok();
        let found = found.filter(|&found| is_named(&self.objects, found));
        self.objects.set_mutex_owner(mutex, found);
    }

    /// Lets a thread wait for a Mutex whose word says that threads wait. Its owner has the time that the thread would have.
    pub(super) fn wait_for_mutex(&mut self, id: Id<Thread>, mutex_id: Id<Mutex>, deadline: u64) {
        let objects = &mut self.objects;
        let Some(mutex) = objects.mutexes.get_mut(mutex_id) else { return };
        mutex.waiters.push_back(&mut objects.threads, id);
        let runs = self.current == Some(id);
        self.fall_asleep(id, Wait::Mutex(mutex_id), deadline);
        if runs {
            self.dispatcher().donate_to(id);
        } else {
            self.dispatcher().go_on(id);
        }
        self.dispatched();
    }

    /// Notes what a thread waits for, until when, and takes it off the CPU.
    pub(super) fn fall_asleep(&mut self, id: Id<Thread>, wait: Wait, deadline: u64) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        (thread.wait, thread.deadline) = (wait, deadline);
        if deadline != 0 {
            self.set_deadline(id, deadline);
        }
        if self.current == Some(id) {
            self.current = None;
        }
    }

    /// Gives a Mutex to the first thread that waits for it, or to nobody.
    pub(super) fn pass_mutex_on(&mut self, id: Id<Mutex>) {
        loop {
            let objects = &mut self.objects;
            let Some(mutex) = objects.mutexes.get_mut(id) else { return };
            let Some(word) = word(mutex) else { return };
            let next = mutex.waiters.pop_front(&mut objects.threads);
            let others_wait = mutex.waiters.first().is_some();
            objects.set_mutex_owner(id, next.filter(|_| others_wait));
            let Some((next_id, next)) = next.and_then(|next| Some((next, objects.threads.get_mut(next)?))) else {
                return lock_word::pass_on(word, 0, others_wait);
            };
            next.wait = Wait::Nothing;
            match next.own_address() {
                Some(own) => {
                    lock_word::pass_on(word, own, others_wait);
                    next.finish(next.gpr()[RDX]);
                    return self.make_ready(next_id);
                }
                // It lost its address while it waited: it is told when it makes its call again.
                None => {
                    next.repeat_call();
                    self.make_ready(next_id);
                }
            }
        }
    }

    /// Lets a thread that waits for nothing any more go on as soon as it has the Mutex that it had when it fell asleep.
    pub(super) fn lock_again(&mut self, id: Id<Thread>, status: Status) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        thread.wait = Wait::Nothing;
        thread.gpr_mut()[RDX] = status as u64;
        let (mutex, own) = (thread.mutex.take(), thread.own_address());
        let (space, address) = (thread.space, thread.gpr()[RDI]);
        self.note_write(space, address);
        let mutex = mutex.and_then(|mutex| Some((mutex, self.lock_word(mutex)?)));
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        match (mutex, own) {
            (None, _) => thread.finish(Status::Destroyed as u64),
            (Some((mutex, (word, others_wait))), Some(own)) => match lock_word::lock(word, own, others_wait) {
                Attempt::Locked => thread.finish(status as u64),
                Attempt::Own => thread.repeat_call(),
                Attempt::Held => return self.wait_for_mutex(id, mutex, 0),
            },
            (Some(_), None) => thread.repeat_call(),
        }
        self.make_ready(id);
    }

    /// Takes a thread out of those that wait for a Mutex.
    pub(super) fn leave_mutex(&mut self, id: Id<Thread>, mutex_id: Id<Mutex>) {
        if let Some(mutex) = self.objects.mutexes.get_mut(mutex_id) {
            mutex.waiters.remove(&mut self.objects.threads, id);
            if mutex.waiters.first().is_none() {
                self.objects.set_mutex_owner(mutex_id, None);
            }
        }
        if let Some((word, others_wait)) = self.lock_word(mutex_id) {
            lock_word::settle(word, others_wait);
        }
        if let Some(thread) = self.objects.threads.get(id) {
            let (space, address) = (thread.space, thread.gpr()[RDI]);
            self.note_write(space, address);
        }
    }

    /// Moves a Mutex and its lock word. False if there cannot be one at `memory`.
    pub(super) fn move_mutex(&mut self, id: Id<Mutex>, memory: HostPhysical) -> bool {
        let old = self.lock_word(id).map(|(word, _)| word);
        let (Some(old), Some(new)) = (old, physical::shared_word(memory)) else { return false };
        Word::store(new, Word::load(old));
        if let Some(mutex) = self.objects.mutexes.get_mut(id) {
            mutex.memory = memory;
        }
        true
    }

    /// Destroys a Mutex.
    pub fn destroy_mutex(&mut self, id: Id<Mutex>) {
        self.objects.set_mutex_owner(id, None);
        let Some(mutex) = self.objects.mutexes.remove(id) else { return };
        if let Some(word) = word(&mutex) {
            lock_word::settle(word, false);
        }
        // Its owner may have run on the time of those that waited.
        self.check_running();
    }
}
