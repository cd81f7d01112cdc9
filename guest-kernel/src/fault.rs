//! Faults and exceptions: the one path for native and machine Spaces.
//!
//! A soft fault is derived from the hierarchy and installed in the tables; nobody hears of it. A hard fault becomes a message to the
//! Region's keeper; a mistake of the thread's own becomes a message to its Space's keeper.

use crate::arch::{cpu, physical};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::list::List;
use crate::memory::frames::FramePool;
use crate::memory::hierarchy::{
    self, Derived, Fault, MEMORY_END, MOST_PIECES, Mapping, Piece, Region, Space, TooMuch, shown, translate,
};
use crate::memory::page_table::{NoMemory, Page, TableMemory, USER_END};
use crate::memory::window::Window;
use crate::space::Contents;
use crate::thread::Thread;
use protocols::address::{HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{MessageKind, Rights};
use protocols::exception::{MESSAGE_WORDS, MISUSE, Misuse, exception_reply, memory_reply};
use protocols::native_thread::{Debug, Pending};

/// Page-table frames, charged to an account.
pub struct ChargedTables<'a> {
    /// Where they come from.
    pub frames: &'a mut FramePool,
    /// Who pays.
    pub account: &'a mut crate::account::Account,
}

impl TableMemory for ChargedTables<'_> {
    #[inline]
    fn read(&self, frame: HostPhysical, index: usize) -> u64 {
        physical::read_entry(frame, index)
    }
    fn write(&mut self, frame: HostPhysical, index: usize, entry: u64) {
        physical::write_entry(frame, index, entry);
    }
    fn allocate(&mut self) -> Option<HostPhysical> {
        self.account.charge(PAGE_SIZE).ok()?;
        let frame = self.frames.allocate().filter(|&frame| physical::zero(frame, PAGE_SIZE as usize));
        if frame.is_none() {
            self.account.refund(PAGE_SIZE);
        }
        frame
    }
    fn free(&mut self, frame: HostPhysical) {
        self.account.refund(PAGE_SIZE);
        self.frames.release(frame);
    }
}

/// Why an access cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// As the hierarchy says.
    Fault(Fault),
    /// There is no kernel memory for the tables.
    NoMemory,
}

/// The vector of page faults.
pub const PAGE_FAULT: u64 = 14;

/// What a page fault wanted (Intel SDM vol. 3A, 4.7).
pub fn wanted(error: u64) -> Rights {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    match error {
        error if error & WRITE != 0 => Rights::WRITE,
        error if error & FETCH != 0 => Rights::EXECUTE,
        _ => Rights::READ,
    }
}

impl Kernel {
    /// Installs what `address` of `space` means, if the hierarchy says so.
    pub fn resolve(&mut self, id: Id<Space>, address: u64, want: Rights) -> Result<(), Unresolved> {
        let space = self.objects.spaces.get(id).ok_or(Unresolved::Fault(Fault::Unmapped))?;
        let window = match space.windows.find(address, want, space.epoch) {
            Some(window) => window,
            None => self.derive_window(id, address, want)?,
        };
        match self.objects.spaces.get(id).map(|space| &space.contents) {
            Some(Contents::Native(_)) => self.install_in_native(id, page_of(address, &window)),
            Some(&Contents::Machine(machine)) => self.install_in_machine(id, machine, address, &window),
            _ => Err(Unresolved::Fault(Fault::Unmapped)),
        }
    }

    /// Puts a page into the tables of a native Space.
    #[inline(always)]
    pub fn install_in_native(&mut self, id: Id<Space>, page: Page) -> Result<(), Unresolved> {
        let space = self.objects.spaces.get_mut(id).ok_or(Unresolved::Fault(Fault::Unmapped))?;
        let Contents::Native(table) = &mut space.contents else { return Err(Unresolved::Fault(Fault::Unmapped)) };
        let mut memory = ChargedTables { frames: &mut self.frames, account: &mut space.account };
        table.map(&mut memory, page).map_err(|NoMemory| Unresolved::NoMemory)?;
        cpu::flush_address(page.address);
        Ok(())
    }

    /// The window of a Space around an address with the rights wanted. A page that is to be copied before it is written to is.
    #[inline(always)]
    pub fn window(&mut self, id: Id<Space>, address: u64, want: Rights) -> Result<Window, Unresolved> {
        let space = self.objects.spaces.get(id).ok_or(Unresolved::Fault(Fault::Unmapped))?;
        match space.windows.find(address, want, space.epoch) {
            Some(window) => Ok(window),
            None => self.find_window(id, address, want),
        }
    }

