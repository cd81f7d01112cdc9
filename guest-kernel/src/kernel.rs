//! The kernel's state, and what happens at each entry.

use crate::arch::entry::{self, Resume};
use crate::arch::physical::Frame;
use crate::arch::{Loaded, View};
use crate::arch::{apic, cpu, descriptor};
use crate::arena::Id;
use crate::dispatch::{Dispatcher, Grant};
use crate::fault::{self, PAGE_FAULT};
use crate::memory::frames::FramePool;
use crate::memory::hierarchy::{Hierarchy, HierarchyMut, Space};
use crate::native::Context;
use crate::objects::{Objects, Port, Queue};
use crate::schedule::Timer;
use crate::space::Contents;
use crate::thread::Thread;
use alloc::vec::Vec;
use protocols::address::HostPhysical;
use protocols::api::Call;
use protocols::virtual_cpu::register::{RAX, RDI};

/// A page for lists that the monitor reads and writes.
pub type ListPage = [u64; 512];

/// Everything that the kernel knows.
pub struct Kernel {
    /// All objects.
    pub objects: Objects,
    /// The Space that is physical memory itself.
    pub physical: Option<Id<Space>>,
    /// The kernel's memory.
    pub frames: FramePool,
    /// The thread that runs.
    pub current: Option<Id<Thread>>,
    /// Threads that could run.
    pub ready: Queue,
    /// Whose CPU time is being used.
    pub grant: Grant,
    /// Time slices and deadlines.
    pub timer: Timer,
    /// The native Space that the CPU is loaded for.
    pub loaded: Loaded,
    /// What the native thread that the CPU is loaded for has beside its registers.
    pub context: Context,
    /// The thread whose extended registers are in the CPU.
    pub resident: Option<Id<Thread>>,
    /// IA32_LSTAR, IA32_STAR and IA32_FMASK as they are now.
    pub system_call_registers: [u64; 3],
    /// They are those for native threads.
    pub native_system_calls: bool,
    /// The Ports of interrupt lines.
    pub lines: [Option<Id<Port>>; apic::LINES as usize],
    /// RAM, by first address and end.
    pub ram: Vec<(u64, u64)>,
    /// The page-table root that holds the kernel's half.
    pub kernel_table: HostPhysical,
    /// How many Regions are tracked.
    pub tracked_regions: usize,
    /// Whether virtual CPUs can log the pages that they write, as far as is known.
    pub can_log: bool,
    /// Of how many Spaces the processor notes tracked pages that are written.
    pub noting_spaces: usize,
    /// For lists to and from the monitor.
    pub list: Frame<ListPage>,
}

