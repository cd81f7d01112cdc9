//! Where things are: the workspace, cargo's target directory, the tool's cache
//! in it, and the files that users want written.

use crate::failure::{Failure, FailureKind, OrFailure};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The source tree and its build directories.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// What the tool fetched and made: `nestor/` in cargo's target directory.
    pub cache: PathBuf,
}

impl Workspace {
    /// Finds the workspace this tool was built from.
    pub fn find() -> Result<Self> {
        // Cargo sets the variable for `cargo run` and `cargo test`; a binary
        // started by hand looks where it was compiled.
        let member = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(member.join("Cargo.toml"))
            .no_deps()
            .exec()
            .or_failure(FailureKind::Build, format!("cannot read the workspace of {}", member.display()))?;
        let cache = metadata.target_directory.into_std_path_buf().join("nestor");
        fs::create_dir_all(&cache).with_context(|| format!("cannot create the cache {}", cache.display()))?;
        Ok(Self { root: metadata.workspace_root.into(), cache })
    }

    /// Where boot images are kept.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }
}

/// Makes `path` by letting `make` write a file beside it and renaming that
/// once it is complete.
pub fn complete(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = folder_of(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot create the folder {}", parent.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix(".nestor-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot write into {}", parent.display()))?;
    let partial = scratch.path().join("partial");
    make(&partial)?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

/// A file that the user wants written. What can be seen to be wrong with it is
/// found before work for it begins.
#[derive(Clone, Debug)]
pub struct Output {
    path: PathBuf,
    /// What it says when it cannot be written.
    name: String,
    /// It is there and no file, such as a USB stick or a pipe: it cannot be
    /// replaced, but be written to.
    is_special: bool,
}

impl Output {
    /// The file `path`, named by the user with `option`.
    pub fn new(option: &str, path: &Path) -> Result<Self> {
        let name = format!("{option} {}", path.display());
        let is_special = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Failure::error(FailureKind::Usage, format!("{name}: this is a folder")));
            }
            Ok(metadata) => !metadata.is_file(),
            Err(_) => false,
        };
        if is_special {
            fs::File::options().write(true).open(path).or_failure(FailureKind::Usage, &name)?;
        } else {
            tempfile::tempfile_in(folder_of(path)).or_failure(FailureKind::Usage, &name)?;
        }
        Ok(Self { path: path.to_owned(), name, is_special })
    }

    /// Writes what `make` puts into a file.
    pub fn write(&self, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if !self.is_special {
            return complete(&self.path, make);
        }
        let scratch = tempfile::tempdir()?;
        let whole = scratch.path().join("whole");
        make(&whole)?;
        let mut to = fs::File::options().write(true).open(&self.path).or_failure(FailureKind::Usage, &self.name)?;
        io::copy(&mut fs::File::open(&whole)?, &mut to).or_failure(FailureKind::Usage, &self.name)?;
        // A device's errors show only once everything has reached it; a pipe has nothing to wait for.
        match to.sync_all() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(error).or_failure(FailureKind::Usage, &self.name)
            }
            _ => Ok(()),
        }
    }
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::exit_code;

    #[test]
    fn outputs_are_checked_first() {
        let folder = tempfile::tempdir().unwrap();
        for (path, message) in [
            (folder.path().to_owned(), "this is a folder"),
            (folder.path().join("none/file"), "No such file"),
            ("/proc/file".into(), "--output /proc/file: "),
        ] {
            let error = Output::new("--output", &path).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(exit_code(&error), 2);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_are_replaced_and_devices_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let write = |path: &Path| Output::new("-o", path).unwrap().write(|partial| Ok(fs::write(partial, "whole")?));
        write(&path).unwrap();
        write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        write(Path::new("/dev/null")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        assert!(
            complete(&path, |partial| {
                fs::write(partial, "half")?;
                anyhow::bail!("interrupted")
            })
            .is_err()
        );
        assert!(!path.exists());
        complete(&path, |partial| Ok(fs::write(partial, "whole")?)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
