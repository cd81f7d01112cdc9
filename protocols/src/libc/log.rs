//! The [`log`] crate's macros, to the parent's system log (or, in the root nester, to the serial port).

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use log::{LevelFilter, Metadata, Record};
use spin::Mutex;

use super::console::Writer;
use crate::parent::Operation;

/// Where lines go that have no parent to go to.
pub type Sink = fn(fmt::Arguments<'_>);

static PARENT: AtomicU64 = AtomicU64::new(0);
static SINK: Mutex<Option<Sink>> = Mutex::new(None);
static LOGGER: Logger = Logger;

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match record.level() {
            log::Level::Error => line(format_args!("error: {}", record.args())),
            log::Level::Warn => line(format_args!("warning: {}", record.args())),
            _ => line(*record.args()),
        }
    }

    fn flush(&self) {}
}

/// Sends the program's log to the Port of Reference `parent`. Called at start-up.
pub(super) fn initialize(parent: u64) {
    PARENT.store(parent, Ordering::Relaxed);
    // It is only ever set here; a second attempt would set the same logger.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Info);
}

/// Sends the log to `sink` from now on: for the root nester, which has no parent.
pub fn set_sink(sink: Sink) {
    *SINK.lock() = Some(sink);
}

/// Writes one line to the log.
pub fn line(text: fmt::Arguments<'_>) {
    let sink = *SINK.lock();
    if let Some(sink) = sink {
        return sink(text);
    }
    let mut writer = Writer::new(PARENT.load(Ordering::Relaxed), Operation::Log);
    // A Display that fails leaves its line cut short; there is nobody to tell.
    let _ = writeln!(writer, "{text}");
    writer.flush();
}
