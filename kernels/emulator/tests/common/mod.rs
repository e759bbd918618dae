//! What the tests of several kernels share. With `LOCKGATE_CARD=N` they run on that card instead of the emulator.
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::f16;
use lockgate_emulator::{Emulator, Schedule, card};
use lockgate_kernels::cuda::memory::Device;

/// A device whose threads run in an order that `number` picks; one in eight has AddressSanitizer watch too.
pub(crate) fn device(number: usize) -> Device {
    if let Some(card) = card() {
        return card;
    }
    static DEVICES: AtomicUsize = AtomicUsize::new(0);
    let device = DEVICES.fetch_add(1, Ordering::Relaxed);
    if !device.is_multiple_of(8) {
        return emulated(number);
    }
    let name = format!("lockgate-replay-{}-{device}", std::process::id());
    let scratch = std::env::temp_dir().join(name);
    Device::new(Arc::new(Emulator::with_address_sanitizer(schedule(number), scratch)))
}

/// The same, never watched: for kernels that read addresses from memory, which are others where a launch is replayed.
pub(crate) fn unwatched_device(number: usize) -> Device {
    card().unwrap_or_else(|| emulated(number))
}

/// A device whose threads run in an order that `number` picks.
fn emulated(number: usize) -> Device {
    Device::new(Arc::new(Emulator::new(schedule(number))))
}

fn schedule(number: usize) -> Schedule {
    match number % 4 {
        3 => Schedule::Random(number as u64),
        other => Schedule::ALL[other],
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

/// Rounded to half precision.
pub(crate) fn half(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// Fails where a number is not within `bound` of what it should be; NaN never is.
#[track_caller]
pub(crate) fn check(got: f32, expected: f64, bound: f64, context: &dyn std::fmt::Display) {
    let error = (f64::from(got) - expected).abs();
    assert!(error <= bound, "{context}: {got}, not {expected} (off by {error:e}, allowed {bound:e})");
}
