//! The text of the `system` boot module: which children the root nester
//! starts, one per line:
//!
//! `start <program> name=<label> memory=<bytes> [kernel-memory=<bytes>] [file=<name>]... [devices] -- <arguments>`

use crate::size::Size;
use std::fmt;

/// One child of the root nester.
#[derive(Clone, Debug)]
pub struct Start {
    program: String,
    name: String,
    memory: Size,
    kernel_memory: Option<Size>,
    files: Vec<String>,
    devices: bool,
    arguments: String,
}

/// What the root nester starts.
#[derive(Clone, Debug, Default)]
pub struct System {
    starts: Vec<Start>,
}

/// What a machine nester needs beside its guest's memory: its own code, heap
/// and stacks, and what its objects cost the kernel.
pub const MACHINE_OVERHEAD: Size = Size::mib(32);

/// Why a text cannot stand in a `system` module.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SystemError {
    /// A word with white space in it, or no word at all.
    #[error("`{0}` cannot be a name: names are single, non-empty words")]
    Word(String),
    /// A command line that would end its own quotation.
    #[error("a command line cannot contain quotation marks (\")")]
    Quotation,
    /// Arguments that would end the line.
    #[error("arguments cannot contain line ends")]
    LineEnd,
}

impl Start {
    /// Starts `program`, labelled `name`, with `memory` for everything it and
    /// its descendants use.
    pub fn new(program: &str, name: &str, memory: Size) -> Result<Self, SystemError> {
        let (program, name) = (word(program)?, word(name)?);
        let arguments = String::new();
        Ok(Self { program, name, memory, kernel_memory: None, files: Vec::new(), devices: false, arguments })
    }

    /// Lets the child read the boot module `file <name>`.
    pub fn file(mut self, name: &str) -> Result<Self, SystemError> {
        self.files.push(word(name)?);
        Ok(self)
    }

    /// Lets it and its descendants use so much kernel memory, not what most programs of its size need.
    pub fn kernel_memory(mut self, size: Size) -> Self {
        self.kernel_memory = Some(size);
        self
    }

    /// Lets the child use device memory: it is trusted with the whole system.
    pub fn devices(mut self) -> Self {
        self.devices = true;
        self
    }

    /// Gives the program its arguments.
    pub fn arguments(mut self, arguments: &str) -> Result<Self, SystemError> {
        if arguments.contains(['\n', '\r']) {
            return Err(SystemError::LineEnd);
        }
        arguments.clone_into(&mut self.arguments);
        Ok(self)
    }

    /// A machine that boots Linux from the files `kernel` and `initrd`, with
    /// `memory` of guest memory and `append` as its command line.
    pub fn linux(
        name: &str,
        memory: Size,
        kernel: &str,
        initrd: Option<&str>,
        append: &str,
    ) -> Result<Self, SystemError> {
        if append.contains('"') {
            return Err(SystemError::Quotation);
        }
        let total = Size(memory.0.saturating_add(MACHINE_OVERHEAD.0));
        let mut start = Self::new("machine", name, total)?.file(kernel)?;
        let mut arguments = format!("memory={} kernel={kernel}", memory.0);
        if let Some(initrd) = initrd {
            start = start.file(initrd)?;
            arguments += &format!(" initrd={initrd}");
        }
        start.arguments(&format!("{arguments} append=\"{append}\""))
    }
}

impl System {
    /// Adds a child.
    pub fn start(mut self, start: Start) -> Self {
        self.starts.push(start);
        self
    }

    /// What all children get together.
    pub fn memory(&self) -> Size {
        Size(self.starts.iter().map(|start| start.memory.0).sum())
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start {} name={} memory={}", self.program, self.name, self.memory.0)?;
        if let Some(size) = self.kernel_memory {
            write!(f, " kernel-memory={}", size.0)?;
        }
        for file in &self.files {
            write!(f, " file={file}")?;
        }
        if self.devices {
            write!(f, " devices")?;
        }
        write!(f, " -- {}", self.arguments)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.starts.iter().try_for_each(|start| writeln!(f, "{start}"))
    }
}

fn word(text: &str) -> Result<String, SystemError> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        Err(SystemError::Word(text.to_owned()))
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_machine() {
        let start = Start::linux("linux", Size::mib(512), "vmlinuz", Some("initrd"), "console=ttyS0 quiet").unwrap();
        let system = System::default().start(start);
        assert_eq!(
            system.to_string(),
            "start machine name=linux memory=570425344 file=vmlinuz file=initrd -- \
             memory=536870912 kernel=vmlinuz initrd=initrd append=\"console=ttyS0 quiet\"\n"
        );
        assert_eq!(system.memory(), Size(570_425_344));
    }

    #[test]
    fn a_driver() {
        let start = Start::new("driver", "screen", Size::mib(8)).unwrap().devices().arguments("text").unwrap();
        let start = start.kernel_memory(Size::mib(1));
        assert_eq!(start.to_string(), "start driver name=screen memory=8388608 kernel-memory=1048576 devices -- text");
    }

    #[test]
    fn names_and_arguments_are_checked() {
        let error = Start::new("two words", "x", Size(1)).unwrap_err();
        assert_eq!(error, SystemError::Word("two words".into()));
        let start = Start::new("program", "x", Size(1)).unwrap();
        assert_eq!(start.clone().file("").unwrap_err(), SystemError::Word(String::new()));
        let linux = Start::linux("x", Size::mib(64), "k", None, "a=\"b c\"");
        assert_eq!(linux.unwrap_err(), SystemError::Quotation);
        assert_eq!(start.arguments("a\nb").unwrap_err(), SystemError::LineEnd);
    }
}
