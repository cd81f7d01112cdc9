//! Threads.

use super::{Port, Reference, Space, create};
use crate::api::{NativeState, Run, SpaceKind, Status};
use crate::libc::system_call::{self as call, Result};
use crate::libnest::memory::Memory;
use crate::libnest::place::Place;
use crate::virtual_cpu::{Groups, VirtualCpuState};

/// A thread in a Space that the program has created: native, or a virtual CPU.
#[derive(Debug)]
pub struct Thread {
    place: Place,
    kind: SpaceKind,
}

impl Thread {
    /// A stopped thread in the native Space `space` with the registers of `state`.
    pub fn native(space: &Space, state: &NativeState) -> Result<Self> {
        Self::native_at(create(call::thread_create)?, space, state)
    }

    /// [`native`](Self::native) with its object at the beginning of `page`, in which there is nothing else: so it can
    /// be shown to the thread.
    pub(in crate::libnest) fn native_in(page: &Memory, space: &Space, state: &NativeState) -> Result<Self> {
        let place = Place::alone(page);
        call::thread_create(place.address())?;
        Self::native_at(place, space, state)
    }

    fn native_at(place: Place, space: &Space, state: &NativeState) -> Result<Self> {
        let thread = Self { place, kind: SpaceKind::Native };
        let space = space.reference().address();
        // SAFETY: Space handles are never of the program's own Space.
        unsafe {
            let groups = NativeState::REGISTERS;
            call::thread_set_native_state(thread.address(), Some(state), groups, space, Run::Unchanged)
        }?;
        Ok(thread)
    }

    /// A stopped virtual CPU in the machine Space `space` with `groups` of `state`.
    pub fn virtual_cpu(space: &Space, state: &VirtualCpuState, groups: Groups) -> Result<Self> {
        let thread = Self { place: create(call::thread_create)?, kind: SpaceKind::Machine };
        let space = space.reference().address();
        // SAFETY: Space handles are never of the program's own Space.
        unsafe { call::thread_set_virtual_cpu(thread.address(), Some(state), groups, space, Run::Unchanged) }?;
        Ok(thread)
    }

    /// The address that names the object in calls.
    #[inline]
    pub fn address(&self) -> u64 {
        self.place.address()
    }

    /// A new Reference to it.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        call::thread_reference(self.address(), reference.address())?;
        Ok(reference)
    }

    /// Lets it go on.
    pub fn go(&self) -> Result<()> {
        self.run(Run::Go)
    }

    /// Stops it.
    pub fn stop(&self) -> Result<()> {
        self.run(Run::Stop)
    }

    fn run(&self, run: Run) -> Result<()> {
        // SAFETY: neither state nor Space change.
        unsafe { call::thread_set_native_state(self.address(), None, Groups::empty(), 0, run) }
    }

    /// Stops a native thread and returns its state, all but the extended registers. `Refused` for a virtual CPU.
    pub fn native_state(&self) -> Result<NativeState> {
        let mut state = NativeState::default();
        self.get_native_state(&mut state, NativeState::GROUPS.difference(Groups::EXTENDED))?;
        Ok(state)
    }

    /// Stops a native thread and fills in `groups` of `state`. `Refused` for a virtual CPU.
    #[inline]
    pub fn get_native_state(&self, state: &mut NativeState, groups: Groups) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a native Space; its handle never moves it to another.
        unsafe { call::thread_get_native_state(self.address(), state, groups) }
    }

    /// [`get_native_state`](Self::get_native_state), and points `waited_for` at what the thread waited for in a call.
    pub fn get_waiting_state(&self, state: &mut NativeState, groups: Groups, waited_for: &Reference) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a native Space; its handle never moves it to another.
        unsafe { call::thread_get_waiting_state(self.address(), state, groups, waited_for.address()) }
    }

    /// Sets the registers of a native thread: general, instruction pointer, flags, bases.
    pub fn set_native_state(&self, state: &NativeState, run: Run) -> Result<()> {
        self.set_native_groups(state, NativeState::REGISTERS, run)
    }

    /// Sets `groups` of the state of a native thread. `Refused` for a virtual CPU.
    #[inline]
    pub fn set_native_groups(&self, state: &NativeState, groups: Groups, run: Run) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a Space that the program has created, never in its own.
        unsafe { call::thread_set_native_state(self.address(), Some(state), groups, 0, run) }
    }

    /// Stops a virtual CPU and fills in `groups` of `state`. A virtual CPU whose exit the caller is handling is stopped
    /// anyway, and goes on with [`set_state`](Self::set_state) or the reply.
    #[inline]
    pub fn get_state(&self, state: &mut VirtualCpuState, groups: Groups) -> Result<()> {
        call::thread_get_virtual_cpu(self.address(), state, groups)
    }

    /// Sets `groups` of the state of a virtual CPU. `Refused` for a native thread.
    #[inline]
    pub fn set_state(&self, state: &VirtualCpuState, groups: Groups, run: Run) -> Result<()> {
        if self.kind != SpaceKind::Machine {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a Space that the program has created, never in its own.
        unsafe { call::thread_set_virtual_cpu(self.address(), Some(state), groups, 0, run) }
    }

    /// Makes `port` its scheduler, known to it by `value`; without one the thread runs on donated time only.
    pub fn set_scheduler(&self, port: Option<&Port>, value: u64) -> Result<()> {
        match port {
            Some(port) => call::thread_set_scheduler(self.address(), port.reference().address(), value),
            None => call::thread_set_scheduler(self.address(), 0, value),
        }
    }

    /// For how many ticks it has had donated time.
    #[inline]
    pub fn time_used(&self) -> Result<u64> {
        call::thread_get_scheduler(self.address(), 0).map(|(_, _, used)| used)
    }

    /// Posts an interrupt; 0 withdraws. Returns the one that was posted and not delivered.
    #[inline]
    pub fn interrupt(&self, vector: u8) -> Result<u64> {
        call::thread_interrupt(self.address(), vector)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The object exists for as long as its handle, so that destroying it cannot fail.
        let _ = call::thread_destroy(self.address());
    }
}
