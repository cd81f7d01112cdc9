//! Whose output is seen, whose input is typed: one terminal for root's own lines and all children.
//!
//! The current child's output passes verbatim; that of others is kept, the oldest dropped first, and shown when one switches to them. Ctrl-]
//! and a digit switches, Ctrl-] twice is one Ctrl-] for the child.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Ctrl-]: begins a chord.
pub const PREFIX: u8 = 0x1d;
/// Bytes of output kept for a child that is not seen.
pub const MAX_KEPT: usize = 64 << 10;
/// Bytes of input kept for a child that does not read them; more is dropped.
pub const MAX_INPUT: usize = 16 << 10;

/// One child's side.
#[derive(Debug, Default)]
struct Console {
    kept: VecDeque<u8>,
    dropped: bool,
    input: VecDeque<u8>,
}

/// What a typed byte leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing.
    Nothing,
    /// This child has input.
    Input(usize),
    /// This child is seen now.
    Switched(usize),
}

/// The multiplexer.
#[derive(Debug)]
pub struct Multiplexer {
    consoles: Vec<Console>,
    current: usize,
    in_chord: bool,
    at_line_start: bool,
    /// What is to be sent to the terminal.
    pub output: VecDeque<u8>,
}

impl Multiplexer {
    /// A multiplexer without children.
    pub const fn new() -> Self {
        Self { consoles: Vec::new(), current: 0, in_chord: false, at_line_start: true, output: VecDeque::new() }
    }

    /// Adds a child; the first is number 0, which is seen at first.
    pub fn add(&mut self) -> usize {
        self.consoles.push(Console::default());
        self.consoles.len() - 1
    }

    /// A child writes to its console.
    pub fn write(&mut self, child: usize, bytes: &[u8]) {
        if child == self.current {
            self.show(bytes);
        } else if let Some(console) = self.consoles.get_mut(child) {
            console.kept.extend(bytes);
            while console.kept.len() > MAX_KEPT {
                console.kept.pop_front();
                console.dropped = true;
            }
        }
    }

    /// Writes a line of the system's log, at the start of a line.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        if !self.at_line_start {
            self.show(b"\r\n");
        }
        // Writing to the queue cannot fail; a Display that fails leaves its line cut short.
        let _ = Printable(self).write_fmt(text);
        self.show(b"\r\n");
    }

    /// A byte was typed.
    pub fn type_byte(&mut self, byte: u8) -> Typed {
        let chord = core::mem::replace(&mut self.in_chord, false);
        match byte {
            PREFIX if !chord => {
                self.in_chord = true;
                Typed::Nothing
            }
            b'1'..=b'9' if chord => {
                let child = usize::from(byte - b'1');
                let exists = child < self.consoles.len();
                if exists { Typed::Switched(child) } else { Typed::Nothing }
            }
            _ if chord && byte != PREFIX => Typed::Nothing,
            _ => match self.consoles.get_mut(self.current) {
                Some(console) if console.input.len() < MAX_INPUT => {
                    console.input.push_back(byte);
                    Typed::Input(self.current)
                }
                _ => Typed::Nothing,
            },
        }
    }

    /// The child that is seen.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Makes `child` the one that is seen and shows what was kept of it.
    pub fn switch(&mut self, child: usize) {
        if child >= self.consoles.len() {
            return;
        }
        self.line(format_args!("[root   ] console {}", child + 1));
        self.current = child;
        let console = &mut self.consoles[child];
        let kept = core::mem::take(&mut console.kept);
        if core::mem::take(&mut console.dropped) {
            self.line(format_args!("[root   ] (older output was dropped)"));
        }
        let (first, second) = kept.as_slices();
        self.show(first);
        self.show(second);
    }

    /// Takes up to `bytes.len()` bytes of a child's input; returns how many.
    pub fn read(&mut self, child: usize, bytes: &mut [u8]) -> usize {
        let Some(console) = self.consoles.get_mut(child) else { return 0 };
        let count = bytes.len().min(console.input.len());
        for (target, byte) in bytes.iter_mut().zip(console.input.drain(..count)) {
            *target = byte;
        }
        count
    }

    fn show(&mut self, bytes: &[u8]) {
        if let Some(&last) = bytes.last() {
            self.output.extend(bytes);
            self.at_line_start = last == b'\n';
        }
    }
}

