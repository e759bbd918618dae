//! The gated activation of feed-forward layers, `silu(gate) · up`, element by element.
//!
//! ```text
//! out = gate / (1 + e^(−gate)) · up
//! ```
//! Within 4 units in the last place of f64 where the result is normal; far negative gates give zero. Bits are the
//! same on all levels. Limit: about 15 vector operations for every twelve bytes, so bound by memory outside caches.

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd, exp, load_partial, store_partial};
use crate::pool::ThreadPool;

#[cfg(test)]
mod tests;

/// Computes `silu(gate) · up` into `out`.
///
/// # Panics
/// When the lengths differ; nothing is written then.
pub fn silu_mul(pool: &ThreadPool, level: Level, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && up.len() == out.len(), "gate, up and output differ in length");
    const NUMBERS_MIN: usize = 4096;
    pool.for_rows(out, 1, NUMBERS_MIN, &|first, out| {
        let (gate, up) = (&gate[first..][..out.len()], &up[first..][..out.len()]);
        level.enter(SiluMul { gate, up, out });
    });
}

struct SiluMul<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Operation for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gate, gate_tail) = self.gate.as_chunks::<LANES>();
        let (up, up_tail) = self.up.as_chunks::<LANES>();
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            simd.store(silu_times(simd, simd.load(gate), simd.load(up)), out);
        }
        let last = silu_times(simd, load_partial(simd, gate_tail), load_partial(simd, up_tail));
        store_partial(simd, last, out_tail);
    }
}

#[inline(always)]
fn silu_times<S: Simd>(simd: S, gate: S::F32, up: S::F32) -> S::F32 {
    let decay = exp(simd, simd.subtract(simd.splat(0.0), gate));
    simd.multiply(simd.divide(gate, simd.add(simd.splat(1.0), decay)), up)
}