    #[inline(never)]
    fn find_window(&mut self, id: Id<Space>, address: u64, want: Rights) -> Result<Window, Unresolved> {
        let window = self.derive_window(id, address, want)?;
        if window.end - window.start <= PAGE_SIZE
            && !window.tracked
            && let Some(space) = self.objects.spaces.get_mut(id)
        {
            space.windows.add(window, space.epoch);
        }
        Ok(window)
    }

    /// Finds a window, and remembers it if more than one page can be found in it.
    #[inline]
    fn derive_window(&mut self, id: Id<Space>, address: u64, want: Rights) -> Result<Window, Unresolved> {
        let mut found = match translate(&self.hierarchy(), id, address, want) {
            Err(Fault::Copy(mapping, offset)) => {
                let copy = self.copy_page(mapping, offset)?;
                // A page that this Space itself has copied needs no further look.
                if copy.space == Some(id) && copy.rights.contains(want) {
                    return Ok(Window::page(address & !(PAGE_SIZE - 1), copy.page, copy.rights));
                }
                translate(&self.hierarchy(), id, address, want)
            }
            found => found,
        }
        .map_err(Unresolved::Fault)?;
        if found.tracked {
            self.limit_tracked(id, address, want, &mut found);
        }
        let kind = match found.device {
            Some(device) => (device, 0, u64::MAX),
            None => self.kind_of_memory(found.physical.get()),
        };
        let window = Window::new(address, &found, kind);
        // Every access to tracked memory is to be seen.
        if window.end - window.start > PAGE_SIZE
            && !window.tracked
            && let Some(space) = self.objects.spaces.get_mut(id)
        {
            space.windows.add(window, space.epoch);
        }
        Ok(window)
    }

    /// Drops a piece of a Space and everything that is derived from it, at once.
    #[inline]
    pub fn withdraw(&mut self, piece: Piece) {
        self.drop_piece(piece, None);
        self.withdraw_derived(piece);
    }

    /// Drops everything that is derived from a piece of a Space, at once.
    pub fn withdraw_derived(&mut self, piece: Piece) {
        let mut region = self.objects.spaces.get(piece.space).and_then(|space| space.regions.first());
        let mut count = 0;
        while let Some(region_id) = region {
            let Some(found) = self.objects.regions.get(region_id) else { return };
            let (start, end) = (piece.start.max(found.start), piece.end.min(found.start + found.size));
            let mut mapping = found.mappings.first().filter(|_| start < end);
            let (start, end) = (start.wrapping_sub(found.start), end.wrapping_sub(found.start));
            region = List::<Region>::after(&self.objects.regions, region_id);
            while let Some(mapping_id) = mapping {
                mapping = List::<Mapping>::after(&self.objects.mappings, mapping_id);
                let Some(derived) = shown(&self.hierarchy(), mapping_id, start, end) else { continue };
                count += 1;
                let shows_on =
                    self.objects.spaces.get(derived.space).is_some_and(|space| space.regions.first().is_some());
                if shows_on || count > MOST_PIECES {
                    return self.withdraw_deeply(piece);
                }
                self.drop_piece(derived, Some(piece.space));
            }
        }
    }

    /// The same, where more is derived from what is derived.
    #[inline(never)]
    fn withdraw_deeply(&mut self, piece: Piece) {
        let mut walk = Derived::of_piece(&self.hierarchy(), piece);
        loop {
            match walk.next(&self.hierarchy()) {
                Ok(Some(derived)) => self.drop_piece(derived, Some(piece.space)),
                Ok(None) => return,
                Err(TooMuch) => return self.empty_derived(piece.space),
            }
        }
    }

    /// Drops all that the tables hold of a Space and of all Spaces that show part of it.
    pub fn empty_derived(&mut self, space: Id<Space>) {
        let mut list = hierarchy::list_derived(&mut self.hierarchy_mut(), space);
        while let Some(id) = list {
            list = self.objects.spaces.get_mut(id).and_then(|space| space.next_emptied.take());
            self.drop_piece(Piece { space: id, start: 0, end: MEMORY_END }, None);
        }
    }

