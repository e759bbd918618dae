//! Measures what this machine's processors can compute, in the two kinds of arithmetic that kernels do: f32 fused
//! multiply-adds (attention) and products of 8-bit integers summed into 32 bits (quantised weights). Prefill figures
//! are given as fractions of these. Clock speeds differ with the instructions used, so neither is computed from the
//! other or from a data sheet.
#![allow(unsafe_code, reason = "calls integer vector instructions that a level's proof covers")]

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd};
use crate::pool::ThreadPool;

#[cfg(test)]
mod tests;

/// The most that all threads of a pool compute together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// 10⁹ floating-point operations a second; a fused multiply-add counts as two.
    pub f32_gflops: f64,
    /// 10⁹ operations a second on 8-bit integers, a multiplication and an addition each; nothing where the level has
    /// no instructions for them.
    pub int8_gops: Option<f64>,
}

/// Measures for about `iterations` nanoseconds for each kind; a few millions give steady figures.
#[must_use]
pub fn measure(pool: &ThreadPool, level: Level, iterations: usize) -> Peak {
    let f32_operations = (F32_ACCUMULATORS * LANES * 2 * iterations) as f64;
    let f32_gflops = rate(pool, f32_operations, &|| {
        black_box(level.enter(FusedMultiplyAdds { iterations: black_box(iterations) }));
    });
    let int8_gops = int8_operations(level).map(|operations| {
        rate(pool, (operations * iterations) as f64, &|| int8_products(level, black_box(iterations)))
    });
    Peak { f32_gflops, int8_gops }
}

/// 10⁹ operations a second over all threads, each of which does `operations` in `body`; the best of three.
fn rate(pool: &ThreadPool, operations: f64, body: &(dyn Fn() + Sync)) -> f64 {
    let once = || {
        let start = Instant::now();
        pool.run(&|_| body());
        operations * pool.threads() as f64 / start.elapsed().as_secs_f64().max(1e-9) / 1e9
    };
    (0..3).map(|_| once()).fold(0.0, f64::max)
}

/// Vectors of sixteen that are summed at once: with four cycles of latency and two a cycle, eight registers suffice
/// to keep every machine busy, and twelve of 256 bits fit.
const F32_ACCUMULATORS: usize = 6;

struct FusedMultiplyAdds {
    iterations: usize,
}

impl Operation for FusedMultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (factor, summand) = (simd.splat(black_box(0.5)), simd.splat(black_box(1.0)));
        // Different values, lest the compiler notice that all the sums are one.
        let mut sums = [simd.splat(0.0); F32_ACCUMULATORS];
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = simd.splat(index as f32);
        }
        for _ in 0..self.iterations {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, summand);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = simd.add(total, *sum);
        }
        simd.sum(total)
    }
}

/// Registers of 8-bit products that are summed at once.
#[cfg(target_arch = "x86_64")]
const INT8_ACCUMULATORS: usize = 12;

/// The 8-bit operations of one iteration.
fn int8_operations(level: Level) -> Option<usize> {
    match level {
        Level::Scalar => None,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => Some(INT8_ACCUMULATORS * 32 * 2),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => Some(INT8_ACCUMULATORS * 64 * 2),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2(_) | Level::Avx512(_) => None,
    }
}

#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "no instructions to count"))]
fn int8_products(level: Level, iterations: usize) {
    match level {
        Level::Scalar => {}
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is the proof that AVX2 exists.
        Level::Avx2(_) => unsafe { x86::avx2(iterations) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is the proof that AVX-512 with VNNI exists.
        Level::Avx512(_) => unsafe { x86::avx512(iterations) },
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2(_) | Level::Avx512(_) => {}
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::hint::black_box;

    use super::INT8_ACCUMULATORS;
    use crate::cpu::intrinsics::*;

    /// Without VNNI a product takes three instructions: pairs of bytes, pairs of pairs, the sum. The exclusive-or
    /// stands for the load of a real loop and keeps the product from being the same for all sums.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(iterations: usize) {
        let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(5)));
        let ones = _mm256_set1_epi16(1);
        let mut sums: [_; INT8_ACCUMULATORS] = std::array::from_fn(|index| _mm256_set1_epi32(index as i32));
        for _ in 0..iterations {
            for sum in &mut sums {
                let pairs = _mm256_maddubs_epi16(a, _mm256_xor_si256(b, *sum));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[cfg_attr(not(feature = "emulated-avx512"), target_feature(enable = "avx512f,avx512vnni"))]
    pub(super) fn avx512(iterations: usize) {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
        let mut sums: [_; INT8_ACCUMULATORS] = std::array::from_fn(|index| _mm512_set1_epi32(index as i32));
        for _ in 0..iterations {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
    }
}
