//! Exceptions and interrupts of native threads: their own handlers, before anybody else hears of it.
//!
//! A thread that enters a handler goes on elsewhere, with three registers changed; what they held is kept in its state. What it
//! was about to do, be it a call in which it waited, it does when the handler returns.

use crate::arena::Id;
use crate::kernel::Kernel;
use crate::thread::Thread;
use protocols::exception::MESSAGE_WORDS;
use protocols::native_thread::{Exceptions, Pending, Saved};
use protocols::virtual_cpu::register::{RAX, RCX, RDX};

impl Thread {
    /// Enters a handler, with exceptions disabled.
    fn enter_handler(&mut self, handler: u64, [rax, rcx, rdx]: [u64; 3]) {
        let registers = &mut self.registers;
        self.native.exceptions.saved = Saved {
            rax: core::mem::replace(&mut registers.gpr[RAX], rax),
            rcx: core::mem::replace(&mut registers.gpr[RCX], rcx),
            rdx: core::mem::replace(&mut registers.gpr[RDX], rdx),
            rip: core::mem::replace(&mut registers.rip, handler),
            rflags: registers.rflags,
        };
        self.native.exceptions.enabled = 0;
        registers.set_handler_flags();
        registers.make_whole();
    }

    /// Enters its exception handler, if it has one and exceptions are enabled.
    fn enter_exception_handler(&mut self, exception: [u64; 3]) -> bool {
        let Exceptions { enabled, handler, .. } = self.native.exceptions;
        let enters = enabled != 0 && handler != 0;
        if enters {
            self.enter_handler(handler, exception);
        }
        enters
    }

    /// `thread_return_from_exception`.
    pub fn return_from_exception(&mut self) {
        let Saved { rax, rcx, rdx, rip, rflags } = self.native.exceptions.saved;
        let registers = &mut self.registers;
        (registers.gpr[RAX], registers.gpr[RCX], registers.gpr[RDX]) = (rax, rcx, rdx);
        registers.rip = rip;
        registers.set_flags(rflags);
        registers.make_whole();
        self.native.exceptions.enabled = 1;
    }

    /// Whether a posted interrupt can be delivered to it now.
    fn takes_interrupt(&self) -> bool {
        let Exceptions { enabled, posted, interrupt_handler, .. } = self.native.exceptions;
        posted != 0 && enabled != 0 && interrupt_handler != 0 && !self.stopped && !self.needs_keeper()
    }
}

impl Kernel {
    /// Raises an exception in a native thread, as in a [`NativeException`](protocols::exception::NativeException): it enters its
    /// handler, or its Space's keeper gets a message. Whether the thread can go on now.
    pub fn raise(&mut self, id: Id<Thread>, message: [u64; MESSAGE_WORDS]) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        let [vector, error, _, address, ..] = message;
        if thread.enter_exception_handler([vector, error, address]) {
            return true;
        }
        thread.native.exceptions.pending = Pending { vector: Pending::VALID | vector, error, address };
        self.tell_space_keeper(id, message);
        false
    }

    /// Raises the exception again that a native thread has raised and nobody has dealt with. False if there is none.
    pub fn raise_again(&mut self, id: Id<Thread>) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        let Pending { vector, error, address } = core::mem::take(&mut thread.native.exceptions.pending);
        let rip = thread.registers.rip;
        vector != 0 && !self.raise(id, [vector ^ Pending::VALID, error, rip, address, 0, 0, 0, 0])
    }

    /// Delivers the interrupt posted to a native thread, if there is one and the thread takes it. A call in which it waits is made again
    /// after the handler.
    pub fn deliver_interrupt(&mut self, id: Id<Thread>) {
        if !self.objects.threads.get(id).is_some_and(Thread::takes_interrupt) {
            return;
        }
        let waited = self.leave_call(id);
        if let Some(thread) = self.objects.threads.get_mut(id) {
            let vector = core::mem::take(&mut thread.native.exceptions.posted) & 0xff;
            thread.enter_handler(thread.native.exceptions.interrupt_handler, [vector, 0, 0]);
        }
        if waited {
            self.make_ready(id);
        }
    }
}
