//! Where things are: the workspace, cargo's target directory, and the tool's
//! cache in it.

use crate::failure::{FailureKind, OrFailure};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

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
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create the folder {}", parent.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix(".nestor-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot write into {}", parent.display()))?;
    let partial = scratch.path().join("partial");
    make(&partial)?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
