//! State, clock and randomness of the test's own thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// Value and time of expiry by key.
type Entries = BTreeMap<String, (Vec<u8>, Option<u64>)>;

thread_local! {
    static ENTRIES: RefCell<Entries> = const { RefCell::new(BTreeMap::new()) };
    static FAILURE: RefCell<Option<crate::state::StateError>> = const { RefCell::new(None) };
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Forgets what policies on this thread have written.
pub fn clear_state() {
    ENTRIES.take();
}

/// Makes the next call of `state` on this thread fail.
pub fn fail_state(error: crate::state::StateError) {
    FAILURE.set(Some(error));
}

/// Moves this thread's clock, which begins at 0.
pub fn advance_clock(by: Duration) {
    NOW_MS.set(NOW_MS.get().saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)));
}

/// Says which numbers follow on this thread. It begins with the seed 0.
pub fn seed_random(seed: u64) {
    RANDOM.set(seed);
}

#[cfg(not(target_family = "wasm"))]
pub(crate) mod state {
    use super::{ENTRIES, FAILURE, NOW_MS};
    use crate::state::StateError;

    fn check(key: &str, value: &[u8]) -> Result<(), StateError> {
        if let Some(error) = FAILURE.take() {
            return Err(error);
        }
        let fits = (1..=256).contains(&key.len()) && value.len() <= 65536;
        if fits { Ok(()) } else { Err(StateError::TooLarge) }
    }

    fn found(key: &str) -> Option<(Vec<u8>, Option<u64>)> {
        let entry = ENTRIES.with_borrow(|entries| entries.get(key).cloned())?;
        entry.1.is_none_or(|expires| NOW_MS.get() < expires).then_some(entry)
    }

    fn put(key: &str, value: Vec<u8>, expires: Option<u64>) {
        ENTRIES.with_borrow_mut(|entries| entries.insert(key.to_owned(), (value, expires)));
    }

    fn expiry(ttl_ms: Option<u64>) -> Option<u64> {
        ttl_ms.map(|ttl| NOW_MS.get().saturating_add(ttl))
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check(key, &[])?;
        Ok(found(key).map(|(value, _)| value))
    }
    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StateError> {
        check(key, value)?;
        put(key, value.to_vec(), expiry(ttl_ms));
        Ok(())
    }
    pub(crate) fn delete(key: &str) -> Result<(), StateError> {
        check(key, &[])?;
        ENTRIES.with_borrow_mut(|entries| entries.remove(key));
        Ok(())
    }
    pub(crate) fn compare_and_swap(
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, StateError> {
        check(key, value)?;
        let is_expected = found(key).as_ref().map(|(value, _)| value.as_slice()) == expected;
        if is_expected {
            put(key, value.to_vec(), expiry(ttl_ms));
        }
        Ok(is_expected)
    }
    pub(crate) fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, StateError> {
        check(key, &[])?;
        let (number, expires) = match found(key) {
            None => (0, expiry(ttl_ms)),
            Some((value, expires)) => {
                let text = String::from_utf8(value).map_err(|_| StateError::NotANumber)?;
                (text.parse::<i64>().map_err(|_| StateError::NotANumber)?, expires)
            }
        };
        let sum = number.checked_add(by).ok_or(StateError::NotANumber)?;
        put(key, sum.to_string().into_bytes(), expires);
        Ok(sum)
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) mod clock {
    pub(crate) fn now_ms() -> u64 {
        super::NOW_MS.get()
    }
    pub(crate) fn monotonic_ms() -> u64 {
        super::NOW_MS.get()
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) mod random {
    pub(crate) fn bytes(count: u32) -> Vec<u8> {
        (0..count).map(|_| number().to_le_bytes()[0]).collect()
    }
    /// SplitMix64.
    pub(crate) fn number() -> u64 {
        let state = super::RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::RANDOM.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