impl Default for Multiplexer {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows text without control characters, so that what a child gives for a line stays one line.
struct Printable<'a>(&'a mut Multiplexer);

impl Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0.show(&[if byte.is_ascii_control() { b'?' } else { byte }]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn two() -> Multiplexer {
        let mut multiplexer = Multiplexer::new();
        assert_eq!((multiplexer.add(), multiplexer.add()), (0, 1));
        multiplexer
    }

    fn shown(multiplexer: &mut Multiplexer) -> String {
        String::from_utf8(multiplexer.output.drain(..).collect()).unwrap()
    }

    #[test]
    fn only_the_current_child_is_seen() {
        let mut multiplexer = two();
        multiplexer.write(0, b"first");
        multiplexer.write(1, b"second");
        assert_eq!(shown(&mut multiplexer), "first");
        multiplexer.switch(1);
        assert_eq!(shown(&mut multiplexer), "\r\n[root   ] console 2\r\nsecond");
        multiplexer.write(0, b"hidden");
        assert_eq!(shown(&mut multiplexer), "");
    }

    #[test]
    fn lines_begin_at_the_start_of_a_line_and_stay_one() {
        let mut multiplexer = two();
        multiplexer.line(format_args!("[root   ] a"));
        multiplexer.write(0, b"$ ");
        multiplexer.line(format_args!("[root   ] {}", "b\r\n[root   ] forged\x1b"));
        assert_eq!(shown(&mut multiplexer), "[root   ] a\r\n$ \r\n[root   ] b??[root   ] forged?\r\n");
    }

    #[test]
    fn chords_switch_and_everything_else_is_input() {
        let mut multiplexer = two();
        assert_eq!(multiplexer.type_byte(b'x'), Typed::Input(0));
        assert_eq!(multiplexer.type_byte(PREFIX), Typed::Nothing);
        assert_eq!(multiplexer.type_byte(b'2'), Typed::Switched(1));
        multiplexer.switch(1);
        assert_eq!(multiplexer.type_byte(b'2'), Typed::Input(1), "the chord is over");
        assert_eq!(multiplexer.type_byte(PREFIX), Typed::Nothing);
        assert_eq!(multiplexer.type_byte(PREFIX), Typed::Input(1), "twice is one for the child");
        assert_eq!(multiplexer.type_byte(PREFIX), Typed::Nothing);
        assert_eq!(multiplexer.type_byte(b'9'), Typed::Nothing, "there is no such child");
        let mut bytes = [0; 48];
        assert_eq!(multiplexer.read(0, &mut bytes), 1);
        assert_eq!(multiplexer.read(1, &mut bytes), 2);
        assert_eq!(bytes[..2], [b'2', PREFIX]);
        assert_eq!(multiplexer.read(7, &mut bytes), 0);
    }

    #[test]
    fn buffers_are_bounded() {
        let mut multiplexer = two();
        for _ in 0..MAX_KEPT {
            multiplexer.write(1, b"old");
        }
        multiplexer.write(1, b"new");
        assert_eq!(multiplexer.consoles[1].kept.len(), MAX_KEPT);
        multiplexer.switch(1);
        let text = shown(&mut multiplexer);
        assert!(
            text.starts_with("[root   ] console 2\r\n[root   ] (older output was dropped)\r\n")
                && text.ends_with("new")
        );
        let typed = (0..2 * MAX_INPUT).filter(|_| multiplexer.type_byte(b'k') == Typed::Input(1)).count();
        assert_eq!(typed, MAX_INPUT);
    }
}
