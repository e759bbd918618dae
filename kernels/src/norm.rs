//! Root-mean-square normalisation of rows, and the residual sum that precedes it in every model here.
//!
//! ```text
//! x, out f32 [rows][width], weight f32 [width]
//! out = x · (1 / √(mean(x²) + ε)) · weight          in this order of multiplications
//! ```
//! The squares are summed in 64 lanes (four vectors in turn), then across in a fixed tree: bits are the same on all
//! levels and for any number of rows or threads. Within 4 units in the last place of f64 for widths up to 16384.
//! Limit: three passes over memory that is in the first cache.

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd, load_partial, store_partial};
use crate::pool::ThreadPool;

#[cfg(test)]
mod tests;

/// Numbers below which work stays on the calling thread: waking the others would take longer.
const NUMBERS_MIN: usize = 8192;

/// Normalises each row of `x`, as wide as `weight`, into `out`.
///
/// # Panics
/// When `weight` is empty, `x` is not whole rows or `out` is not as long as `x`; nothing is written then.
pub fn rms_norm(pool: &ThreadPool, level: Level, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    rms_norm_with(pool, level, x, weight, epsilon, out);
}

fn rms_norm_with<E: Enter>(
    pool: &ThreadPool,
    enter: E,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let width = weight.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    assert_eq!(out.len(), x.len(), "the output's shape is not the input's");
    pool.for_rows(out, width, NUMBERS_MIN.div_ceil(width), &|first, out| {
        let x = &x[first * width..][..out.len()];
        enter.enter(RmsNorm { x, weight, epsilon, out });
    });
}

/// Adds `delta` to `x`, element by element.
///
/// # Panics
/// When the lengths differ.
pub fn add(pool: &ThreadPool, level: Level, x: &mut [f32], delta: &[f32]) {
    assert_eq!(x.len(), delta.len(), "only equal shapes can be added");
    pool.for_rows(x, 1, NUMBERS_MIN, &|first, x| {
        level.enter(Add { delta: &delta[first..][..x.len()], x });
    });
}

/// Adds `row` to every row of `x`, as a projection's bias is.
///
/// # Panics
/// When `row` is empty or `x` is not whole rows of its width.
pub fn add_row(pool: &ThreadPool, level: Level, x: &mut [f32], row: &[f32]) {
    let width = row.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    pool.for_rows(x, width, NUMBERS_MIN.div_ceil(width), &|_, x| {
        for x in x.chunks_exact_mut(width) {
            level.enter(Add { x, delta: row });
        }
    });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl Operation for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        let (weights, weights_tail) = self.weight.as_chunks::<LANES>();
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let (x, x_tail) = x.as_chunks::<LANES>();
            let (out, out_tail) = out.as_chunks_mut::<LANES>();
            let mean = square_sum(simd, x, x_tail) / width as f32;
            let scale = simd.splat(1.0 / (mean + self.epsilon).sqrt());
            for ((x, weight), out) in x.iter().zip(weights).zip(out) {
                let scaled = simd.multiply(simd.load(x), scale);
                simd.store(simd.multiply(scaled, simd.load(weight)), out);
            }
            let scaled = simd.multiply(load_partial(simd, x_tail), scale);
            store_partial(simd, simd.multiply(scaled, load_partial(simd, weights_tail)), out_tail);
        }
    }
}

/// The sum of squares: vector i goes to accumulator i mod 4, the last partial vector to the first.
#[inline(always)]
fn square_sum<S: Simd>(simd: S, x: &[[f32; LANES]], tail: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); 4];
    let (fours, rest) = x.as_chunks::<4>();
    for four in fours {
        for index in 0..4 {
            let x = simd.load(&four[index]);
            sums[index] = simd.mul_add(x, x, sums[index]);
        }
    }
    for index in 0..rest.len() {
        let x = simd.load(&rest[index]);
        sums[index] = simd.mul_add(x, x, sums[index]);
    }
    let x = load_partial(simd, tail);
    sums[0] = simd.mul_add(x, x, sums[0]);
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

struct Add<'a> {
    x: &'a mut [f32],
    delta: &'a [f32],
}

impl Operation for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_tail) = self.x.as_chunks_mut::<LANES>();
        let (delta, delta_tail) = self.delta.as_chunks::<LANES>();
        for (x, delta) in x.iter_mut().zip(delta) {
            simd.store(simd.add(simd.load(x), simd.load(delta)), x);
        }
        let sum = simd.add(load_partial(simd, x_tail), load_partial(simd, delta_tail));
        store_partial(simd, sum, x_tail);
    }
}
