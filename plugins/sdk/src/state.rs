//! What a plugin remembers between calls. A component that calls any of this needs the grant `state`.
//!
//! The functions mirror the interface `state`, where labels, limits and the moment that a write counts are written
//! down. Natively they work on a store of the test's thread: [`crate::testing::clear_state`].

use std::fmt;
use std::time::Duration;

/// Why nothing was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Another request has a write of the key under way.
    Busy,
    /// A key of no or more than 256 bytes, or a value of more than 65536.
    TooLarge,
    /// There is no room left.
    Full,
    /// The value is no counter, or the sum is not one of 64 bits.
    NotANumber,
    /// A reason that this crate does not know.
    Other(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Busy => "another request has a write of this key under way",
            Self::TooLarge => "the key or value has too many bytes, or the key has none",
            Self::Full => "there is no room left",
            Self::NotANumber => "the value is not a number of 64 bits, or would not stay one",
            Self::Other(reason) => reason,
        })
    }
}

impl std::error::Error for StateError {}

#[cfg(target_family = "wasm")]
use crate::guest::state as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::state as host;

/// The value of a key.
///
/// # Errors
/// [`StateError`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
    host::get(key)
}

/// Sets a value, with a time to live where there is one (whole milliseconds).
///
/// # Errors
/// [`StateError`].
pub fn set(key: &str, value: &[u8], time_to_live: Option<Duration>) -> Result<(), StateError> {
    host::set(key, value, time_to_live.map(milliseconds))
}

/// Deletes a key.
///
/// # Errors
/// [`StateError`].
pub fn delete(key: &str) -> Result<(), StateError> {
    host::delete(key)
}

/// Sets a value if the present one is `expected`, and says whether it was.
///
/// # Errors
/// [`StateError`].
pub fn compare_and_swap(
    key: &str,
    expected: Option<&[u8]>,
    value: &[u8],
    time_to_live: Option<Duration>,
) -> Result<bool, StateError> {
    host::compare_and_swap(key, expected, value, time_to_live.map(milliseconds))
}

/// Adds to a counter and returns the sum. The time to live is for a counter that begins with this call.
///
/// # Errors
/// [`StateError`].
pub fn increment(key: &str, by: i64, time_to_live: Option<Duration>) -> Result<i64, StateError> {
    host::increment(key, by, time_to_live.map(milliseconds))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
