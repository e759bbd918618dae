//! Where time and chance come from, so that whoever tests a policy can fix both.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time and the randomness that plugins are granted. State's times to live follow it too; limits of time do
/// not.
pub trait Environment: Send + Sync {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    fn now_ms(&self) -> u64;

    /// Milliseconds since some moment; never goes backwards.
    fn monotonic_ms(&self) -> u64;

    /// Fills `bytes` with random ones.
    ///
    /// # Errors
    /// In words, when there are none to be had.
    fn random(&self, bytes: &mut [u8]) -> Result<(), String>;
}

/// This machine's.
#[derive(Debug)]
pub(crate) struct Machine {
    started: Instant,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Environment for Machine {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), String> {
        getrandom::fill(bytes).map_err(|error| format!("the system gives no random bytes: {error}"))
    }
}
