//! Tests of the log of pages that a virtual CPU writes.

use protocols::address::PAGE_SIZE;
use protocols::machine::{Call, Status};
use protocols::virtual_cpu::{Event, exit_reason as reason, register};

use crate::bare::{Outcome, Test};
use crate::code;
use crate::guest::{Guest, MEMORY};
use crate::monitor::{ask, bytes, frame, memory, refused, write};
use crate::tests::check;

/// Every test.
pub const ALL: &[Test] = &[
    ("written_pages_are_logged", logged),
    ("a_full_log_ends_the_run", full),
    ("a_full_log_keeps_an_event", full_at_an_event),
    ("frames_of_logs", frames),
];

/// Rights, and small pages.
const SMALL: u16 = 15;
/// Where guests write.
const PLACE: u64 = 0x2_0000;
const STACK: u64 = 0xf000;

struct Logged {
    guest: Guest,
    log: u64,
}

impl Logged {
    /// A guest with 4 MiB in small pages, whose log begins.
    fn new() -> Result<Self, &'static str> {
        let mut guest = Guest::new(code::sweep())?;
        let (log, more) = (frame(), memory(MEMORY, MEMORY));
        ask(Call::LogWrites, [guest.cpu, log, 0, 0]).map_err(|_| "LogWrites")?;
        guest.map(0, guest.memory, MEMORY, SMALL).map_err(|_| "UpdateEpt")?;
        guest.map(MEMORY, more, MEMORY, SMALL).map_err(|_| "UpdateEpt")?;
        Ok(Self { guest, log })
    }

    /// Writes to `count` pages from [`PLACE`] on. Returns the reason of the exit.
    fn sweep(&mut self, count: u64) -> Result<u32, &'static str> {
        self.guest.long_mode();
        let gpr = &mut self.guest.state.gpr;
        (gpr[register::RBX], gpr[register::RCX], gpr[register::RDX]) = (PLACE, count, PAGE_SIZE);
        self.guest.run()
    }

    /// Calls `meet` for each address in the log, the newest first, and begins it anew. Returns how many there were.
    fn take(&mut self, mut meet: impl FnMut(u64)) -> Result<u64, &'static str> {
        let count = ask(Call::LogWrites, [self.guest.cpu, 0, 0, 0]).map_err(|_| "LogWrites")?;
        check!(count <= 512, "more than a log holds");
        for entry in bytes(self.log, 4096).chunks_exact(8).skip(512 - count as usize) {
            meet(u64::from_le_bytes(entry.try_into().unwrap_or_default()));
        }
        Ok(count)
    }

    /// How many pages from [`PLACE`] to the end of memory are in the log; each must be there once at most.
    fn data(&mut self) -> Result<u64, &'static str> {
        let (mut seen, mut count, mut twice) = ([false; 1024], 0, false);
        self.take(|address| {
            let seen = &mut seen[(address / PAGE_SIZE) as usize % 1024];
            twice |= core::mem::replace(seen, true);
            count += u64::from(address >= PLACE);
        })?;
        check!(!twice, "a page is logged twice");
        Ok(count)
    }
}

fn logged() -> Outcome {
    let mut logged = Logged::new()?;
    check!(logged.sweep(3)? == reason::HLT, "an unexpected exit");
    let mut found = [false; 3];
    logged.take(|address| {
        if let Some(found) = found.get_mut((address.wrapping_sub(PLACE) / PAGE_SIZE) as usize) {
            *found = true;
        }
    })?;
    check!(found == [true; 3], "a page is missing");
    check!(logged.sweep(3)? == reason::HLT && logged.take(|_| {})? == 0, "what was logged is logged again");
    check!(logged.sweep(5)? == reason::HLT && logged.data()? == 2, "not the pages that are new");
    // An entry that is applied again has not been written through yet.
    let page = PLACE + PAGE_SIZE;
    check!(logged.guest.map(page, logged.guest.memory + page, 2 * PAGE_SIZE, SMALL).is_ok(), "UpdateEpt");
    check!(logged.sweep(5)? == reason::HLT && logged.data()? == 2, "not the pages that were applied again");
    // A large page is logged as one.
    check!(logged.guest.map(0, logged.guest.memory, MEMORY, 7).is_ok(), "UpdateEpt");
    check!(logged.sweep(5)? == reason::HLT && logged.take(|_| {})? == 1, "a large page has more than one flag");
    Ok(())
}