    /// Drops a piece from its Space's tables: because of itself, or because of a piece of `cause` that it is derived from.
    fn drop_piece(&mut self, piece: Piece, cause: Option<Id<Space>>) {
        let Some(space) = self.objects.spaces.get_mut(piece.space) else { return };
        if let (Some(cause), Some(approach)) = (cause, space.approach.get_mut()) {
            approach.outlives(space.epoch, cause);
        }
        space.epoch += 1;
        if space.notes_writes {
            self.collect_native(piece);
        }
        let Some(space) = self.objects.spaces.get_mut(piece.space) else { return };
        match &mut space.contents {
            Contents::Native(table) => {
                let mut memory = ChargedTables { frames: &mut self.frames, account: &mut space.account };
                let removed = table.unmap(&mut memory, piece.start, piece.end.min(USER_END));
                if removed && self.loaded.is(table.root()) {
                    cpu::flush_user();
                }
            }
            Contents::Machine(machine) => {
                let machine = *machine;
                if machine.logged {
                    self.collect_logs(piece.space);
                }
                self.remove_from_machine(piece.space, machine, piece.start, piece.end);
            }
            Contents::Physical | Contents::Unbuilt => {}
        }
    }

    /// An exception in ring 3 that is no page fault.
    pub fn native_exception(&mut self, id: Id<Thread>, vector: u64) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        let (error, rip) = (thread.registers.error, thread.registers.rip);
        const DEBUG: u64 = 1;
        const NOT_AVAILABLE: u64 = 7;
        let (error, address) = match vector {
            DEBUG => (error, self.debug_exception(id)),
            NOT_AVAILABLE => match self.use_extended(id) {
                Ok(()) => return,
                Err(status) => (status as u64, 0),
            },
            _ => (error, 0),
        };
        self.raise(id, [vector, error, rip, address, 0, 0, 0, 0]);
    }

    /// Notes in a native thread what its debug exception is about. Returns its DR6.
    fn debug_exception(&mut self, id: Id<Thread>) -> u64 {
        let conditions = crate::arch::debug::take_conditions();
        let Some(thread) = self.objects.threads.get_mut(id) else { return 0 };
        let debug = &mut thread.native.debug;
        // Others than its own are met too: those at the addresses of a resident virtual CPU.
        let own = if debug.is_armed() { Debug::CONDITIONS } else { Debug::SINGLE_STEP };
        debug.dr6 = conditions & own | Debug::DR6;
        if debug.met_on_execution() {
            thread.registers.resume_over_breakpoint();
        }
        debug.dr6
    }

    /// An access of a thread, its own or the kernel's on its behalf, that the hierarchy does not allow.
    pub fn unresolved(&mut self, id: Id<Thread>, unresolved: Unresolved, address: u64, want: Rights) {
        let missing = match unresolved {
            Unresolved::Fault(Fault::Region(region, offset)) => Some((region, offset, want)),
            Unresolved::Fault(Fault::Source(region, offset)) => Some((region, offset, Rights::READ)),
            _ => None,
        };
        if let Some((region, offset, missing)) = missing {
            let keeper = self.objects.regions.get(region);
            let keeper = keeper.and_then(|region| self.objects.destination(&region.keeper));
            if let Some(keeper) = keeper {
                let message = [offset, missing.bits(), address, want.bits(), 0, 0, 0, 0];
                // Should the keeper have no memory, the thread gets the exception.
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.message = message;
                }
                if self.send_message(id, keeper, MessageKind::MemoryFault, message) {
                    return;
                }
            }
        }
        self.raise_page_fault(id, address, want);
    }

    /// A thread is about to repeat an access that its keeper has seen to. Installing what it wants now saves it a second
    /// fault; what is still missing is found then.
    pub fn retry(&mut self, id: Id<Thread>, address: u64, want: Rights) {
        if let Some(space) = self.objects.threads.get(id).and_then(|thread| thread.space) {
            let _ = self.resolve(space, address, want);
        }
    }

    /// Whether the thread can go on now.
    fn raise_page_fault(&mut self, id: Id<Thread>, address: u64, want: Rights) -> bool {
        let Some(thread) = self.objects.threads.get(id) else { return false };
        if thread.virtual_cpu.is_some() {
            self.machine_exit(id);
            false
        } else {
            let error = 4
                | if want.contains(Rights::WRITE) { 2 } else { 0 }
                | if want.contains(Rights::EXECUTE) { 16 } else { 0 };
            self.raise(id, [PAGE_FAULT, error, thread.registers.rip, address, 0, 0, 0, 0])
        }
    }

    /// Misuse of the API.
    pub fn misuse(&mut self, id: Id<Thread>, misuse: Misuse, call: u64) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        if thread.virtual_cpu.is_some() {
            self.machine_exit(id);
        } else {
            self.raise(id, [MISUSE, misuse as u64, thread.registers.rip, call, 0, 0, 0, 0]);
        }
    }

    /// Tells the keeper of a native thread's Space of an exception; without one, the thread stops.
    pub fn tell_space_keeper(&mut self, id: Id<Thread>, message: [u64; MESSAGE_WORDS]) {
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.message = message;
        }
        self.tell_keeper(id, MessageKind::Exception, message);
    }

    /// Sends a message to the keeper of a thread's Space; without one, the thread stops.
    #[inline(always)]
    pub fn tell_keeper(&mut self, id: Id<Thread>, kind: MessageKind, message: [u64; MESSAGE_WORDS]) {
        let space = self.objects.threads.get(id).and_then(|thread| thread.space);
        let keeper = space.and_then(|space| self.objects.spaces.get(space)?.keeper.direct);
        if let Some(keeper) = keeper
            && self.send_message(id, keeper, kind, message)
        {
            return;
        }
        // Left in the thread, so that the message needs no memory where all is well.
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.message = message;
        }
        self.tell_granted_keeper(id, kind);
    }

    /// Sends the message in a thread, where its keeper depends on a grant, or is gone, or was never there.
    #[cold]
    #[inline(never)]
    fn tell_granted_keeper(&mut self, id: Id<Thread>, kind: MessageKind) {
        let Some(Thread { message, space, .. }) = self.objects.threads.get(id) else { return };
        let (message, space) = (*message, *space);
        let space = space.and_then(|space| self.objects.spaces.get(space));
        let keeper = space.and_then(|space| self.objects.destination(&space.keeper));
        if !keeper.is_some_and(|keeper| self.send_message(id, keeper, kind, message)) {
            self.stop_without_keeper(id, message);
        }
    }

    fn stop_without_keeper(&mut self, id: Id<Thread>, message: [u64; MESSAGE_WORDS]) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        thread.stopped = true;
        let label = thread.label();
        let space = thread.space.and_then(|id| self.objects.spaces.get(id));
        if space.is_some_and(|space| space.ports) {
            crate::stop(format_args!("the root nester ended: exception {message:x?}"));
        }
        log::warn!("{label} stopped, it has no keeper: exception {message:x?}");
        self.unready(id);
    }

    /// The keeper has replied to a thread, which waits for nothing now. Whether the thread can go on.
    #[inline]
    pub fn keeper_replied(&mut self, id: Id<Thread>, words: &[u64; MESSAGE_WORDS]) -> bool {
        let Some(thread) = self.objects.threads.get_mut(id) else { return false };
        thread.keeper_since = 0;
        match thread.sending {
            MessageKind::MachineExit => return self.machine_replied(id, words),
            MessageKind::MemoryFault
                if matches!(words[0], memory_reply::RETRY | memory_reply::MAP | memory_reply::PROTECT) =>
            {
                let [_, _, address, want, ..] = thread.message;
                self.retry(id, address, Rights::from_bits_truncate(want));
            }
            MessageKind::MemoryFault => {
                let [_, _, address, want, ..] = thread.message;
                let want = Rights::from_bits_truncate(want);
                return self.raise_page_fault(id, address, want);
            }
            _ => {
                thread.native.exceptions.pending = Pending::default();
                thread.stopped |= words[0] != exception_reply::RESUME;
                // Who stops repeats nothing: no page is to be copied for it.
                if let [PAGE_FAULT, error, _, address, ..] = thread.message
                    && words[0] == exception_reply::RESUME
                {
                    self.retry(id, address, wanted(error));
                }
            }
        }
        if self.objects.threads.get(id).is_some_and(|thread| thread.native.exceptions.posted != 0) {
            self.deliver_interrupt(id);
        }
        true
    }
}

/// The largest page around `address` that the window holds.
#[inline]
fn page_of(address: u64, window: &Window) -> Page {
    let start = address & !(LARGE_PAGE_SIZE - 1);
    let fits = start >= window.start && window.end - start >= LARGE_PAGE_SIZE;
    let is_large = fits && window.physical(start).is_aligned(LARGE_PAGE_SIZE);
    let size = if is_large { LARGE_PAGE_SIZE } else { PAGE_SIZE };
    Page {
        address: address & !(size - 1),
        physical: window.physical(address).align_down(size),
        size,
        writable: window.rights.contains(Rights::WRITE),
        executable: window.rights.contains(Rights::EXECUTE),
        device: window.device,
    }
}
