//! Stopping threads, wherever they are: what a stopped thread waited for stands in its state alone.
//!
//! A thread that waits is taken out of its wait at once; nobody has to answer for that. One that waited in a call is about to make it,
//! one that waited for a keeper meets its exception again, a virtual CPU its exit. Whoever works for it finds it gone.

use crate::arena::Id;
use crate::kernel::Kernel;
use crate::objects::Object;
use crate::thread::{Thread, Wait};
use protocols::api::Call;
use protocols::native_thread::Waited;
use protocols::virtual_cpu::register::RAX;

const REPLY_WAIT_RECEIVE: u64 = Call::IpcReplyWaitReceive as u64;
const REPLY_WAIT_RECEIVE_WITH_REFERENCE: u64 = Call::IpcReplyWaitReceiveWithReference as u64;

impl Wait {
    /// How it is exported.
    pub fn waited(self) -> Waited {
        match self {
            Self::Nothing => Waited::Nothing,
            Self::Message(_) => Waited::Message,
            Self::Server(_) => Waited::Server,
            Self::Reply(_) => Waited::Reply,
            Self::Keeper(_) => Waited::Keeper,
            Self::Interrupt => Waited::Interrupt,
            Self::Connection(_) => Waited::Connection,
            Self::Mutex(_) => Waited::Mutex,
            Self::Cond(_) => Waited::Cond,
            Self::Late(_) => Waited::Reply,
            Self::Donation(_) => Waited::Donation,
        }
    }
}

impl Thread {
    /// What it waits for, or waited for when it was stopped.
    pub fn waited(&self) -> Waited {
        let wait = if self.wait == Wait::Nothing { self.stopped_in } else { self.wait };
        if self.stopped_for_keeper || self.needs_keeper() { Waited::Keeper } else { wait.waited() }
    }
}

impl Kernel {
    /// Takes a thread out of the call in which it waits, if it waits in one: it is about to make it again.
    pub fn leave_call(&mut self, id: Id<Thread>) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        if !thread.wait.is_timed() && !thread.is_calling() {
            return false;
        }
        // It has replied already.
        let rest = |call| match call {
            REPLY_WAIT_RECEIVE => Call::IpcWaitReceive as u64,
            REPLY_WAIT_RECEIVE_WITH_REFERENCE => Call::IpcWaitReceiveWithReference as u64,
            call => call,
        };
        let gpr = thread.gpr_mut();
        gpr[RAX] = rest(gpr[RAX]);
        thread.repeat_call();
        self.stop_waiting(id);
        true
    }

    /// Stops a thread.
    #[inline]
    pub fn suspend(&mut self, id: Id<Thread>) {
        if !self.objects.threads.get(id).is_some_and(|thread| thread.stopped && thread.wait == Wait::Nothing) {
            self.suspend_now(id);
        }
    }

    #[inline(never)]
    fn suspend_now(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        if thread.wait != Wait::Nothing {
            (thread.stopped_in, thread.stopped_for_keeper) = (thread.wait, thread.needs_keeper());
            self.leave_call(id);
            self.stop_waiting(id);
        }
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.stopped = true;
            thread.keeper_since = 0;
        }
        self.unready(id);
    }

    /// Whether a thread can do nothing before `server`, which handles its exception or exit, has replied.
    pub fn is_held_by(&self, id: Id<Thread>, server: Id<Thread>) -> bool {
        let thread = self.objects.threads.get(id);
        thread.is_some_and(|thread| thread.wait.is_for(server) && thread.needs_keeper())
    }

    /// The object that a thread waited for in a call when it was stopped.
    pub fn waited_for(&self, id: Id<Thread>) -> Option<Object> {
        let thread = self.objects.threads.get(id).filter(|thread| !thread.stopped_for_keeper)?;
        match thread.stopped_in {
            Wait::Message(portset) => Some(Object::Portset(portset)),
            Wait::Server(port) => Some(Object::Port(port)),
            Wait::Reply(thread) | Wait::Late(thread) | Wait::Donation(thread) => Some(Object::Thread(thread)),
            Wait::Mutex(mutex) => Some(Object::Mutex(mutex)),
            Wait::Cond(condition) => Some(Object::Cond(condition)),
            Wait::Keeper(_) | Wait::Connection(_) | Wait::Interrupt | Wait::Nothing => None,
        }
    }

    /// Lets a thread go on that was stopped, if it waits for nothing.
    pub fn resume(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        thread.stopped = false;
        if thread.wait != Wait::Nothing {
            return self.go_on(id);
        }
        if thread.space.is_none() {
            return;
        }
        let halted = core::mem::replace(&mut thread.stopped_in, Wait::Nothing) == Wait::Interrupt;
        thread.stopped_for_keeper = false;
        if halted && thread.virtual_cpu.as_ref().is_some_and(|virtual_cpu| virtual_cpu.state.get().posted == 0) {
            thread.wait = Wait::Interrupt;
            return;
        }
        if self.raise_again(id) {
            return;
        }
        self.deliver_interrupt(id);
        self.go_on(id);
    }

    /// Lets a thread that is not stopped any more, or whoever works for it, have the CPU.
    fn go_on(&mut self, id: Id<Thread>) {
        self.dispatcher().go_on(id);
        self.dispatched();
    }
}
