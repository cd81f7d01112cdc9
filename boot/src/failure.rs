//! Failures and the exit codes they end the tool with.

use std::fmt;

/// Why a command failed. Each kind has its own exit code, so that scripts can
/// tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The system ran and failed, or the console did not show what was
    /// expected before the system ended.
    Failed,
    /// The command line, or a file it names, is no good.
    Usage,
    /// Packages or Rust's libraries are missing and cannot be installed from here.
    Missing,
    /// A time limit passed.
    Timeout,
    /// The host machine (Bochs or QEMU) failed.
    Host,
    /// Building Nestor, or assembling its image, failed.
    Build,
    /// A signal ended the tool.
    Interrupted,
}

impl FailureKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Failed, Self::Usage, Self::Missing, Self::Timeout, Self::Host, Self::Build, Self::Interrupted];

    /// The exit code of this kind of failure; success is 0.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Missing => 3,
            Self::Timeout => 4,
            Self::Host => 5,
            Self::Build => 6,
            Self::Interrupted => 130,
        }
    }
}

/// A failure of a known kind, with the message shown to the user.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What the user is told.
    pub message: String,
}

impl Failure {
    /// A failure of `kind`, ready to be returned as an error.
    pub fn error(kind: FailureKind, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { kind, message: message.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Extension to give any error a failure kind, its own text kept as the cause.
pub trait OrFailure<T> {
    /// Turns an error into a failure of `kind` that reads `message: <error>`.
    fn or_failure(self, kind: FailureKind, message: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: fmt::Display> OrFailure<T> for Result<T, E> {
    fn or_failure(self, kind: FailureKind, message: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Failure::error(kind, format!("{}: {error:#}", message.into())))
    }
}

/// The exit code for any error: its failure kind's, or 1 if it has none.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(FailureKind::Failed, |failure| failure.kind).exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn exit_codes_differ() {
        let mut codes: Vec<u8> = FailureKind::ALL.map(FailureKind::exit_code).into();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), FailureKind::ALL.len());
        assert!(!codes.contains(&0));
    }

    #[test]
    fn kind_survives_added_context() {
        let error = Failure::error(FailureKind::Timeout, "late");
        let error = Err::<(), _>(error).context("while waiting").unwrap_err();
        assert_eq!(exit_code(&error), 4);
        assert_eq!(exit_code(&anyhow::anyhow!("other")), 1);
    }
}
