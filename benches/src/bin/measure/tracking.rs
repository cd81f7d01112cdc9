//! Measurements of tracked memory: what a write to a page costs after every page was reported, and what reporting it costs.

use crate::code;
use crate::machine::Guest;
use crate::native::Child;
use crate::program::{Cost, ITERATIONS, Printer};
use protocols::address::PAGE_SIZE;
use protocols::libc::time::{now, transitions};
use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Status};

/// Where the pages begin.
const PLACE: u64 = 0x80_0000;

/// Takes a report, in which there must be every page.
fn report(region: &Region) -> Result<Cost> {
    let (start, before, mut size) = (now(), transitions(), 0);
    region.take_dirty(0, region.size(), |range| size += range.size)?;
    let cost = Cost { ticks: now() - start, transitions: transitions() - before };
    if size == region.size() { Ok(cost) } else { Err(Status::NotFound) }
}

/// Measures a native child and a machine.
pub fn measure(printer: &mut Printer) -> Result<()> {
    let rights = Rights::READ | Rights::WRITE;
    let memory = Memory::allocate(ITERATIONS * PAGE_SIZE).ok_or(Status::NoMemory)?;
    let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
    region.track(true)?;

    let mut child = Child::new()?;
    let mapping = Mapping::new(&region, 0, child.space(), PLACE, region.size(), rights)?;
    let step = child.measure(code::native_step(), PLACE)?;
    let refuse = || Err(Status::Disconnected);
    child.run(code::native_write(), PLACE, |_, _| refuse())?;
    report(&region)?;
    printer.print("tracked.write.native", child.run(code::native_write(), PLACE, |_, _| refuse())?, step);
    printer.print("tracked.report.native", report(&region)?, Cost { ticks: 0, transitions: 0 });
    drop(mapping);

    let mut guest = Guest::new()?;
    let _mapping = Mapping::new(&region, 0, guest.space(), PLACE, region.size(), rights)?;
    let step = guest.measure(code::machine_step(), PLACE)?;
    guest.run(code::machine_dirty(), PLACE, |_, _| refuse())?;
    report(&region)?;
    printer.print("tracked.write.machine", guest.run(code::machine_dirty(), PLACE, |_, _| refuse())?, step);
    printer.print("tracked.report.machine", report(&region)?, Cost { ticks: 0, transitions: 0 });
    Ok(())
}
