//! What the tests of several operations share.

use crate::cpu::plain::Plain;
use crate::cpu::simd::{Enter, Operation};

/// Walks the loops meant for wide registers, on any machine.
#[derive(Clone, Copy)]
pub(crate) struct WidePlain;

impl Enter for WidePlain {
    fn enter<O: Operation>(self, operation: O) -> O::Output {
        operation.run(Plain::<true>)
    }
}

/// Numbers that look random, from a seed: uniform within ±1.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// What makes two results the same: every bit.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The error in units in the last place of the expected value (of the smallest normal number, below that).
pub(crate) fn ulps(got: f32, expected: f64) -> f64 {
    let size = expected.abs().max(f64::from(f32::MIN_POSITIVE));
    (f64::from(got) - expected).abs() / 2_f64.powi(size.log2().floor() as i32 - 23)
}