impl Kernel {
    /// The memory hierarchy.
    #[inline]
    pub fn hierarchy(&self) -> Hierarchy<'_> {
        Hierarchy { spaces: &self.objects.spaces, regions: &self.objects.regions, mappings: &self.objects.mappings }
    }

    /// The memory hierarchy, to be changed.
    pub fn hierarchy_mut(&mut self) -> HierarchyMut<'_> {
        let Objects { spaces, regions, mappings, walks, .. } = &mut self.objects;
        HierarchyMut { spaces, regions, mappings, walks }
    }

    /// Who runs next.
    #[inline]
    pub fn dispatcher(&mut self) -> Dispatcher<'_> {
        let Self { objects, current, ready, grant, .. } = self;
        Dispatcher { objects, current, ready, grant }
    }

    /// Whether a physical address is RAM.
    pub fn is_ram(&self, address: u64) -> bool {
        !self.kind_of_memory(address).0
    }

    /// Whether a physical address is device memory, and the stretch around it, first address and end, that is all like it.
    pub fn kind_of_memory(&self, address: u64) -> (bool, u64, u64) {
        let (mut first, mut last) = (0, u64::MAX);
        for &(start, end) in &self.ram {
            match () {
                () if end <= address => first = first.max(end),
                () if start > address => last = last.min(start),
                () => return (false, start, end),
            }
        }
        (true, first, last)
    }

    /// Handles a system call of the running thread.
    pub fn system_call(&mut self) -> Resume {
        if let Some((id, thread)) = self.current.and_then(|id| Some((id, self.objects.threads.get(id)?))) {
            let (call, name) = (thread.registers.gpr[RAX], thread.registers.gpr[RDI]);
            let serves = call == Call::IpcReplyWaitReceive as u64;
            // Dispatching takes as long as the whole of what servers and clients do most.
            match serves.then(|| self.quick_portset(id, name)).flatten() {
                Some(portset) => self.reply_and_receive(id, portset),
                None if call == Call::IpcCall as u64 && self.quick_call(id, name) => {}
                None => self.call(id),
            }
        }
        self.next_native()
    }

    /// Handles a system call of the running thread in the general way.
    pub fn general_call(&mut self) -> Resume {
        if let Some(id) = self.current {
            self.call(id);
        }
        self.next_native()
    }

    /// Sends the call in the registers of a client, if the Reference at `name` was found before and can be called.
    fn quick_call(&mut self, id: Id<Thread>, name: u64) -> bool {
        let reference = self.quick_reference(id, name).and_then(|id| self.objects.references.get(id));
        let destination = reference.and_then(|reference| self.objects.destination(reference));
        destination.is_some_and(|destination| self.send_call(id, destination))
    }

    /// Handles an interrupt or exception of the running thread: its registers say which.
    pub fn interrupted(&mut self) -> Resume {
        if let Some((id, thread)) = self.current.and_then(|id| Some((id, self.objects.threads.get(id)?))) {
            match thread.registers.vector {
                PAGE_FAULT => {
                    let (registers, space) = (Resume::thread(&thread.registers), thread.space);
                    let (address, want) = (cpu::fault_address(), fault::wanted(thread.registers.error));
                    if let Some(space) = space {
                        self.fast_fault(id, space, address, want);
                    }
                    match space.map(|space| self.resolve(space, address, want)) {
                        // Nobody else is involved: the CPU is still loaded for the thread.
                        Some(Ok(())) => return registers,
                        Some(Err(unresolved)) => self.unresolved(id, unresolved, address, want),
                        None => self.current = None,
                    }
                }
                vector @ 0..32 => self.native_exception(id, vector),
                vector => {
                    apic::end_of_interrupt(vector as u8);
                    self.interrupt(vector as u8);
                }
            }
        }
        self.next_native()
    }

    /// Runs virtual CPUs, or waits, until a native thread is to run, and loads the CPU for it.
    #[inline(never)]
    pub fn next_native(&mut self) -> Resume {
        loop {
            let thread = self.current.and_then(|id| self.objects.threads.get(id));
            let Some(thread) = thread.filter(|thread| thread.view.exists() && !thread.stopped) else {
                self.run_until_native();
                continue;
            };
            let (view, context, resume) = (thread.view, thread.context, Resume::thread(&thread.registers));
            self.load_cpu(view, context);
            if !self.native_system_calls {
                self.restore_system_calls();
            }
            return resume;
        }
    }

    /// Loads the CPU for the running thread, which is native: its view and its context.
    #[inline(always)]
    pub fn load_cpu(&mut self, view: View, context: u64) {
        self.loaded.change_to(view);
        if !self.context.is(context) {
            entry::load_context(self);
        }
    }

    /// Whether the CPU is loaded for the Space with these contents.
    pub fn is_loaded(&self, contents: &Contents) -> bool {
        matches!(contents, Contents::Native(table) if self.loaded.is(table.root()))
    }

    #[inline(never)]
    fn restore_system_calls(&mut self) {
        self.native_system_calls = true;
        self.set_system_call_registers([self.context.entry, descriptor::STAR, descriptor::FMASK]);
    }

    #[inline(never)]
    fn run_until_native(&mut self) {
        loop {
            let id = self.dispatch();
            match self.objects.threads.get(id) {
                None => self.current = None,
                Some(thread) if thread.stopped => self.current = None,
                Some(thread) if thread.view.exists() => return,
                Some(_) => self.run_virtual_cpu(id),
            }
        }
    }

    /// Writes the SYSCALL registers that differ.
    #[inline]
    pub fn set_system_call_registers(&mut self, [lstar, star, fmask]: [u64; 3]) {
        let old = core::mem::replace(&mut self.system_call_registers, [lstar, star, fmask]);
        if old[1..] == [star, fmask] {
            descriptor::load_system_call_address(lstar);
        } else {
            descriptor::load_system_call_registers(lstar, star, fmask);
        }
    }

    /// Handles the interrupts that the CPU took while the kernel ran.
    pub fn pending_interrupts(&mut self) {
        while let Some(vector) = entry::take_pending() {
            self.interrupt(vector);
        }
    }

    /// Handles an interrupt that the CPU has taken.
    pub fn interrupt(&mut self, vector: u8) {
        if vector == apic::TIMER {
            self.timer_fired();
        } else if let Some(port) =
            vector.checked_sub(apic::FIRST_LINE).and_then(|line| *self.lines.get(line as usize)?)
        {
            if let Some(port) = self.objects.ports.get_mut(port) {
                port.line_fired = true;
            }
            self.announce(port);
        }
    }
}
