//! The children, from start to end.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::exception::{MISUSE, NativeException};
use protocols::libc::console::{pack, unpack};
use protocols::libc::start;
use protocols::libnest::child::{BuildError, Description};
use protocols::libnest::{Device, Memory, Message, NativeChild, Port, Server};
use protocols::parent::{CONSOLE_INPUT, MAX_BYTES, Operation, Outcome, Reply};
use protocols::startup::Startup;
use zerocopy::try_transmute;

use crate::system::Start;
use crate::terminal::{line, say, terminal};

/// Bytes of a log line that are kept until its end comes.
const MAX_LINE: usize = 240;
/// Frames of kernel memory that each child may use, and one more for each so many frames of its memory: objects, and the tables
/// that map its memory even where that is scattered.
const ALLOWANCE: u64 = 384;
const FRAMES_PER_ALLOWANCE: u64 = 64;

/// A child and what root knows about it.
#[derive(Debug)]
struct Child {
    name: String,
    /// The process and the Port that it calls, while it runs.
    process: Option<(NativeChild, Port)>,
    console: usize,
    wants_input: bool,
    line: String,
    /// Lines of its log that were dropped because it wrote faster than the serial port sends.
    dropped: u64,
    failure: Option<String>,
}

/// All children. A child's index is the alias of its Port.
#[derive(Debug)]
pub struct Children {
    startup: &'static Startup,
    unix_time: (u64, u64),
    children: Vec<Child>,
}

impl Children {
    /// No children; `unix_time` is what they are told at their start.
    pub fn new(startup: &'static Startup, unix_time: (u64, u64)) -> Self {
        Self { startup, unix_time, children: Vec::new() }
    }

    /// Starts a child, or prints why it cannot be started.
    pub fn start(&mut self, server: &Server, start: &Start<'_>) {
        let console = terminal().change(|multiplexer| multiplexer.add());
        let result = self.build(server, start);
        let mib = start.memory >> 20;
        let failure = match &result {
            Ok(_) => None,
            Err(reason) => {
                say!("{}: not started: {reason}", start.name);
                Some(format!("{}: {reason}", start.name))
            }
        };
        if failure.is_none() {
            say!(
                "{} {:.<width$} {mib} MiB, {}",
                start.name,
                "",
                start.program,
                width = 16usize.saturating_sub(start.name.len())
            );
        }
        let child = Child {
            name: start.name.into(),
            process: result.ok(),
            console,
            wants_input: false,
            line: String::new(),
            dropped: 0,
            failure,
        };
        self.children.push(child);
        let index = self.children.len() - 1;
        if let Some(Err(status)) = self.children[index].process.as_ref().map(|(process, _)| process.start()) {
            self.end(index as u64, Some(format!("the kernel answered {status:?}")));
        }
    }

    fn build(&self, server: &Server, start: &Start<'_>) -> Result<(NativeChild, Port), String> {
        let module = |kind: &str, name: &str| {
            start::file(self.startup, &format!("{kind} {name}"))
                .ok_or_else(|| format!("there is no boot module `{kind} {name}`"))
        };
        let elf = module("program", start.program)?;
        let mut files = Vec::new();
        for &name in &start.files {
            files.push((name, module("file", name)?));
        }
        let devices = if start.devices { self.startup.devices() } else { &[] };
        let refused = |status| format!("{}", BuildError::Kernel(status));
        let devices = devices.iter().map(Device::new).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let memory = Memory::allocate(start.memory)
            .ok_or_else(|| format!("there are no {} MiB of contiguous memory left", start.memory >> 20))?;
        let port = server.port(self.children.len() as u64).map_err(refused)?;
        let description = Description {
            elf,
            quotas: start.quotas(start.kernel_memory.map_or_else(
                || ALLOWANCE + memory.size() / PAGE_SIZE / FRAMES_PER_ALLOWANCE,
                |bytes| bytes.div_ceil(PAGE_SIZE),
            )),
            memory,
            parent: &port,
            files: &files,
            devices: &devices,
            arguments: start.arguments,
            tsc_frequency: self.startup.tsc_frequency,
            unix_time: self.unix_time,
        };
        let process = NativeChild::build(description).map_err(|error| format!("{error}"))?;
        Ok((process, port))
    }

    /// Whether a child runs.
    pub fn any_running(&self) -> bool {
        self.children.iter().any(|child| child.process.is_some())
    }

    /// Why the system failed: the first failure of a child.
    pub fn failure(&self) -> Option<String> {
        self.children.iter().find_map(|child| child.failure.clone())
    }

