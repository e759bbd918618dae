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

    /// The error of this type that it came from, if it came from one.
    #[cfg(feature = "engine")]
    pub(crate) fn cause<E: std::error::Error + Send + Sync + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    /// The chain of causes on one line. A cause whose words end what it caused is not repeated.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        for cause in self.error.chain() {
            let words = cause.to_string();
            if told.ends_with(&words) {
                continue;
            }
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&words);
        }
        formatter.write_str(&told)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), code: UNUSABLE }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Failure;

    /// Says what caused it and names it as its cause, as errors of libraries do.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {0}")]
    struct Unreadable(#[source] io::Error);

    #[test]
    fn a_cause_is_told_once() {
        let missing = || Unreadable(io::Error::from_raw_os_error(2));
        let told = Failure::from(anyhow::Error::from(missing()).context("log.jsonl")).to_string();
        assert_eq!(told.matches("os error 2").count(), 1, "{told}");
        assert!(told.starts_with("log.jsonl: cannot read it: "), "{told}");
        let plain = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("log.jsonl");
        assert!(Failure::from(plain).to_string().starts_with("log.jsonl: "));
    }
}
