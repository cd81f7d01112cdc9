//! What the user asked for as a guest, checked before anything starts.

use crate::bzimage::BzImage;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::size::Size;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// The command line of a guest when the user gives none.
pub const DEFAULT_APPEND: &str = "console=ttyS0";

/// What bare Bochs needs on the command line beside that: its TSC counts
/// instructions, so it does not tick at the rate its CPUID leaf 0x15 claims.
pub const BARE_BOCHS_APPEND: &str = "tsc=unstable";

/// The least guest memory the tool starts.
pub const LEAST_MEMORY: Size = Size::mib(32);

/// A Linux guest: files that exist and fit its memory.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The initial file system, if any.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
    /// Guest memory.
    pub memory: Size,
}

/// Why a guest cannot be started in the memory it is to have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MemoryError {
    /// Less than any guest can use.
    #[error("--memory: {0} is too little: at least {LEAST_MEMORY} is needed")]
    TooLittle(Size),
    /// Not a multiple of a large page, which machines' memory is made of.
    #[error("--memory: {0} is not a multiple of 2 MiB")]
    NotLargePages(Size),
    /// More than this computer has.
    #[error("--memory: {wanted} for guests is more than this computer's {available}")]
    TooMuch {
        /// What all machines together are to have.
        wanted: Size,
        /// What the computer has.
        available: Size,
    },
    /// The kernel does not fit.
    #[error("the kernel needs {kernel} of memory to start, --memory gives {memory}")]
    Kernel {
        /// From address 0 to the end of the kernel's initial memory.
        kernel: Size,
        /// What the guest has.
        memory: Size,
    },
    /// The initrd alone is larger than memory.
    #[error("the initrd ({initrd}) is larger than memory ({memory})")]
    Initrd {
        /// Its size.
        initrd: Size,
        /// What the guest has.
        memory: Size,
    },
    /// Kernel and initrd fit alone, but not together.
    #[error("the kernel ({kernel}) and the initrd ({initrd}) do not fit {memory} together")]
    Both {
        /// The kernel's initial memory.
        kernel: Size,
        /// The initrd's size.
        initrd: Size,
        /// What the guest has.
        memory: Size,
    },
}

impl Guest {
    /// Reads the guest's files and checks that they can boot in its memory.
    pub fn check(&self) -> Result<()> {
        check_memory(self.memory).map_err(Failure::from)?;
        let kernel = check_kernel_file(&self.kernel)?;
        let initrd = match &self.initrd {
            Some(initrd) => Some(check_initrd_file(initrd)?),
            None => None,
        };
        Ok(check_fit(&kernel, initrd, self.memory).map_err(Failure::from)?)
    }
}

/// Checks a kernel file.
pub fn check_kernel_file(path: &Path) -> Result<BzImage> {
    let name = format!("--kernel {}", path.display());
    let bytes = fs::read(path).or_failure(FailureKind::Usage, &name)?;
    BzImage::check(&bytes).or_failure(FailureKind::Usage, name)
}

/// Checks that an initrd exists and holds something; gives its size.
fn check_initrd_file(path: &Path) -> Result<Size> {
    let name = format!("--initrd {}", path.display());
    let metadata = fs::metadata(path).or_failure(FailureKind::Usage, &name)?;
    if !metadata.is_file() {
        Err(Failure::error(FailureKind::Usage, format!("{name}: not a file")))
    } else if metadata.len() == 0 {
        Err(Failure::error(FailureKind::Usage, format!("{name}: the file is empty")))
    } else {
        Ok(Size(metadata.len()))
    }
}

/// Checks the amount of memory itself.
pub fn check_memory(memory: Size) -> Result<(), MemoryError> {
    if memory < LEAST_MEMORY {
        Err(MemoryError::TooLittle(memory))
    } else if !memory.0.is_multiple_of(2 << 20) {
        Err(MemoryError::NotLargePages(memory))
    } else {
        Ok(())
    }
}

