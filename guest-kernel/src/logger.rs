//! The kernel's log: lines on the monitor's console.

use crate::arch::{monitor, physical};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::address::HostPhysical;

/// The frame that lines are put together in, 0 before there is one.
static LINE: AtomicU64 = AtomicU64::new(0);
static LOCK: spin::Mutex<()> = spin::Mutex::new(());
const ROOM: usize = 512;

struct Logger;

struct Line {
    bytes: [u8; ROOM],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = ROOM - 1 - self.length;
        let taken = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
        Ok(())
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let frame = HostPhysical::new(LINE.load(Ordering::Relaxed));
        let mut line = Line { bytes: [0; ROOM], length: 0 };
        let _ = write!(line, "[kernel ] {}", record.args());
        line.bytes[line.length] = b'\n';
        line.length += 1;
        // An NMI may have interrupted another line: that line matters more.
        let Some(_guard) = LOCK.try_lock() else { return };
        if frame.get() != 0 && physical::write(frame, &line.bytes[..line.length]) {
            monitor::write_console(frame, line.length);
        }
    }

    fn flush(&self) {}
}

/// Starts the log, with a frame to put lines together in.
pub fn start(frame: HostPhysical) {
    LINE.store(frame.get(), Ordering::Relaxed);
    // The logger is set once; a second attempt changes nothing.
    let _ = log::set_logger(&Logger);
    log::set_max_level(log::LevelFilter::Info);
}
