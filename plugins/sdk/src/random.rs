//! Random numbers fit for secrets. A component that calls any of this needs the grant `random`.
//!
//! Natively they follow from a seed: [`crate::testing::seed_random`].

#[cfg(target_family = "wasm")]
use crate::guest::random as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::random as host;

/// So many random bytes, at most 4096: the host ends a call that wants more.
pub fn bytes(count: u32) -> Vec<u8> {
    host::bytes(count)
}

/// A random number, every one equally likely.
pub fn number() -> u64 {
    host::number()
}
