//! The vector of [`super::simd`] as two 256-bit registers: AVX2, FMA, F16C.
#![allow(
    unsafe_code,
    reason = "calls vector instructions; an Avx2 value is made only from a detection's proof"
)]

use std::arch::x86_64::*;

use half::f16;

use super::Detected;
use super::simd::{LANES, Operation, Simd};

/// Proof that AVX2, FMA and F16C exist on this processor.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Runs the operation compiled for AVX2; the proof is that of [`super::Level::Avx2`].
pub(super) fn run<O: Operation>(_: Detected, operation: O) -> O::Output {
    // SAFETY: the proof says that the features enabled on `enter` exist on this processor.
    unsafe { enter(operation) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn enter<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx2(()))
}

/// Wraps an expression of intrinsics.
macro_rules! simd {
    ($value:expr) => {{
        // SAFETY: a value of `Avx2` exists only where `enter` runs, so the features exist on this processor.
        unsafe { $value }
    }};
}

/// Applies a two-operand instruction to both registers.
macro_rules! both {
    ($instruction:ident, $a:expr, $b:expr) => {
        simd!([$instruction($a[0], $b[0]), $instruction($a[1], $b[1])])
    };
}

impl Simd for Avx2 {
    type F32 = [__m256; 2];

    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        simd!([_mm256_set1_ps(value); 2])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        // SAFETY: the array holds sixteen values; the features are proven by `self`.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32 {
        let from = from.as_ptr().cast::<__m128i>();
        // SAFETY: the array holds sixteen values of two bytes; the features are proven by `self`.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))] }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32 {
        let from = from.as_ptr();
        // SAFETY: the array holds sixteen values of a byte, eight of which each load reads; the features are proven by `self`.
        unsafe {
            let halves = [_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast())];
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[0])),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[1])),
            ]
        }
    }

    #[inline(always)]
    fn store(self, value: Self::F32, to: &mut [f32; LANES]) {
        // SAFETY: the array has room for sixteen values; the features are proven by `self`.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), value[1]);
        }
    }

    #[inline(always)]
    fn store_f16(self, value: Self::F32, to: &mut [f16; LANES]) {
        let to = to.as_mut_ptr().cast::<__m128i>();
        // SAFETY: the array has room for sixteen values of two bytes; the features are proven by `self`.
        unsafe {
            _mm_storeu_si128(to, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[0]));
            _mm_storeu_si128(to.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[1]));
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn subtract(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_sub_ps, a, b)
    }

    #[inline(always)]
    fn multiply(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn divide(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_div_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        simd!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn power_of_two(self, shifted: Self::F32) -> Self::F32 {
        let mut powers = shifted;
        for power in &mut powers {
            *power = simd!({
                let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(*power));
                _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
            });
        }
        powers
    }

    #[inline(always)]
    fn first_lanes(self, count: usize, value: Self::F32, other: Self::F32) -> Self::F32 {
        simd!({
            let count = _mm256_set1_epi32(count.min(LANES) as i32);
            let low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
            let below = [_mm256_cmpgt_epi32(count, low), _mm256_cmpgt_epi32(count, high)];
            [
                _mm256_blendv_ps(other[0], value[0], _mm256_castsi256_ps(below[0])),
                _mm256_blendv_ps(other[1], value[1], _mm256_castsi256_ps(below[1])),
            ]
        })
    }

    #[inline(always)]
    fn swap_pairs(self, value: Self::F32) -> Self::F32 {
        simd!([_mm256_permute_ps::<0b10_11_00_01>(value[0]), _mm256_permute_ps::<0b10_11_00_01>(value[1])])
    }

    #[inline(always)]
    fn sum(self, value: Self::F32) -> f32 {
        simd!({
            let eight = _mm256_add_ps(value[0], value[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    fn greatest(self, value: Self::F32) -> f32 {
        simd!({
            let eight = _mm256_max_ps(value[0], value[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // A prefetch reads no memory: the address need not be valid.
        simd!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }
}
