//! Logs of the pages that virtual CPUs write, so that the first write to each page of tracked memory needs no exit.
//!
//! The processor logs what a virtual CPU writes through an EPT entry for the first time since the entry was applied. So a machine whose virtual
//! CPUs all have logs gets tracked memory with the right to write at once, and what it has written is marked when its logs are
//! [collected](Kernel::collect_logs): before it is reported, and before anything by which it was written is taken away. Where there are no
//! logs, the processor's or for want of memory, a machine's first write to each page is a fault.
//!
//! Once its virtual CPUs log, they do until they are destroyed.

use crate::arch::monitor;
use crate::arch::physical::Frame;
use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::{Kernel, ListPage};
use crate::list::List;
use crate::machine::Machine;
use crate::memory::hierarchy::{Space, translate};
use crate::memory::window::Window;
use crate::space::Contents;
use crate::thread::Thread;
use protocols::address::PAGE_SIZE;
use protocols::api::Rights;
use protocols::machine::{EptEntry, Status as MonitorStatus};

/// Addresses that a log has room for.
const ENTRIES: usize = 512;
/// The longest stretch of logged memory that one fault makes accessible: each page costs as much as all of it would as a large one.
const FAULT_AROUND: u64 = 64 * PAGE_SIZE;

impl Kernel {
    /// Makes the stretch around an address below which a Region is tracked accessible to a machine.
    #[cold]
    #[inline(never)]
    pub fn install_tracked(
        &mut self,
        space: Id<Space>,
        machine: Machine,
        address: u64,
        page: &Window,
    ) -> Result<(), Unresolved> {
        if !self.logs_writes(space) {
            return self.update_ept(space, machine, page.entry(page.start, page.end, 0));
        }
        let window = self.whole_window(space, address).ok_or(Unresolved::NoMemory)?;
        let start = (address & !(FAULT_AROUND - 1)).max(window.start);
        let end = (address & !(FAULT_AROUND - 1)).saturating_add(FAULT_AROUND).min(window.end);
        self.update_ept(space, machine, window.entry(start, end, EptEntry::SMALL))
    }

    /// Has the log tell again when a machine writes in a stretch.
    pub fn log_again(&mut self, space: Id<Space>, machine: Machine, start: u64, end: u64) {
        let mut start = start;
        while start < end {
            let window = self.whole_window(space, start);
            let next = window.as_ref().map_or(start + PAGE_SIZE, |window| window.end.min(end));
            let entry = window.map(|window| window.entry(start, next, EptEntry::SMALL));
            if entry.is_none_or(|entry| self.update_ept(space, machine, entry).is_err()) {
                self.remove_from_machine(space, machine, start, next);
            }
            start = next;
        }
    }

    /// What a Space shows around an address, tracked or not, if it shows anything.
    fn whole_window(&self, space: Id<Space>, address: u64) -> Option<Window> {
        let found = translate(&self.hierarchy(), space, address, Rights::READ).ok()?;
        Some(Window::new(address, &found, self.kind_of_memory(found.physical.get())))
    }

    /// Whether the virtual CPUs of a machine Space all log what they write, from now on if possible.
    fn logs_writes(&mut self, id: Id<Space>) -> bool {
        let Some(space) = self.objects.spaces.get(id) else { return false };
        if matches!(space.contents, Contents::Machine(Machine { logged: true, .. })) {
            return true;
        }
        let mut next = space.threads.first();
        while let Some(thread) = next {
            next = List::<Thread>::after(&self.objects.threads, thread);
            if !self.begin_log(thread, id) {
                return false;
            }
        }
        if let Some(Contents::Machine(machine)) = self.objects.spaces.get_mut(id).map(|space| &mut space.contents) {
            machine.logged = self.can_log;
        }
        if self.can_log {
            self.note_writes(id);
        }
        self.can_log
    }

    /// Whether the virtual CPU of a thread of a machine Space logs what it writes, from now on if possible.
    pub fn begin_log(&mut self, id: Id<Thread>, space: Id<Space>) -> bool {
        let virtual_cpu = self.objects.threads.get(id).and_then(|thread| thread.virtual_cpu.as_ref());
        let Some(virtual_cpu) = virtual_cpu.filter(|virtual_cpu| virtual_cpu.log.is_none()) else { return true };
        let number = virtual_cpu.id;
        let payer = self.objects.spaces.get_mut(space).map(|space| &mut space.account);
        if !self.can_log || payer.is_none_or(|payer| payer.charge(PAGE_SIZE).is_err()) {
            return false;
        }
        let log: Option<Frame<ListPage>> = self.frames.allocate().and_then(Frame::new);
        let begun = log.as_ref().map(|log| monitor::log_writes(number, log.address()));
        if let Some(Ok(_)) = begun {
            if let Some(Thread { virtual_cpu: Some(virtual_cpu), .. }) = self.objects.threads.get_mut(id) {
                virtual_cpu.log = log;
            }
            return true;
        }
        if let Some(Err(MonitorStatus::UnknownCall)) = begun {
            log::warn!("the processor logs no written pages: tracked memory of machines takes an exit for each");
            self.can_log = false;
        }
        if let Some(log) = log {
            self.frames.release(log.address());
        }
        self.refund(space, PAGE_SIZE);
        false
    }

    /// Marks what the virtual CPU of a thread has written, if it logs that, and begins its log anew. Returns how many pages the
    /// log said.
    #[cold]
    pub fn collect_log(&mut self, id: Id<Thread>) -> u64 {
        let Some(Thread { virtual_cpu: Some(virtual_cpu), space: Some(space), .. }) = self.objects.threads.get(id)
        else {
            return 0;
        };
        let Some(log) = &virtual_cpu.log else { return 0 };
        let (space, count) = (*space, monitor::log_writes(virtual_cpu.id, log.address()).unwrap_or(0));
        let mut entries: ListPage = *log.get();
        // The oldest stands last.
        let entries = &mut entries[ENTRIES - ENTRIES.min(count as usize)..];
        entries.reverse();
        self.mark_all_written(space, entries);
        count
    }

    /// Marks what the virtual CPUs of a machine Space have written. Returns how many pages their logs said.
    pub fn collect_logs(&mut self, space: Id<Space>) -> u64 {
        let mut count = 0;
        let mut next = self.objects.spaces.get(space).and_then(|space| space.threads.first());
        while let Some(thread) = next {
            next = List::<Thread>::after(&self.objects.threads, thread);
            count += self.collect_log(thread);
        }
        count
    }
}

impl Window {
    /// The change of an EPT that shows part of it.
    pub fn entry(&self, start: u64, end: u64, flags: u16) -> EptEntry {
        let bit = |right: Rights, value: u16| if self.rights.contains(right) { value } else { 0 };
        EptEntry {
            guest: start,
            host: self.physical(start).get(),
            frames: ((end - start) / PAGE_SIZE) as u32,
            rights: bit(Rights::READ, EptEntry::READ)
                | bit(Rights::WRITE, EptEntry::WRITE)
                | bit(Rights::EXECUTE, EptEntry::EXECUTE)
                | flags,
            memory_type: if self.device { 0 } else { 6 },
        }
    }
}
