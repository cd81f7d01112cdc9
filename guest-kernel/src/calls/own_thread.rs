//! Calls of a native thread on itself: its exceptions, and where its system calls go.

use super::Stop;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::thread::Thread;
use protocols::api::{Call, Status};
use protocols::exception::Misuse;
use protocols::native_thread::{FIXED_FLAGS, FLAGS, Redirection, Saved, USER_END};
use protocols::virtual_cpu::register::{R8, R10, RDI, RDX, RSI};

impl Kernel {
    /// Performs such a call. `None`: the thread's registers are those that it goes on with.
    pub(super) fn call_on_itself(
        &mut self,
        id: Id<Thread>,
        call: Call,
        [a, b, c, d, e]: [u64; 5],
    ) -> Result<Option<Status>, Stop> {
        let thread = self.objects.threads.get_mut(id).filter(|thread| thread.virtual_cpu.is_none());
        let thread = thread.ok_or(Misuse::UnknownCall)?;
        let exceptions = &mut thread.native.exceptions;
        let gpr = &mut thread.registers.gpr;
        match call {
            Call::ThreadSetExceptions => {
                if a > 1 {
                    return Err(Misuse::BadArgument.into());
                }
                gpr[RDI] = core::mem::replace(&mut exceptions.enabled, a);
                // The handler of an interrupt that waited for this returns to what the call returns.
                thread.finish(Status::Ok as u64);
                self.deliver_interrupt(id);
                return Ok(None);
            }
            Call::ThreadReturnFromException => {
                thread.return_from_exception();
                self.deliver_interrupt(id);
                return Ok(None);
            }
            Call::ThreadSetHandlers => {
                if a >= USER_END || b >= USER_END {
                    return Ok(Some(Status::Refused));
                }
                gpr[RDI] = core::mem::replace(&mut exceptions.handler, a);
                gpr[RSI] = core::mem::replace(&mut exceptions.interrupt_handler, b);
            }
            Call::ThreadGetSaved => {
                let Saved { rax, rcx, rdx, rip, rflags } = exceptions.saved;
                (gpr[RDI], gpr[RSI], gpr[RDX], gpr[R10], gpr[R8]) = (rax, rcx, rdx, rip, rflags);
                // More registers than a system call returns in.
                thread.registers.make_whole();
            }
            Call::ThreadSetSaved => {
                if d >= USER_END {
                    return Ok(Some(Status::Refused));
                }
                exceptions.saved = Saved { rax: a, rcx: b, rdx: c, rip: d, rflags: e & FLAGS | FIXED_FLAGS };
            }
            Call::ThreadRedirect => {
                let redirection = Redirection { start: a, length: b, handler: c };
                if !redirection.is_possible() {
                    return Ok(Some(Status::Refused));
                }
                self.redirect(id, redirection);
            }
            _ => return Err(Misuse::UnknownCall.into()),
        }
        Ok(Some(Status::Ok))
    }

    /// `thread_interrupt`. The caller's own result must stand in its registers before it, or somebody else, enters a handler.
    pub(super) fn interrupt_thread(&mut self, id: Id<Thread>, target: Id<Thread>, vector: u64) -> Result<(), Stop> {
        let thread = self.objects.threads.get(target).ok_or(Misuse::NoObject)?;
        let before = match &thread.virtual_cpu {
            Some(virtual_cpu) => u64::from(virtual_cpu.state.get().posted),
            None => thread.native.exceptions.posted,
        };
        if let Some(caller) = self.objects.threads.get_mut(id) {
            caller.gpr_mut()[RSI] = before & 0xff;
            caller.finish(Status::Ok as u64);
        }
        self.post_interrupt(target, vector);
        Ok(())
    }
}
