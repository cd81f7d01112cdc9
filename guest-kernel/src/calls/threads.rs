//! Calls on Threads.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::thread::{Thread, Wait};
use protocols::api::{NativeState, OBJECT_SIZE, ReferenceRights, Rights, Run, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::RDX;
use protocols::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::{IntoBytes, TryFromBytes};

impl Kernel {
    pub(super) fn get_thread(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [address, state, groups, space]: [u64; 4],
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::READ)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let groups = Groups::from_bits(groups).ok_or(Misuse::BadArgument)?;
        let reference = self.optional_reference(caller, space)?;
        self.interrupt_call(target);
        if let Some(thread) = self.objects.threads.get_mut(target) {
            thread.stopped |= matches!(thread.wait, Wait::Nothing | Wait::Donation(_));
        }
        self.unready(target);
        if state != 0 {
            self.write_thread_state(caller, target, state, groups)?;
        }
        let Some(thread) = self.objects.threads.get(target) else { return Err(Misuse::NoObject.into()) };
        let (link, own) = (thread.space_link.filter(|_| thread.space.is_some()), thread.own_address());
        self.point(reference, link);
        self.set_result(id, RDX, own.unwrap_or(0))
    }

    fn write_thread_state(
        &mut self,
        caller: Id<Space>,
        id: Id<Thread>,
        state: u64,
        groups: Groups,
    ) -> Result<(), Stop> {
        match self.virtual_cpu_state(id, groups) {
            Some(value) => self.write(caller, state, value.as_bytes()),
            None => {
                let value = self.objects.threads.get(id).map(Thread::native_state).ok_or(Misuse::NoObject)?;
                self.write(caller, state, value.as_bytes())
            }
        }
    }

    pub(super) fn set_thread(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [address, state, groups, space, run, own]: [u64; 6],
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::WRITE)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let run = Run::try_read_from_bytes(run.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let (new_space, space_link) = self.optional_space(caller, space, ReferenceRights::RUN)?.unzip();
        if new_space.is_some_and(|space| !self.objects.spaces.get(space).is_some_and(Space::runs_threads)) {
            return Ok(Status::Refused);
        }
        let old_space = self.objects.threads.get(target).and_then(|thread| thread.space);
        if own != 0 && new_space.or(old_space).is_none() {
            return Err(Misuse::BadArgument.into());
        }
        if !own.is_multiple_of(OBJECT_SIZE) {
            return Err(Misuse::NotAligned.into());
        }
        if let Some(space) = new_space.filter(|&space| old_space != Some(space)) {
            self.interrupt_call(target);
            self.unready(target);
            self.destroy_virtual_cpu(target);
            // Should there be no memory for a virtual CPU, it is in no Space, where it cannot run.
            self.leave_space(target);
            if let Err(status) = self.create_virtual_cpu(target, space) {
                return Ok(status);
            }
            self.enter_space(target, space);
            self.set_link(space_link, |objects| Some(&mut objects.threads.get_mut(target)?.space_link));
        }
        if state != 0 {
            let is_machine = self.objects.threads.get(target).is_some_and(|thread| thread.virtual_cpu.is_some());
            let accepted = if is_machine {
                let value: VirtualCpuState = self.read(caller, state)?;
                self.set_virtual_cpu_state(target, &value, groups)
            } else {
                let value: NativeState = self.read(caller, state)?;
                self.objects.threads.get_mut(target).is_some_and(|thread| thread.set_native_state(&value))
            };
            if !accepted {
                return Ok(Status::Refused);
            }
            self.interrupt_call(target);
            if !is_machine && self.objects.threads.get(target).is_some_and(|thread| !thread.needs_keeper()) {
                self.stop_waiting(target);
            }
        }
        if let Some(thread) = self.objects.threads.get_mut(target)
            && let Some(home) = thread.space.filter(|_| own != 0)
        {
            thread.set_home((home, own));
        }
        match run {
            // What it waited for may be over.
            Run::Unchanged => self.resume(target),
            Run::Stop => {
                self.interrupt_call(target);
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = true;
                }
                self.unready(target);
            }
            Run::Go => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = false;
                }
                self.dispatcher().go_on(target);
                self.dispatched();
            }
        }
        Ok(Status::Ok)
    }

    /// Makes a thread ready that is in a Space, unless it waits or is stopped.
    fn resume(&mut self, id: Id<Thread>) {
        if self.objects.threads.get(id).is_some_and(|thread| thread.space.is_some()) {
            self.make_ready(id);
        }
    }
}
