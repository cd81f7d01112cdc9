//! Measurements of hard faults: what a keeper costs that supplies the memory of a native child, page by page.
//!
//! As a pager works: a Space of its own says what the child's memory is, the child shows a Region of it, and the keeper of that
//! Region, this program, fills it with Mappings of its own memory.

use crate::code;
use crate::native::Child;
use crate::program::{Cost, ITERATIONS, Printer};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::libc::system_call;
use protocols::libc::time::transitions;
use protocols::libnest::server::{self, Event};
use protocols::libnest::{Mapping, Memory, Message, Port, Region, Result, Rights, Space, SpaceKind, Status};

/// Where the child sees what is kept.
const KEPT: u64 = 0x100_0000;
const SIZE: u64 = ITERATIONS * PAGE_SIZE;
const ALLOWANCE: u64 = 8;

/// What a keeper has: one Mapping for each page of what it keeps. All show the same page of its memory, where they show any.
pub struct Kept {
    mappings: Vec<Mapping>,
    _shown: Mapping,
    _region: Region,
    _port: Port,
    _page: Region,
    _space: Space,
}

impl Kept {
    /// Has `space` show memory, from `start` on, that nobody has supplied yet.
    pub fn new(server: &server::Server, space: &Space, start: u64) -> Result<Self> {
        let port = server.port(3)?;
        let backing = Space::new(SpaceKind::Native, ALLOWANCE)?;
        let region = Region::of_space(&backing, 0, SIZE, Rights::all())?;
        region.set_keeper(&port)?;
        let shown = Mapping::new(&region, 0, space, start, SIZE, Rights::all())?;
        let memory = Memory::allocate(PAGE_SIZE).ok_or(Status::NoMemory)?;
        let page = Region::new(&memory, 0, PAGE_SIZE, Rights::all())?;
        let mappings = (0..ITERATIONS).map(|_| Mapping::nowhere(&page, &backing)).collect::<Result<Vec<_>>>()?;
        Ok(Self { mappings, _shown: shown, _region: region, _port: port, _page: page, _space: backing })
    }

    /// Supplies the page at an offset.
    pub fn supply(&mut self, offset: u64, rights: Rights) -> Result<Message> {
        let page = offset / PAGE_SIZE;
        let mapping = self.mappings.get_mut(page as usize).ok_or(Status::NotFound)?;
        Ok(server::map(mapping, 0, page * PAGE_SIZE, PAGE_SIZE, rights))
    }

    /// Gives the page at an offset back the right to be written, and takes it from the next.
    fn pass_protection(&mut self, offset: u64) -> Result<Message> {
        let page = (offset / PAGE_SIZE) as usize;
        if let Some(next) = self.mappings.get_mut(page + 1) {
            next.protect(Rights::READ)?;
        }
        let mapping = self.mappings.get_mut(page).ok_or(Status::NotFound)?;
        Ok(server::protect(mapping, Rights::READ | Rights::WRITE))
    }
}

/// Runs a loop over what is kept, whose faults are answered as `answer` says.
fn run(child: &mut Child, code: &[u8], mut answer: impl FnMut(u64) -> Result<Message>) -> Result<Cost> {
    let before = transitions();
    child.go(code, KEPT)?;
    let mut event = child.server.receive(None);
    while let Event::MemoryFault { fault, .. } = event {
        event = child.server.reply_and_receive(&answer(fault.offset)?, None);
    }
    let transitions = transitions() - before;
    let _ = system_call::ipc_reply(&server::stop());
    Ok(Cost { ticks: child.ticks()?, transitions })
}

/// Has a Mapping of memory grow by a page at each fault.
fn grow(child: &mut Child) -> Result<Cost> {
    let rights = Rights::READ | Rights::WRITE;
    let port = child.server.port(3)?;
    let backing = Space::new(SpaceKind::Native, ALLOWANCE)?;
    let region = Region::of_space(&backing, 0, SIZE, Rights::all())?;
    region.set_keeper(&port)?;
    let _shown = Mapping::new(&region, 0, child.space(), KEPT, SIZE, Rights::all())?;
    let memory = Memory::allocate(SIZE).ok_or(Status::NoMemory)?;
    let own = Region::new(&memory, 0, SIZE, Rights::all())?;
    let mut mapping = Mapping::nowhere(&own, &backing)?;
    run(child, code::native_write(), |offset| {
        Ok(server::map(&mut mapping, 0, 0, offset / PAGE_SIZE * PAGE_SIZE + PAGE_SIZE, rights))
    })
}

/// Measures them.
pub fn measure(printer: &mut Printer, child: &mut Child) -> Result<()> {
    let mut kept = Kept::new(&child.server, child.space(), KEPT)?;
    let step = child.measure(code::native_step(), KEPT)?;
    let hard = run(child, code::native_write(), |offset| kept.supply(offset, Rights::READ | Rights::WRITE))?;
    printer.print("fault.hard.new", hard, step);
    drop(kept);
    printer.print("fault.hard", grow(child)?, step);
    let mut kept = Kept::new(&child.server, child.space(), KEPT)?;
    run(child, code::native_write(), |offset| kept.supply(offset, Rights::READ | Rights::WRITE))?;
    let mut protected = step;
    for _ in 0..2 {
        kept.mappings[0].protect(Rights::READ)?;
        protected = run(child, code::native_write(), |offset| kept.pass_protection(offset))?;
    }
    printer.print("fault.prot1", protected, step);
    Ok(())
}
