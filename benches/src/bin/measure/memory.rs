//! Measurements of memory faults in native children: soft ones, that the kernel resolves from the hierarchy, at the end of
//! short and long chains of Spaces, and those that copy a page.

use crate::code;
use crate::native::Child;
use crate::program::{ITERATIONS, Printer};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space, SpaceKind, Status};

/// Where the touched pages begin: a page past a large page's boundary, as their memory does not, so that every page takes a
/// fault of its own.
const TOUCHED: u64 = 0x1000_1000;
/// Kernel memory of a Space that is only looked through.
const LINK_ALLOWANCE: u64 = 4;

/// Spaces that show each other's memory, and the Mapping that shows the last one's to a child.
struct Chain {
    _spaces: Vec<Space>,
    _regions: Vec<Region>,
    _mappings: Vec<Mapping>,
}

impl Chain {
    /// Shows `memory` to the child's Space through `depth` Mappings.
    fn new(memory: &Memory, child: &Space, depth: usize) -> Result<Self> {
        let size = memory.size();
        let (mut spaces, mut mappings) = (Vec::new(), Vec::new());
        let mut regions = Vec::from([Region::new(memory, 0, size, Rights::READ)?]);
        for _ in 1..depth {
            let space = Space::new(SpaceKind::Native, LINK_ALLOWANCE)?;
            let below = regions.last().ok_or(Status::NotFound)?;
            mappings.push(Mapping::new(below, 0, &space, TOUCHED, size, Rights::READ)?);
            regions.push(Region::of_space(&space, TOUCHED, size, Rights::READ)?);
            spaces.push(space);
        }
        let last = regions.last().ok_or(Status::NotFound)?;
        mappings.push(Mapping::new(last, 0, child, TOUCHED, size, Rights::READ)?);
        Ok(Self { _spaces: spaces, _regions: regions, _mappings: mappings })
    }
}

/// Measures soft faults.
pub fn measure(printer: &mut Printer) -> Result<()> {
    let memory = Memory::allocate(ITERATIONS * PAGE_SIZE).ok_or(Status::NoMemory)?;
    for (depth, name) in [(1, "fault.soft.1"), (64, "fault.soft.64")] {
        let mut child = Child::new()?;
        let _chain = Chain::new(&memory, child.space(), depth)?;
        let step = child.measure(code::native_step(), TOUCHED)?;
        // The first page of each table takes one more step; there are few of them.
        let touched = child.run(code::native_touch(), TOUCHED, |_, _| Err(Status::Disconnected))?;
        printer.print(name, touched, step);
    }
    measure_copies(printer, &memory)
}

/// Measures writes to pages of `memory` that are copied then. They were read before, as those of a process that forks.
fn measure_copies(printer: &mut Printer, memory: &Memory) -> Result<()> {
    let size = memory.size();
    let shadow = Memory::allocate(size).ok_or(Status::NoMemory)?;
    let regions = [Region::new(memory, 0, size, Rights::READ)?, Region::new(&shadow, 0, size, Rights::all())?];
    let mut child = Child::new()?;
    let both = [&regions[0], &regions[1]];
    let _mapping = Mapping::copy_on_write(both, 0, child.space(), TOUCHED, size, Rights::all())?;
    let step = child.measure(code::native_step(), TOUCHED)?;
    let refuse = |_: &Space, _| Err(Status::Disconnected);
    child.run(code::native_touch(), TOUCHED, refuse)?;
    let copied = child.run(code::native_write(), TOUCHED, refuse)?;
    printer.print("fault.copy", copied, step);
    Ok(())
}
