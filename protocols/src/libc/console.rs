//! The program's console at its parent: protocol [`parent`](crate::parent).

use core::fmt;

use super::system_call::{self, Message, Result};
use crate::parent::{CONSOLE_PORT, MAX_BYTES, Operation, Outcome, Reply};

/// Packs up to [`MAX_BYTES`] bytes, and their number, into words 1 to 7 of a message.
pub fn pack(first: u64, bytes: &[u8]) -> Message {
    let mut message = [0; 8];
    let count = bytes.len().min(MAX_BYTES);
    message[0] = first;
    message[1] = count as u64;
    for (word, chunk) in message[2..].iter_mut().zip(bytes[..count].chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(padded);
    }
    message
}

/// The bytes in words 1 to 7 of a message and their number, `None` if the number is too large.
pub fn unpack(message: &Message) -> Option<([u8; MAX_BYTES], usize)> {
    let count = usize::try_from(message[1]).ok().filter(|&count| count <= MAX_BYTES)?;
    let mut bytes = [0; MAX_BYTES];
    for (chunk, word) in bytes.chunks_mut(8).zip(&message[2..]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    Some((bytes, count))
}

/// Text on its way to the parent: collects bytes so that a message is full.
#[derive(Debug)]
pub struct Writer {
    parent: u64,
    operation: Operation,
    bytes: [u8; MAX_BYTES],
    count: usize,
}

impl Writer {
    /// A writer that sends `operation` (`ConsoleWrite` or `Log`) to the Port of Reference `parent`
    /// ([`Startup::parent`](crate::startup::Startup::parent)). Where that is 0, text is dropped.
    pub const fn new(parent: u64, operation: Operation) -> Self {
        Self { parent, operation, bytes: [0; MAX_BYTES], count: 0 }
    }

    /// Appends bytes; sends each full message.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = bytes.len().min(MAX_BYTES - self.count);
            self.bytes[self.count..self.count + taken].copy_from_slice(&bytes[..taken]);
            self.count += taken;
            bytes = &bytes[taken..];
            if self.count == MAX_BYTES {
                self.flush();
            }
        }
    }

    /// Sends what has been collected.
    pub fn flush(&mut self) {
        if self.count > 0 && self.parent != 0 {
            let mut message = pack(self.operation as u64, &self.bytes[..self.count]);
            // A parent that is gone takes the program with it: there is nobody to tell.
            let _ = system_call::ipc_call(self.parent, &mut message);
        }
        self.count = 0;
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// The program's console.
#[derive(Debug)]
pub struct Console {
    writer: Writer,
}

impl Console {
    /// The console that the parent of Reference `parent` keeps for the program.
    pub const fn new(parent: u64) -> Self {
        Self { writer: Writer::new(parent, Operation::ConsoleWrite) }
    }

    /// Writes bytes; they go out when 48 have come together or at [`flush`](Self::flush).
    pub fn write(&mut self, bytes: &[u8]) {
        self.writer.write(bytes);
    }

    /// Sends what has been written.
    pub fn flush(&mut self) {
        self.writer.flush();
    }

    /// Whether there is nothing to [`flush`](Self::flush).
    pub fn is_flushed(&self) -> bool {
        self.writer.count == 0
    }

    /// Takes input: fills `bytes` and returns how many there were. Never waits.
    pub fn read(&mut self, bytes: &mut [u8; MAX_BYTES]) -> usize {
        let mut message = [Operation::ConsoleRead as u64, 0, 0, 0, 0, 0, 0, 0];
        if system_call::ipc_call(self.writer.parent, &mut message).is_err() || message[0] != Reply::Ok as u64 {
            return 0;
        }
        let Some((input, count)) = unpack(&message) else { return 0 };
        *bytes = input;
        count
    }

    /// Has the parent tell about input: each time there is some,
    /// [`CONSOLE_INPUT`](crate::parent::CONSOLE_INPUT) arrives at Portset `portset` as a notification with alias `alias`.
    ///
    /// Uses the Port that the parent made at [`CONSOLE_PORT`]; only its Portset and alias are the child's to choose.
    pub fn attach(&mut self, portset: &crate::libnest::Portset, alias: u64) -> Result<()> {
        system_call::port_set_state(CONSOLE_PORT, alias, portset.reference().address())?;
        let mut message = [Operation::ConsoleAttach as u64, 0, 0, 0, 0, 0, 0, 0];
        system_call::ipc_call(self.writer.parent, &mut message)
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.writer.write_str(text)
    }
}

/// Tells the parent that the program has ended. The reply does not come; if the parent is gone, there is nothing left
/// to do.
pub fn end(parent: u64, outcome: Outcome) {
    let mut message = [Operation::End as u64, outcome as u64, 0, 0, 0, 0, 0, 0];
    let _ = system_call::ipc_call(parent, &mut message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_a_message() {
        for length in 0..=MAX_BYTES {
            let bytes: [u8; MAX_BYTES] = core::array::from_fn(|index| index as u8 + 1);
            let message = pack(5, &bytes[..length]);
            let (unpacked, count) = unpack(&message).unwrap();
            assert_eq!((message[0], &unpacked[..count]), (5, &bytes[..length]));
        }
    }

    #[test]
    fn a_number_of_bytes_beyond_the_message_is_refused() {
        assert!(unpack(&[1, 49, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(unpack(&[1, u64::MAX, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