    /// A child calls.
    pub fn call(&mut self, alias: u64, words: &Message) -> Message {
        let bad = [Reply::BadRequest as u64, 0, 0, 0, 0, 0, 0, 0];
        let done = [Reply::Ok as u64, 0, 0, 0, 0, 0, 0, 0];
        let Some(child) = usize::try_from(alias).ok().and_then(|index| self.children.get_mut(index)) else {
            return bad;
        };
        let Ok(operation) = try_transmute!(words[0]) else { return bad };
        match operation {
            Operation::ConsoleWrite => {
                let Some((bytes, count)) = unpack(words) else { return bad };
                terminal().change(|multiplexer| multiplexer.write(child.console, &bytes[..count]));
                done
            }
            Operation::ConsoleRead => {
                let mut bytes = [0; MAX_BYTES];
                let count = terminal().change(|multiplexer| multiplexer.read(child.console, &mut bytes));
                pack(Reply::Ok as u64, &bytes[..count])
            }
            Operation::ConsoleAttach => {
                child.wants_input = true;
                done
            }
            Operation::Log => {
                let Some((bytes, count)) = unpack(words) else { return bad };
                child.log(&bytes[..count]);
                done
            }
            Operation::End => {
                let Ok(outcome) = try_transmute!(words[1]) else { return bad };
                let failure = match outcome {
                    Outcome::Done => None,
                    Outcome::Failed => Some("failed".into()),
                };
                self.end(alias, failure);
                done
            }
        }
    }

    /// There is input for the child with this console.
    pub fn input_arrived(&self, console: usize) {
        let child = self.children.iter().find(|child| child.console == console && child.wants_input);
        if let Some((process, _)) = child.and_then(|child| child.process.as_ref()) {
            // A child that has destroyed its console Port does not learn of input.
            let _ = process.console().send(CONSOLE_INPUT);
        }
    }

    /// A thread of a child had an exception.
    pub fn crashed(&mut self, alias: u64, exception: &NativeException) {
        self.end(alias, Some(describe(exception)));
    }

    fn end(&mut self, alias: u64, failure: Option<String>) {
        let Some(child) = usize::try_from(alias).ok().and_then(|index| self.children.get_mut(index)) else { return };
        let Some(process) = child.process.take() else { return };
        child.log(b"\n");
        match &failure {
            None => say!("{}: ended", child.name),
            Some(reason) => say!("{}: {reason}: ended", child.name),
        }
        child.failure = failure.map(|reason| format!("{}: {reason}", child.name));
        let ended = child.console;
        let next = self.children.iter().find(|child| child.process.is_some()).map(|child| child.console);
        drop(process);
        if let Some(next) = next {
            // Nobody watches the console of a child that has ended while another runs.
            terminal().change(|multiplexer| {
                if multiplexer.current() == ended {
                    multiplexer.switch(next);
                }
            });
        }
    }
}

impl Child {
    /// Takes text for the system's log; prints the lines that it completes.
    fn log(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(if byte.is_ascii() { char::from(byte) } else { '?' });
            }
            if self.line.len() >= MAX_LINE || (byte == b'\n' && !self.line.is_empty()) {
                self.end_line();
            }
        }
    }

    /// Prints the line that is complete. While more waits for the serial port than it can send soon, lines are dropped:
    /// waiting for the port would take time from the other children.
    fn end_line(&mut self) {
        if terminal().is_busy() {
            self.dropped += 1;
        } else {
            let dropped = core::mem::take(&mut self.dropped);
            if dropped > 0 {
                line(&self.name, format_args!("({dropped} lines dropped)"));
            }
            line(&self.name, format_args!("{}", self.line));
        }
        self.line.clear();
    }
}

/// An exception in words.
fn describe(exception: &NativeException) -> String {
    let rip = exception.rip;
    match exception.vector {
        MISUSE => {
            let names = [
                "no such call",
                "no object at the address",
                "an object of another type",
                "an object is there already",
                "a bad alignment",
                "a missing right",
                "a call on the calling thread",
                "a bad argument",
                "a Reference to nothing",
            ];
            let name = (exception.error as usize).checked_sub(1).and_then(|index| names.get(index)).unwrap_or(&"?");
            format!("misuse of call {:#x}: {name} (rip {rip:#x})", exception.address)
        }
        0 => format!("division by zero (rip {rip:#x})"),
        3 => format!("breakpoint (rip {rip:#x})"),
        6 => format!("undefined instruction (rip {rip:#x})"),
        13 => format!("general protection fault, error {:#x} (rip {rip:#x})", exception.error),
        14 => format!("page fault at {:#x} (rip {rip:#x})", exception.address),
        vector => format!("exception {vector} (rip {rip:#x})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_described() {
        let exception =
            |vector, error, address| NativeException { vector, error, rip: 0x40_1234, address, reserved: [0; 4] };
        assert_eq!(describe(&exception(14, 6, 0x10)), "page fault at 0x10 (rip 0x401234)");
        assert_eq!(
            describe(&exception(MISUSE, 2, 0x53)),
            "misuse of call 0x53: no object at the address (rip 0x401234)"
        );
        assert_eq!(describe(&exception(MISUSE, 0, 1)), "misuse of call 0x1: ? (rip 0x401234)");
        assert_eq!(describe(&exception(MISUSE, u64::MAX, 1)), "misuse of call 0x1: ? (rip 0x401234)");
        assert_eq!(describe(&exception(19, 0, 0)), "exception 19 (rip 0x401234)");
    }
}
