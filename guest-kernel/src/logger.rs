//! The kernel's log: lines on the monitor's console.
//!
//! Programs can cause warnings (threads that misbehave), and writing a line takes as long as the console does, during
//! which nothing else runs. So warnings are limited in number: no program can take the CPU from others by them.

use crate::arch::{cpu, monitor, physical};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::address::HostPhysical;

/// The frame that lines are put together in, 0 before there is one.
static LINE: AtomicU64 = AtomicU64::new(0);
static LOCK: spin::Mutex<()> = spin::Mutex::new(());
const ROOM: usize = 512;

/// Ticks of the time stamp counter that each warning uses up of what has accumulated: some milliseconds.
const TICKS_PER_WARNING: u64 = 1 << 26;
/// Warnings that can follow each other at once.
const BURST: u64 = 16;
/// Until when the warnings so far have used time up.
static USED: AtomicU64 = AtomicU64::new(0);
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

struct Logger;

/// Whether there may be a warning at `now`, warnings so far having used time up until `used`: the new such time.
fn admit(used: u64, now: u64) -> Option<u64> {
    let used = used.max(now) + TICKS_PER_WARNING;
    (used <= now + BURST * TICKS_PER_WARNING).then_some(used)
}

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
        if record.level() == log::Level::Warn {
            match admit(USED.load(Ordering::Relaxed), cpu::time()) {
                Some(used) => USED.store(used, Ordering::Relaxed),
                None => {
                    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
        let frame = HostPhysical::new(LINE.load(Ordering::Relaxed));
        let mut line = Line { bytes: [0; ROOM], length: 0 };
        let _ = write!(line, "[kernel ] {}", record.args());
        let suppressed = SUPPRESSED.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            let _ = write!(line, " ({suppressed} other warnings suppressed)");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_limited_to_a_burst_and_then_a_rate() {
        let (mut used, now) = (0, 1 << 40);
        let mut admitted = 0;
        while let Some(next) = admit(used, now) {
            used = next;
            admitted += 1;
        }
        assert_eq!(admitted, BURST);
        assert_eq!(admit(used, now + TICKS_PER_WARNING - 1), None);
        assert!(admit(used, now + TICKS_PER_WARNING).is_some());
    }
}
