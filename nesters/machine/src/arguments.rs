//! The arguments of the machine program: `memory=<bytes> kernel=<file> [initrd=<file>] [append="…"]`.

use core::fmt;

/// What a machine is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// Bytes of RAM.
    pub memory: u64,
    /// Name of the kernel's file.
    pub kernel: &'a str,
    /// Name of the initial RAM disk's file, empty if there is none.
    pub initrd: &'a str,
    /// Command line.
    pub append: &'a str,
}

/// What is wrong with the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentError<'a> {
    /// An argument that no machine has.
    Unknown(&'a str),
    /// A text whose final quote is missing.
    Unterminated(&'a str),
    /// Not a number of bytes, or not a multiple of 2 MiB.
    BadMemory(&'a str),
    /// A needed argument is missing.
    Missing(&'static str),
    /// An argument is given twice.
    Twice(&'a str),
}

impl fmt::Display for ArgumentError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(f, "unknown argument `{text}`"),
            Self::Unterminated(name) => write!(f, "the text of `{name}` has no final quote"),
            Self::BadMemory(text) => write!(f, "memory={text}: not a number of bytes that is a multiple of 2 MiB"),
            Self::Missing(name) => write!(f, "the argument `{name}` is missing"),
            Self::Twice(name) => write!(f, "the argument `{name}` is given twice"),
        }
    }
}

impl<'a> Arguments<'a> {
    /// Understands `text`.
    pub fn parse(text: &'a str) -> Result<Self, ArgumentError<'a>> {
        let (mut memory, mut kernel, mut initrd, mut append) = (None, None, None, None);
        let mut rest = text.trim();
        while !rest.is_empty() {
            let word = rest.split_whitespace().next().unwrap_or(rest);
            let (name, after) = rest.split_once('=').ok_or(ArgumentError::Unknown(word))?;
            let value;
            (value, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(ArgumentError::Unterminated(name))?,
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            rest = rest.trim_start();
            let place = match name {
                "memory" => &mut memory,
                "kernel" => &mut kernel,
                "initrd" => &mut initrd,
                "append" => &mut append,
                _ => return Err(ArgumentError::Unknown(word)),
            };
            if place.replace(value).is_some() {
                return Err(ArgumentError::Twice(name));
            }
        }
        let text = memory.ok_or(ArgumentError::Missing("memory"))?;
        let memory = text.parse().ok().filter(|&size: &u64| size != 0 && size.is_multiple_of(2 << 20));
        Ok(Self {
            memory: memory.ok_or(ArgumentError::BadMemory(text))?,
            kernel: kernel.ok_or(ArgumentError::Missing("kernel"))?,
            initrd: initrd.unwrap_or(""),
            append: append.unwrap_or(""),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_understood() {
        let text = "memory=536870912 kernel=vmlinuz initrd=initrd append=\"console=ttyS0 root=/dev/ram0\"";
        let expected = Arguments {
            memory: 512 << 20,
            kernel: "vmlinuz",
            initrd: "initrd",
            append: "console=ttyS0 root=/dev/ram0",
        };
        assert_eq!(Arguments::parse(text), Ok(expected));
        assert_eq!(Arguments::parse("kernel=k append=quiet  memory=2097152").unwrap().append, "quiet");
    }

    #[test]
    fn errors_name_the_argument() {
        let error = |text| Arguments::parse(text).unwrap_err();
        assert_eq!(error(""), ArgumentError::Missing("memory"));
        assert_eq!(error("memory=2097152"), ArgumentError::Missing("kernel"));
        assert_eq!(error("memory=512M kernel=k"), ArgumentError::BadMemory("512M"));
        assert_eq!(error("memory=0 kernel=k"), ArgumentError::BadMemory("0"));
        assert_eq!(error("memory=2097152 cpus=2"), ArgumentError::Unknown("cpus=2"));
        assert_eq!(error("quiet memory=2097152"), ArgumentError::Unknown("quiet"));
        assert_eq!(error("append=\"x"), ArgumentError::Unterminated("append"));
        assert_eq!(error("kernel=a kernel=b"), ArgumentError::Twice("kernel"));
        assert!(error("memory=5 kernel=k").to_string().contains("2 MiB"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z=\" é0-9]{0,60}") {
            let _ = Arguments::parse(&text);
        }
    }
}
