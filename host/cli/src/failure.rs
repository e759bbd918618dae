//! How a command fails: always exit code 2, for unusable input, usage or environment. (Exit code 1 is
//! for commands whose work is done and whose result is negative.)

use std::fmt;
use std::process::ExitCode;

/// A command whose work could not be done.
#[derive(Debug)]
pub(crate) struct Failure(anyhow::Error);

impl Failure {
    /// Input, usage or environment that cannot be used.
    pub(crate) fn unusable(message: impl fmt::Display) -> Self {
        Self(anyhow::anyhow!("{message}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(2)
    }
}

impl fmt::Display for Failure {
    /// The chain of causes on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.0)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}
