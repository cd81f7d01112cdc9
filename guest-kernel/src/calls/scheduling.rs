//! Calls about CPU time.

use super::{Done, Stop};
use crate::arch::cpu;
use crate::arena::Id;
use crate::dispatch::Source;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::thread::{Thread, Wait};
use protocols::api::{ObjectType, ReferenceRights, Rights, Sensitivity, Status};
use protocols::exception::Misuse;
use protocols::scheduling::TimeSource;
use protocols::virtual_cpu::register::{RDI, RDX, RSI};
use zerocopy::{IntoBytes, TryFromBytes};

impl Kernel {
    /// `thread_schedule`. `None`: the caller waits, or its registers say already what it returns.
    pub(super) fn schedule(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [target, deadline, sensitivity, portset]: [u64; 4],
    ) -> Result<Option<Status>, Stop> {
        if target == 0 {
            if let Some(thread) = self.objects.threads.get_mut(id) {
                thread.finish(Status::Ok as u64);
            }
            self.dispatcher().give_back();
            self.dispatched();
            return Ok(None);
        }
        let target = self.thread_at(caller, target, Rights::READ)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let sensitivity = Sensitivity::try_read_from_bytes(sensitivity.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let portset = if portset == 0 { None } else { Some(self.portset_at(id, portset)?) };
        if let Some(portset) = portset {
            self.abandon_client(id);
            if self.take_pending_message(id, portset) {
                return Ok(None);
            }
        }
        if deadline != 0 && deadline <= cpu::time() {
            self.dispatcher().conclude_with(id, target, Status::TimedOut);
            return Ok(None);
        }
        if let Err(status) = self.dispatcher().donate(id, target, sensitivity, portset) {
            return Ok(Some(status));
        }
        if let Some(thread) = self.objects.threads.get_mut(id)
            && let Wait::Donation(_) = thread.wait
        {
            thread.deadline = deadline;
            if deadline != 0 {
                self.set_deadline(id, deadline);
            }
        }
        self.dispatched();
        Ok(None)
    }

    /// `thread_set_scheduler`.
    pub(super) fn set_scheduler(&mut self, id: Id<Thread>, caller: Id<Space>, [target, port, value]: [u64; 3]) -> Done {
        let target = self.thread_at(caller, target, Rights::WRITE)?;
        let link = self.optional_link(caller, port, ObjectType::Port, ReferenceRights::CALL)?;
        let source = match link.as_ref().map(|link| link.target) {
            Some(Object::Port(port)) => Source::Scheduler(port),
            _ => Source::Donated,
        };
        // The caller's own result must stand in its registers before somebody else may run.
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.finish(Status::Ok as u64);
        }
        let before = self.objects.threads.get_mut(target).and_then(|thread| thread.scheduler_link.take());
        self.objects.drop_kept(before);
        self.set_link(link, |objects| Some(&mut objects.threads.get_mut(target)?.scheduler_link));
        self.dispatcher().set_source(target, source, value);
        self.dispatched();
        Ok(Status::Ok)
    }

    /// `thread_get_scheduler`.
    pub(super) fn get_scheduler(&mut self, id: Id<Thread>, caller: Id<Space>, target: u64, reference: u64) -> Done {
        let target = self.thread_at(caller, target, Rights::READ)?;
        let reference = self.optional_reference(caller, reference)?;
        let Some(thread) = self.objects.threads.get(target) else { return Err(Misuse::NoObject.into()) };
        let (scheduling, link) = (thread.scheduling, thread.scheduler_link);
        let source = match scheduling.source {
            Source::Root => TimeSource::Root,
            Source::Scheduler(_) if self.objects.has_scheduler(thread) => TimeSource::Scheduler,
            Source::Scheduler(_) | Source::Donated => TimeSource::Donated,
        };
        self.point(reference, link);
        self.set_result(id, RDI, source as u64)?;
        self.set_result(id, RSI, scheduling.value)?;
        self.set_result(id, RDX, scheduling.used)
    }
}
