//! The simulated clock and chance: both follow from the scenario alone.

use std::sync::{Mutex, PoisonError};

use lockgate_sandbox::Environment;
use tokio::time::Instant;

/// When every scenario begins: 2026-01-01 00:00 UTC, in milliseconds since 1970.
pub const STARTED_MS: u64 = 1_767_225_600_000;

/// Time since the scenario began, on Tokio's clock, and numbers from its seed.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    random: Mutex<u64>,
}

impl Clock {
    /// A clock that starts now. Needs a Tokio runtime whose time is paused, or it is the machine's.
    pub fn starting(seed: u64) -> Self {
        Self { began: Instant::now(), random: Mutex::new(seed) }
    }

    /// The same, asked from outside the runtime that it follows.
    pub(crate) fn elapsed_ms_in(&self, runtime: &tokio::runtime::Runtime) -> u64 {
        let _inside = runtime.enter();
        self.elapsed_ms()
    }

    /// Milliseconds since the scenario began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Environment for Clock {
    fn now_ms(&self) -> u64 {
        STARTED_MS + self.elapsed_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.elapsed_ms()
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), String> {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let number = next(&mut state).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}

/// The next of the numbers that follow from a state (SplitMix64).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