/// Checks that `machines` guests of `memory` can exist on this computer.
pub fn check_total(memory: Size, machines: u64, available: Size) -> Result<(), MemoryError> {
    let wanted = Size(memory.0.saturating_mul(machines));
    if wanted > available { Err(MemoryError::TooMuch { wanted, available }) } else { Ok(()) }
}

/// Checks that kernel and initrd fit the memory.
pub fn check_fit(kernel: &BzImage, initrd: Option<Size>, memory: Size) -> Result<(), MemoryError> {
    let initrd = initrd.unwrap_or(Size(0));
    let kernel = Size(kernel.preferred_address.saturating_add(u64::from(kernel.init_size)));
    if kernel > memory {
        Err(MemoryError::Kernel { kernel, memory })
    } else if initrd >= memory {
        Err(MemoryError::Initrd { initrd, memory })
    } else if kernel.0 + initrd.0 > memory.0 {
        Err(MemoryError::Both { kernel, initrd, memory })
    } else {
        Ok(())
    }
}

/// This computer's memory, from the text of `/proc/meminfo`.
pub fn total_memory(meminfo: &str) -> Option<Size> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Size(kibibytes << 10))
}

/// A memory error is a failure of use, and says all there is to say.
impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Self { kind: FailureKind::Usage, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bzimage::tests::good_kernel;

    const KERNEL: BzImage = BzImage { init_size: 48 << 20, preferred_address: 16 << 20 };

    #[test]
    fn memory_checks_are_distinct() {
        assert!(matches!(check_memory(Size::mib(1)), Err(MemoryError::TooLittle(_))));
        assert!(matches!(check_memory(Size(Size::mib(64).0 + 1)), Err(MemoryError::NotLargePages(_))));
        assert_eq!(check_memory(Size::mib(256)), Ok(()));
        assert!(check_total(Size::mib(512), 2, Size::mib(1024)).is_ok());
        assert!(check_total(Size::mib(512), 3, Size::mib(1024)).is_err());
        assert!(check_total(Size(u64::MAX), 9, Size::mib(1024)).is_err());
    }

    #[test]
    fn fit() {
        let fit = |initrd, memory| check_fit(&KERNEL, initrd, Size::mib(memory));
        assert_eq!(fit(None, 64), Ok(()));
        assert!(matches!(fit(None, 63), Err(MemoryError::Kernel { .. })));
        assert!(matches!(fit(Some(Size::mib(128)), 128), Err(MemoryError::Initrd { .. })));
        assert!(matches!(fit(Some(Size::mib(65)), 128), Err(MemoryError::Both { .. })));
        assert_eq!(fit(Some(Size::mib(64)), 128), Ok(()));
    }

    #[test]
    fn files_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let good = Guest {
            kernel: write("kernel", &good_kernel(4096, 1 << 20)),
            initrd: Some(write("initrd", b"x")),
            append: String::new(),
            memory: Size::mib(64),
        };
        good.check().unwrap();
        let message = |guest: Guest| guest.check().unwrap_err().to_string();
        let with_kernel = |kernel: PathBuf| message(Guest { kernel, ..good.clone() });
        let with_initrd = |initrd: PathBuf| message(Guest { initrd: Some(initrd), ..good.clone() });
        assert!(with_kernel(folder.path().join("none")).contains("No such file"));
        assert!(with_kernel(write("text", &[b' '; 2000])).contains("not a bzImage"));
        assert!(with_kernel(write("short", &good_kernel(4096, 0)[..2000])).contains("truncated"));
        assert!(with_initrd(folder.path().join("none")).contains("No such file"));
        assert!(with_initrd(write("empty", b"")).contains("empty"));
        assert!(with_initrd(folder.path().to_owned()).contains("not a file"));
    }

    #[test]
    fn meminfo() {
        let text = "MemTotal:        1024 kB\nMemFree: 1 kB\n";
        assert_eq!(total_memory(text), Some(Size::mib(1)));
        assert_eq!(total_memory(""), None);
    }
}
