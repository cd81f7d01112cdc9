//! Calls on Threads.

use super::Done;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::thread::{Thread, Wait};
use protocols::api::{NativeState, Rights, Run, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::{IntoBytes, TryFromBytes};

impl Kernel {
    pub(super) fn get_thread(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        address: u64,
        state: u64,
        groups: u64,
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::READ)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let groups = Groups::from_bits(groups).ok_or(Misuse::BadArgument)?;
        if let Some(thread) = self.objects.threads.get_mut(target) {
            thread.stopped |= thread.wait == Wait::Nothing;
        }
        self.unready(target);
        match self.virtual_cpu_state(target, groups) {
            Some(value) => self.write(caller, state, value.as_bytes())?,
            None => {
                let Some(value) = self.objects.threads.get(target).map(Thread::native_state) else {
                    return Ok(Status::NotFound);
                };
                self.write(caller, state, value.as_bytes())?;
            }
        }
        Ok(Status::Ok)
    }

    pub(super) fn set_thread(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [address, state, groups, space, run]: [u64; 5],
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::WRITE)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let run = Run::try_read_from_bytes(run.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let new_space = match space {
            0 => None,
            reference => match self.link_of(caller, reference)? {
                Some(Object::Space(space)) => Some(space),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        let old_space = self.objects.threads.get(target).and_then(|thread| thread.space);
        if let Some(space) = new_space.filter(|&space| old_space != Some(space)) {
            self.unready(target);
            self.destroy_virtual_cpu(target);
            if let Err(status) = self.create_virtual_cpu(target, space) {
                return Ok(status);
            }
            let view = self.objects.spaces.get(space).map(Space::view).unwrap_or_default();
            if let Some(thread) = self.objects.threads.get_mut(target) {
                thread.join(space, view);
            }
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
            if !is_machine && self.objects.threads.get(target).is_some_and(|thread| !thread.needs_keeper()) {
                self.stop_waiting(target);
            }
        }
        match run {
            Run::Unchanged => {}
            Run::Stop => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = true;
                }
                self.unready(target);
            }
            Run::Go => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = false;
                }
                if self.objects.threads.get(target).is_some_and(|thread| thread.space.is_some()) {
                    self.make_ready(target);
                }
            }
        }
        Ok(Status::Ok)
    }
}
