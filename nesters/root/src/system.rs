//! The boot module `system`: what to start, one child per line.
//!
//! `start <program> name=<label> memory=<bytes> [kernel-memory=<bytes>] [objects=<count>] [cpu=<percent>] [file=<name>]... [devices] -- <arguments for the program>`
//!
//! `objects` is how many kernel objects the child and its descendants may have, `cpu` the share of the CPU that they may use.
//! Empty lines and lines that begin with `#` say nothing.

use alloc::vec::Vec;
use core::fmt;
use protocols::api::Quotas;

/// Longest label of a child.
pub const MAX_NAME: usize = 24;

/// A child to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// Name of the boot module with its program.
    pub program: &'a str,
    /// Its label.
    pub name: &'a str,
    /// Bytes of memory that it gets.
    pub memory: u64,
    /// Bytes of kernel memory that it and its descendants may use; `None`: what most programs of its size need.
    pub kernel_memory: Option<u64>,
    /// Most kernel objects that it may have; `None` for as many as its kernel memory is for.
    pub objects: Option<u64>,
    /// Most of the CPU that it may use, in percent; `None` for all that others leave.
    pub cpu: Option<u64>,
    /// Names of the boot modules that it gets as files.
    pub files: Vec<&'a str>,
    /// It may use device memory: whoever may is trusted with the whole system.
    pub devices: bool,
    /// Its arguments.
    pub arguments: &'a str,
}