fn full() -> Outcome {
    const PAGES: u64 = 900;
    let mut logged = Logged::new()?;
    let mut why = logged.sweep(PAGES)?;
    let (mut count, mut rounds) = (0, 0);
    while why == reason::LOG_FULL {
        rounds += 1;
        check!(rounds < 5, "the log is full again and again");
        // Until it was looked at, nothing is written.
        let rest = logged.guest.state.gpr[register::RCX];
        check!(logged.guest.run()? == reason::LOG_FULL, "the guest goes on with a full log");
        check!(logged.guest.state.gpr[register::RCX] == rest, "a page was written and not logged");
        count += logged.data()?;
        why = logged.guest.run()?;
    }
    check!(why == reason::HLT && rounds == 1, "an unexpected exit");
    check!(count + logged.data()? == PAGES, "not all pages are logged");
    Ok(())
}

fn full_at_an_event() -> Outcome {
    let mut logged = Logged::new()?;
    check!(logged.sweep(900)? == reason::LOG_FULL, "the log is not full");
    logged.guest.state.event = Event::exception(13, Some(8));
    let stack = (STACK - 1) / PAGE_SIZE * PAGE_SIZE;
    check!(logged.guest.map(stack, logged.guest.memory + stack, PAGE_SIZE, SMALL).is_ok(), "UpdateEpt");
    check!(logged.guest.run()? == reason::LOG_FULL, "no exit");
    check!(logged.guest.state.event == Event::exception(13, Some(8)), "the event is lost");
    logged.data()?;
    check!(logged.guest.run()? == reason::IO && logged.guest.state.gpr[0] & 0xff == 13, "not delivered again");
    let mut pushed = false;
    // Bochs 2.7 leaves the offset in the page in it.
    logged.take(|address| pushed |= address / PAGE_SIZE == stack / PAGE_SIZE)?;
    check!(pushed, "the stack is not logged");
    Ok(())
}

fn frames() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    for (frame, status) in [
        (guest.donated, Status::FrameInUse),
        (guest.memory, Status::FrameInUse),
        (guest.state_frame, Status::FrameInUse),
        (0x10_0000, Status::BadAddress),
        (guest.list + 8, Status::BadAddress),
        (u64::MAX, Status::BadAddress),
    ] {
        check!(refused(ask(Call::LogWrites, [guest.cpu, frame, 0, 0]), status), "a log where there can be none");
    }
    let log = frame();
    for id in [0, guest.machine, u64::MAX] {
        check!(refused(ask(Call::LogWrites, [id, log, 0, 0]), Status::NoObject), "a log of nobody");
    }
    check!(ask(Call::LogWrites, [guest.cpu, log, 0, 0]) == Ok(0), "a good frame was refused");
    check!(refused(guest.map(0x40_0000, log, PAGE_SIZE, 7), Status::FrameInUse), "a log was mapped");
    write(guest.list, &[log]);
    let donate = [guest.machine, 1, guest.list, 0];
    check!(refused(ask(Call::Donate, donate), Status::FrameInUse), "a log was donated");
    check!(guest.run()? == reason::HLT, "it does not run");
    check!(ask(Call::DestroyVirtualCpu, [guest.cpu, 0, 0, 0]).is_ok(), "DestroyVirtualCpu");
    check!(ask(Call::Donate, donate).is_ok(), "the log did not come back");
    Ok(())
}
