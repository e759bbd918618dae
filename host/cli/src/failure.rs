//! How a command ends badly: with exit code 2 for unusable input, usage or environment, with 1 when its work is done
//! and the result is negative.

use std::fmt;
use std::process::ExitCode;

/// A command that ended badly.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    code: u8,
}

const NEGATIVE: u8 = 1;
const UNUSABLE: u8 = 2;

impl Failure {
    /// Input, usage or environment that cannot be used.
    pub(crate) fn unusable(message: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{message}"), code: UNUSABLE }
    }

    /// The work is done, and its result is negative.
    pub(crate) fn negative(message: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{message}"), code: NEGATIVE }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    /// The chain of causes on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), code: UNUSABLE }
    }
}
