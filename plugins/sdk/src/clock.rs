//! The time. A component that calls any of this needs the grant `clock`.
//!
//! Natively it stands still until the test moves it: [`crate::testing::advance_clock`].

use std::time::Duration;

#[cfg(target_family = "wasm")]
use crate::guest::clock as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::clock as host;

/// The time since 1970-01-01 00:00 UTC, in whole milliseconds. May jump.
pub fn now() -> Duration {
    Duration::from_millis(host::now_ms())
}

/// The time since some moment, in whole milliseconds. Never goes backwards.
pub fn monotonic() -> Duration {
    Duration::from_millis(host::monotonic_ms())
}
