//! The monitor's console: the first serial port (16550, 115200 8N1, polled) and the screen.
//!
//! Everything written goes to both, so that a message reaches whoever looks. There is one physical CPU and no
//! preemption in the monitor, but an exception handler may print while code it interrupted was printing: the screen
//! is then skipped, the serial port has no state.

use core::fmt::{self, Write};

use spin::Mutex;

use crate::port::Port;
use crate::register;
use crate::screen::Screen;

static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);
static STARTED: spin::Once<u64> = spin::Once::new();

/// Prepares the serial port (16550: divisor 1, 8N1, FIFO on, DTR, RTS and OUT2).
pub fn start(started: u64) {
    STARTED.call_once(|| started);
    for (index, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 0x0b)] {
        Port::serial(index).write(value);
    }
}

/// From now on, lines appear on `screen` too.
pub fn use_screen(screen: Screen) {
    *SCREEN.lock() = Some(screen);
}

/// The screen belongs to the kernel from now on.
pub fn release_screen() {
    *SCREEN.lock() = None;
}

/// Writes raw bytes to the serial port; a line feed becomes CR LF.
pub fn write(bytes: &[u8]) {
    let mut screen = SCREEN.try_lock();
    for &byte in bytes {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
        if let Some(Some(screen)) = screen.as_deref_mut() {
            screen.put(byte);
        }
    }
}

/// Waits at most so many polls for the transmitter: a machine without the port must still boot.
const POLLS: u32 = 100_000;

fn wait(line_status: u8) {
    for _ in 0..POLLS {
        if Port::serial(5).read() & line_status != 0 {
            break;
        }
    }
}

fn send(byte: u8) {
    wait(0x20);
    Port::serial(0).write(byte);
}

/// Waits until the last byte has left the port (line status bit 6, transmitter empty): an emulator that is powered off
/// drops what is still in the FIFO.
pub fn drain() {
    wait(0x40);
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Writes one line.
pub fn line(text: fmt::Arguments) {
    // Writing to the console cannot fail.
    let _ = writeln!(Console, "{text}");
}

/// A line of the boot log: what was found or done, aligned, and when (thousands of time stamp ticks since entry).
pub fn report(what: &str, value: fmt::Arguments) {
    let ticks = register::time_stamp().wrapping_sub(STARTED.get().copied().unwrap_or(0)) / 1000;
    let mut text = heapless::String::<160>::new();
    // A value too long for the line is cut.
    let _ = write!(text, "{value}");
    line(format_args!("[monitor] {what:.<18} {text:<60} {ticks:>9} kt"));
}
