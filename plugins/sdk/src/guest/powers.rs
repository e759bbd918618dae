//! The seam for what needs a grant: state, clock, random.

pub(crate) use crate::guest::bindings::router::lockgate::plugin::{clock, random};

pub(crate) mod state {
    use crate::guest::bindings::router::lockgate::plugin::state;
    use crate::state::StateError;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        state::get(key).map_err(from_error)
    }
    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StateError> {
        state::set(key, value, ttl_ms).map_err(from_error)
    }
    pub(crate) fn delete(key: &str) -> Result<(), StateError> {
        state::delete(key).map_err(from_error)
    }
    pub(crate) fn compare_and_swap(
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, StateError> {
        state::compare_and_swap(key, expected, value, ttl_ms).map_err(from_error)
    }
    pub(crate) fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, StateError> {
        state::increment(key, by, ttl_ms).map_err(from_error)
    }

    fn from_error(error: state::Error) -> StateError {
        match error {
            state::Error::Busy => StateError::Busy,
            state::Error::TooLarge => StateError::TooLarge,
            state::Error::Full => StateError::Full,
            state::Error::NotANumber => StateError::NotANumber,
            state::Error::Other(reason) => StateError::Other(reason),
        }
    }
}
