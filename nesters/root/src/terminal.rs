//! The one place where text goes: the multiplexer in front of the serial port.

use core::fmt;

use spin::{Mutex, MutexGuard};

use crate::multiplexer::{Multiplexer, Typed};
use crate::serial::{Com1, Serial};

/// Output that may wait for the serial port. Whoever writes more waits for the port.
const MAX_WAITING: usize = 16 << 10;

/// Prints a line of root's own.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::terminal::line("root", format_args!($($text)*))
    };
}
pub(crate) use say;

/// The terminal.
#[derive(Debug)]
pub struct Terminal {
    multiplexer: Multiplexer,
    serial: Serial<Com1>,
}

static TERMINAL: Mutex<Terminal> = Mutex::new(Terminal { multiplexer: Multiplexer::new(), serial: Serial::new(Com1) });

/// The terminal, locked: root has one thread, so that the lock is always free but in a panic while it is held.
pub fn terminal() -> MutexGuard<'static, Terminal> {
    TERMINAL.lock()
}

/// Prints a line of `layer`.
pub fn line(layer: &str, text: fmt::Arguments<'_>) {
    terminal().change(|multiplexer| multiplexer.line(format_args!("[{layer:<7}] {text}")));
}

/// Prints a line of root's log: what the `log` macros and the panic handler write.
pub fn log_line(text: fmt::Arguments<'_>) {
    if let Some(mut terminal) = TERMINAL.try_lock() {
        terminal.change(|multiplexer| multiplexer.line(format_args!("[root   ] {text}")));
        terminal.drain();
    }
}

impl Terminal {
    /// Sets the serial port up.
    pub fn start(&mut self) {
        self.serial.start();
    }

    /// Changes what is shown, and sends what can be sent.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Multiplexer) -> T) -> T {
        let result = change(&mut self.multiplexer);
        self.serial.send(&mut self.multiplexer.output);
        self.serial.send_until(&mut self.multiplexer.output, MAX_WAITING);
        result
    }

    /// Whether more waits for the serial port than log lines should add to.
    pub fn is_busy(&self) -> bool {
        self.multiplexer.output.len() > MAX_WAITING / 2
    }

    /// Handles an interrupt of the serial port; `input` learns of children that have input now.
    pub fn interrupt(&mut self, mut input: impl FnMut(usize)) {
        while let Some(byte) = self.serial.receive() {
            match self.multiplexer.type_byte(byte) {
                Typed::Nothing => {}
                Typed::Input(child) => input(child),
                Typed::Switched(child) => self.multiplexer.switch(child),
            }
        }
        self.serial.send(&mut self.multiplexer.output);
    }

    /// Waits until everything has been sent.
    pub fn drain(&mut self) {
        self.serial.send_until(&mut self.multiplexer.output, 0);
        self.serial.drain();
    }
}
