//! What lies in frames that the monitor owns: lists of free frames, EPT tables, machines, virtual CPUs and their state
//! pages. The frame table says what a frame holds, so that an identifier, the number of a control frame, is checked by
//! one look at it.
//!
//! There is one [`Objects`]; references to the contents of frames borrow it, so that no two overlap.

use core::ptr::{self, NonNull};

use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::machine::Status;
use protocols::virtual_cpu::VirtualCpuState;
use zerocopy::FromBytes;

use crate::ept::{Leaves, Tables};
use crate::frames::{Class, FrameTable};
use crate::machine::Machine;
use crate::policy::Policy;
use crate::virtual_cpu::VirtualCpu;

fn pointer<T>(address: HostPhysical) -> *mut T {
    ptr::with_exposed_provenance_mut(address.get() as usize)
}

/// Free frames: a list through their first words, and a range of frames that were never used.
#[derive(Debug, Default)]
pub struct Chain {
    head: u64,
    /// How many frames it holds.
    pub count: u64,
    fresh: u64,
    fresh_end: u64,
}

impl Chain {
    /// A chain of a machine, empty.
    pub const EMPTY: Self = Self { head: 0, count: 0, fresh: 0, fresh_end: 0 };

    /// A chain of the frames of a region that the monitor owns.
    pub fn of_region(region: crate::physical::Region) -> Self {
        let start = region.start().get();
        Self { head: 0, count: region.length() / PAGE_SIZE, fresh: start, fresh_end: start + region.length() }
    }

    /// Adds a frame.
    ///
    /// # Safety
    /// The frame is memory that the monitor owns and nothing else uses.
    pub unsafe fn push(&mut self, frame: HostPhysical) {
        // SAFETY: the caller's promise.
        unsafe { pointer::<u64>(frame).write(self.head) };
        self.head = frame.get();
        self.count += 1;
    }

    /// Takes a frame out, zeroed.
    pub fn pop(&mut self) -> Option<HostPhysical> {
        let frame = if self.head != 0 {
            let frame = HostPhysical::new(self.head);
            // SAFETY: frames in the list are the monitor's and hold the next one's address.
            self.head = unsafe { pointer::<u64>(frame).read() };
            frame
        } else if self.fresh < self.fresh_end {
            self.fresh += PAGE_SIZE;
            HostPhysical::new(self.fresh - PAGE_SIZE)
        } else {
            return None;
        };
        self.count -= 1;
        // SAFETY: as above; the frame belongs to the caller now.
        unsafe { pointer::<u8>(frame).write_bytes(0, PAGE_SIZE as usize) };
        Some(frame)
    }
}

/// Reads an entry of a table. Safe for [`crate::ept::Tables`]: the builder passes only roots that it was given and
/// tables that came from a [`Chain`].
pub(crate) fn read_entry(table: HostPhysical, index: usize) -> u64 {
    // SAFETY: the table is a frame of the monitor's, the index is below 512.
    unsafe { pointer::<u64>(table).add(index & 511).read() }
}

/// Writes an entry of a table, as [`read_entry`].
pub(crate) fn write_entry(table: HostPhysical, index: usize, entry: u64) {
    // SAFETY: as in `read_entry`. The processor may walk the table later, with an atomic view of the entry.
    unsafe { pointer::<u64>(table).add(index & 511).write_volatile(entry) };
}

/// Tables in frames from a chain.
#[derive(Debug)]
pub struct ChainTables<'a, L> {
    /// Where tables come from and go to.
    pub chain: &'a mut Chain,
    /// What they map.
    pub leaves: &'a mut L,
}

impl<L: Leaves> Tables for ChainTables<'_, L> {
    fn allocate(&mut self) -> Option<HostPhysical> {
        self.chain.pop()
    }
    fn free(&mut self, table: HostPhysical) {
        // SAFETY: the builder gives back a table that it took from the chain and has unlinked. Processors may cache
        // it until the INVEPT that ends every update; nothing writes to it before.
        unsafe { self.chain.push(table) };
    }
    fn read(&self, table: HostPhysical, index: usize) -> u64 {
        read_entry(table, index)
    }
    fn write(&mut self, table: HostPhysical, index: usize, entry: u64) {
        write_entry(table, index, entry);
    }
    fn share(&mut self, host: HostPhysical, frames: u64) -> Result<u64, Status> {
        self.leaves.share(host, frames)
    }
    fn release(&mut self, host: HostPhysical, frames: u64) {
        self.leaves.release(host, frames);
    }
}

/// A type that may lie in a control frame.
pub trait Content {
    /// The class of such a frame.
    const CLASS: Class;
}

impl Content for Machine {
    const CLASS: Class = Class::Machine;
}

impl Content for VirtualCpu {
    const CLASS: Class = Class::VirtualCpu;
}

/// A virtual CPU with all that running it needs.
#[derive(Debug)]
pub struct Active<'a> {
    /// The monitor's part.
    pub control: &'a mut VirtualCpu,
    /// The shared state.
    pub state: &'a mut VirtualCpuState,
    /// The machine's policy.
    pub policy: &'a Policy,
}

/// Access to everything that lies in the monitor's frames.
#[derive(Debug)]
pub struct Objects {
    /// The virtual CPU that runs or ran last, if it still exists, and its identifier.
    running: Option<NonNull<VirtualCpu>>,
    running_id: u64,
}

