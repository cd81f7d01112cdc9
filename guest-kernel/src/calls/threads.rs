//! Calls on Threads.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::native::RegisterWords;
use crate::references::Capability;
use crate::thread::Thread;
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
        [address, state, groups, space, waited_for]: [u64; 5],
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::READ)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let groups = Groups::from_bits(groups).ok_or(Misuse::BadArgument)?;
        let space_reference = self.optional_reference(caller, space)?;
        let waited_reference = self.optional_reference(caller, waited_for)?;
        if !self.is_held_by(target, id) {
            self.suspend(target);
        }
        if state != 0 {
            self.give_state(target, caller, state, groups)?;
        }
        let Some(thread) = self.objects.threads.get(target) else { return Err(Misuse::NoObject.into()) };
        let (link, own) = (thread.space_link.filter(|_| thread.space.is_some()), thread.own_address());
        // It says which object that is, and is good for nothing else.
        let waited_for =
            self.waited_for(target).map(|object| Capability::new(object).limited(ReferenceRights::empty()));
        self.point(space_reference, link);
        self.point(waited_reference, waited_for);
        self.set_result(id, RDX, own.unwrap_or(0))
    }

    fn give_state(&mut self, target: Id<Thread>, caller: Id<Space>, address: u64, groups: Groups) -> Result<(), Stop> {
        if self.objects.threads.get(target).is_some_and(|thread| thread.virtual_cpu.is_some()) {
            let value = self.virtual_cpu_state(target, groups).ok_or(Misuse::NoObject)?;
            return self.write(caller, address, value.as_bytes());
        }
        if !NativeState::REGISTERS.contains(groups) {
            let value = self.native_state(target, groups).ok_or(Misuse::NoObject)?;
            return self.write(caller, address, &value.as_bytes()[..NativeState::size(groups)]);
        }
        let words = self.objects.threads.get(target).ok_or(Misuse::NoObject)?.register_words(groups);
        self.write(caller, address, &words.as_bytes()[..NativeState::size(groups)])?;
        self.prepare_copy(caller, address, Rights::WRITE);
        Ok(())
    }

    fn take_state(&mut self, target: Id<Thread>, caller: Id<Space>, address: u64, groups: u64) -> Done {
        if self.objects.threads.get(target).is_some_and(|thread| thread.virtual_cpu.is_some()) {
            let value: VirtualCpuState = self.read(caller, address)?;
            let accepted = self.set_virtual_cpu_state(target, &value, groups);
            return Ok(if accepted { Status::Ok } else { Status::Refused });
        }
        let Some(groups) = Groups::from_bits(groups) else { return Ok(Status::Refused) };
        if !NativeState::REGISTERS.contains(groups) {
            let value: NativeState = self.read(caller, address)?;
            return Ok(self.set_native_state(target, &value, groups));
        }
        let words = if groups == Groups::GENERAL {
            RegisterWords::general(self.read(caller, address)?)
        } else {
            self.read(caller, address)?
        };
        self.prepare_copy(caller, address, Rights::READ);
        Ok(self.set_registers(target, &words, groups))
    }

    /// Has the tables hold what the short way found missing, so that it can be taken next time.
    #[cold]
    fn prepare_copy(&mut self, space: Id<Space>, address: u64, want: Rights) {
        // The copy is done already.
        let _ = self.resolve(space, address, want);
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
            self.suspend(target);
            self.destroy_virtual_cpu(target);
            self.release_native(target);
            // Should there be no memory for a virtual CPU, it is in no Space, where it cannot run.
            self.leave_space(target);
            if let Err(status) = self.create_virtual_cpu(target, space) {
                return Ok(status);
            }
            self.enter_space(target, space);
            self.set_link(space_link, |objects| Some(&mut objects.threads.get_mut(target)?.space_link));
        }
        if state != 0 {
            // What is set is not what it waits with.
            if self.leave_call(target) {
                self.make_ready(target);
            }
            let status = self.take_state(target, caller, state, groups)?;
            if status != Status::Ok {
                return Ok(status);
            }
        }
        if let Some(thread) = self.objects.threads.get_mut(target)
            && let Some(home) = thread.space.filter(|_| own != 0)
        {
            thread.set_home((home, own));
        }
        match run {
            Run::Unchanged => {}
            // Its keeper's reply finds it stopped.
            Run::Stop if self.is_held_by(target, id) => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = true;
                }
            }
            Run::Stop => self.suspend(target),
            Run::Go => self.resume(target),
        }
        Ok(Status::Ok)
    }
}