impl Start<'_> {
    /// Its quotas, with so many frames of kernel memory.
    pub fn quotas(&self, frames: u64) -> Quotas {
        let most = Quotas::of_memory(frames);
        Quotas {
            objects: self.objects.unwrap_or(most.objects),
            cpu: self.cpu.map_or(0, |percent| percent * Quotas::WHOLE_CPU / 100),
            ..most
        }
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError<'a> {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem<'a>,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// It begins with something other than `start`.
    UnknownCommand(&'a str),
    /// It names no program.
    NoProgram,
    /// `name=` is missing, empty or too long.
    BadName,
    /// Another child has the same name.
    DuplicateName(&'a str),
    /// `memory=` is missing or no number of bytes.
    BadMemory,
    /// `kernel-memory=` is no number above 0.
    BadKernelMemory,
    /// `objects=` is no number of objects.
    BadObjects,
    /// `cpu=` is no percentage.
    BadCpu,
    /// A word is none of those known.
    UnknownWord(&'a str),
    /// Nothing is started at all.
    Nothing,
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.problem {
            Problem::UnknownCommand(word) => write!(f, "unknown command `{word}`"),
            Problem::NoProgram => f.write_str("no program is named"),
            Problem::BadName => write!(f, "name=<label> is missing, empty or longer than {MAX_NAME} bytes"),
            Problem::DuplicateName(name) => write!(f, "another child is called `{name}`"),
            Problem::BadMemory => f.write_str("memory=<bytes> is missing or no number"),
            Problem::BadKernelMemory => f.write_str("kernel-memory=<bytes> is no number"),
            Problem::BadObjects => f.write_str("objects=<count> is no number"),
            Problem::BadCpu => f.write_str("cpu=<percent> is no number from 1 to 100"),
            Problem::UnknownWord(word) => write!(f, "unknown word `{word}`"),
            Problem::Nothing => f.write_str("nothing is started"),
        }
    }
}

/// Reads the file.
pub fn parse(text: &str) -> Result<Vec<Start<'_>>, ParseError<'_>> {
    let mut starts: Vec<Start<'_>> = Vec::new();
    let mut last = 1;
    for (number, line) in text.lines().enumerate() {
        last = number + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let start = parse_line(line).map_err(|problem| ParseError { line: last, problem })?;
        if starts.iter().any(|other| other.name == start.name) {
            return Err(ParseError { line: last, problem: Problem::DuplicateName(start.name) });
        }
        starts.push(start);
    }
    if starts.is_empty() { Err(ParseError { line: last, problem: Problem::Nothing }) } else { Ok(starts) }
}

fn parse_line(line: &str) -> Result<Start<'_>, Problem<'_>> {
    let (head, arguments) = match line.split_once(" --") {
        Some((head, rest)) if rest.is_empty() || rest.starts_with(' ') => (head, rest.trim()),
        _ => (line, ""),
    };
    let mut words = head.split_whitespace();
    match words.next() {
        Some("start") => {}
        Some(other) => return Err(Problem::UnknownCommand(other)),
        None => return Err(Problem::NoProgram),
    }
    let program = words.next().filter(|word| !word.contains('=')).ok_or(Problem::NoProgram)?;
    let (mut name, mut memory, mut kernel_memory, mut files, mut devices) = (None, None, None, Vec::new(), false);
    let (mut objects, mut cpu) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("name", value)) if name.is_none() => name = Some(value),
            Some(("memory", value)) if memory.is_none() => memory = Some(value),
            Some(("kernel-memory", value)) if kernel_memory.is_none() => kernel_memory = Some(value),
            Some(("objects", value)) if objects.is_none() => {
                objects = Some(value.parse().map_err(|_| Problem::BadObjects)?);
            }
            Some(("cpu", value)) if cpu.is_none() => {
                let percent = value.parse().ok().filter(|percent| (1..=100).contains(percent));
                cpu = Some(percent.ok_or(Problem::BadCpu)?);
            }
            Some(("file", value)) if !value.is_empty() => files.push(value),
            None if word == "devices" && !devices => devices = true,
            _ => return Err(Problem::UnknownWord(word)),
        }
    }
    let name = name.filter(|name| (1..=MAX_NAME).contains(&name.len())).ok_or(Problem::BadName)?;
    let bytes = |value: &str| value.parse().ok().filter(|&bytes: &u64| bytes > 0);
    let memory = memory.and_then(bytes).ok_or(Problem::BadMemory)?;
    let kernel_memory = kernel_memory.map(|value| bytes(value).ok_or(Problem::BadKernelMemory)).transpose()?;
    Ok(Start { program, name, memory, kernel_memory, objects, cpu, files, devices, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_system_of_two_children() {
        let text = "# two guests\nstart machine name=linux memory=570425344 file=vmlinuz file=initrd -- memory=536870912 \
                    append=\"console=ttyS0 -- x\"\n\n  start conformance name=test memory=4096 kernel-memory=8192 devices\n";
        let starts = parse(text).unwrap();
        assert_eq!(starts.len(), 2);
        let expected = Start {
            program: "machine",
            name: "linux",
            memory: 570_425_344,
            kernel_memory: None,
            objects: None,
            cpu: None,
            files: alloc::vec!["vmlinuz", "initrd"],
            devices: false,
            arguments: "memory=536870912 append=\"console=ttyS0 -- x\"",
        };
        assert_eq!(starts[0], expected);
        assert_eq!(starts[1].kernel_memory, Some(8192));
        assert_eq!((starts[1].name, starts[1].devices, starts[1].arguments), ("test", true, ""));
    }

    #[test]
    fn quotas_are_those_of_the_line() {
        let quotas = |text| parse(text).unwrap()[0].quotas(100);
        assert_eq!(quotas("start m name=a memory=9"), Quotas::of_memory(100));
        let expected = Quotas { frames: 100, objects: 50, cpu: Quotas::WHOLE_CPU / 4 };
        assert_eq!(quotas("start m name=a memory=9 cpu=25 objects=50"), expected);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(problem("\n# x\nrun machine"), "line 3: unknown command `run`");
        assert_eq!(problem("start name=x memory=1"), "line 1: no program is named");
        assert_eq!(problem("start m memory=1"), "line 1: name=<label> is missing, empty or longer than 24 bytes");
        assert_eq!(
            problem("start m name= memory=1 --"),
            "line 1: name=<label> is missing, empty or longer than 24 bytes"
        );
        assert_eq!(problem("start m name=a memory=many"), "line 1: memory=<bytes> is missing or no number");
        assert_eq!(problem("start m name=a memory=0"), "line 1: memory=<bytes> is missing or no number");
        assert_eq!(problem("start m name=a memory=9 kernel-memory=x"), "line 1: kernel-memory=<bytes> is no number");
        assert_eq!(problem("start m name=a memory=9 objects=many"), "line 1: objects=<count> is no number");
        for cpu in ["0", "101", "-1", "x", ""] {
            let line = alloc::format!("start m name=a memory=9 cpu={cpu}");
            assert_eq!(problem(&line), "line 1: cpu=<percent> is no number from 1 to 100");
        }
        assert_eq!(problem("start m name=a memory=9 color=red"), "line 1: unknown word `color=red`");
        assert_eq!(problem("start m name=a memory=9 devices=all"), "line 1: unknown word `devices=all`");
        assert_eq!(problem("start m name=a memory=9\nstart m name=a memory=9"), "line 2: another child is called `a`");
        assert_eq!(problem("# nothing\n"), "line 1: nothing is started");
        assert_eq!(problem(""), "line 1: nothing is started");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(start|machine|name=|memory=|kernel-memory=|file=|cpu=|objects=|devices|--|=|[0-9]+| |\n|\\PC){0,40}") {
            let _ = parse(&text);
        }
    }
}