impl Objects {
    /// # Safety
    /// There may be only one `Objects`, and all frames classed as the monitor's, donated or otherwise, are its.
    pub unsafe fn new() -> Self {
        Self { running: None, running_id: 0 }
    }

    #[inline(always)]
    fn content<T: Content>(&mut self, frames: &FrameTable, id: u64) -> Option<&mut T> {
        const { assert!(size_of::<T>() <= PAGE_SIZE as usize && align_of::<T>() <= PAGE_SIZE as usize) };
        // SAFETY: a frame of this class holds a T, placed there by `place`; `self` is borrowed for as long.
        frames.is_number(id, T::CLASS).then(|| unsafe { &mut *pointer::<T>(HostPhysical::new(id * PAGE_SIZE)) })
    }

    /// Turns `frame` into the control frame of `value`.
    ///
    /// # Safety
    /// The frame is donated and in no chain. So are those of policy, zeroed, and MSR bitmap that a machine names; a
    /// virtual CPU names a state page of the class [`Class::StatePage`] and the policy of a machine that outlives it.
    pub unsafe fn place<T: Content>(&mut self, frames: &mut FrameTable, frame: HostPhysical, value: T) {
        // SAFETY: the caller's promise.
        unsafe { pointer::<T>(frame).write(value) };
        frames.set(frame, T::CLASS);
    }

    /// The machine with identifier `id`.
    pub fn machine(&mut self, frames: &FrameTable, id: u64) -> Option<&mut Machine> {
        self.content(frames, id)
    }

    /// The virtual CPU with identifier `id`.
    pub fn virtual_cpu(&mut self, frames: &FrameTable, id: u64) -> Option<&mut VirtualCpu> {
        self.content(frames, id)
    }

    /// Policy and MSR bitmap of a machine.
    pub fn policy(&mut self, frames: &FrameTable, machine: u64) -> Option<(&mut Policy, &mut [u8; 4096])> {
        let &mut Machine { policy, bitmap, .. } = self.machine(frames, machine)?;
        // SAFETY: they lie in two frames of the machine's, of which one was zero at first, and zeroes are a Policy, and
        // the other is any bytes that only the processor, outside the monitor, reads too.
        unsafe { Some((&mut *pointer::<Policy>(policy), &mut *pointer::<[u8; 4096]>(bitmap))) }
    }

    /// Makes the virtual CPU `id` the one that runs; quick if it was that already.
    #[inline(always)]
    pub fn activate(&mut self, frames: &FrameTable, id: u64) -> Option<Active<'_>> {
        if self.running_id != id || self.running.is_none() {
            core::hint::cold_path();
            self.running = Some(NonNull::from(self.virtual_cpu(frames, id)?));
            self.running_id = id;
        }
        // SAFETY: just found, or there still.
        Some(unsafe { self.running() })
    }

    /// The virtual CPU that runs.
    ///
    /// # Safety
    /// [`Self::activate`] found it, and it did not go since.
    #[inline(always)]
    pub unsafe fn running(&mut self) -> Active<'_> {
        // SAFETY: `activate` set it from a valid identifier, and `forget` clears it when the virtual CPU goes; the
        // three parts lie in different frames, and `self` is borrowed.
        unsafe {
            let control = self.running.unwrap_unchecked().as_mut();
            let state = &mut *pointer::<VirtualCpuState>(control.state);
            let policy = &*pointer::<Policy>(control.policy);
            Active { control, state, policy }
        }
    }

    /// The virtual CPU with identifier `id` is about to go.
    pub fn forget(&mut self, id: u64) {
        if self.running_id == id {
            self.running = None;
        }
    }
}

/// A list in the kernel's memory, checked, of values of one type.
#[derive(Clone, Copy, Debug)]
pub struct KernelList {
    start: HostPhysical,
    count: u64,
}

impl KernelList {
    /// Checks that `count` values of `T` from `start` on lie, aligned, in one frame of the kernel's memory.
    pub fn check<T>(frames: &FrameTable, start: u64, count: u64) -> Option<Self> {
        let length = count.checked_mul(size_of::<T>() as u64)?;
        let start = HostPhysical::new(start);
        let inside = length <= PAGE_SIZE - start.get() % PAGE_SIZE;
        (inside && start.is_aligned(align_of::<T>() as u64) && frames.is_plain_memory(start))
            .then_some(Self { start, count })
    }

    /// Value `index`.
    pub fn read<T: FromBytes>(self, index: u64) -> T {
        let index = index.min(self.count.saturating_sub(1));
        // SAFETY: `check` found aligned memory of the kernel's inside one frame, of which the monitor holds no
        // reference, and the kernel does not run now; T takes any bytes. The index is in range, or the list is empty
        // and its first byte's frame is read.
        unsafe { pointer::<T>(self.start).add(index as usize).read_volatile() }
    }

    /// Sets word `index`, if there is one.
    pub fn write(self, index: u64, value: u64) {
        if index < self.count {
            // SAFETY: as in `read`.
            unsafe { pointer::<u64>(self.start).add(index as usize).write_volatile(value) };
        }
    }

    /// How many values there are.
    pub fn count(self) -> u64 {
        self.count
    }
}
