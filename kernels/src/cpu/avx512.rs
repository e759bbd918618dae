//! The vector of [`super::simd`] as one 512-bit register: AVX-512 F, BW, DQ and VL.
#![allow(
    unsafe_code,
    reason = "calls vector instructions; an Avx512 value is made only from a detection's proof"
)]

use half::f16;

use super::Detected;
use super::intrinsics::*;
use super::simd::{LANES, Operation, Simd};

/// Proof that the features of [`super::Level::Avx512`] exist on this processor.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Runs the operation compiled for AVX-512; the proof is that of [`super::Level::Avx512`].
pub(super) fn run<O: Operation>(_: Detected, operation: O) -> O::Output {
    // SAFETY: the proof says that the features enabled on `enter` exist on this processor.
    unsafe { enter(operation) }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[cfg_attr(not(feature = "emulated-avx512"), target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl"))]
fn enter<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx512(()))
}

/// Wraps an expression of intrinsics.
macro_rules! simd {
    ($value:expr) => {{
        // SAFETY: a value of `Avx512` exists only where `enter` runs, so the features exist on this processor.
        unsafe { $value }
    }};
}

impl Simd for Avx512 {
    type F32 = __m512;

    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        simd!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        // SAFETY: the array holds sixteen values; the features are proven by `self`.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32 {
        // SAFETY: the array holds sixteen values of two bytes; the features are proven by `self`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32 {
        // SAFETY: the array holds sixteen values of a byte; the features are proven by `self`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn store(self, value: Self::F32, to: &mut [f32; LANES]) {
        // SAFETY: the array has room for sixteen values; the features are proven by `self`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn store_f16(self, value: Self::F32, to: &mut [f16; LANES]) {
        // SAFETY: the array has room for sixteen values of two bytes; the features are proven by `self`.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn subtract(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn multiply(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn divide(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        simd!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        simd!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn power_of_two(self, shifted: Self::F32) -> Self::F32 {
        simd!({
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
        })
    }

    #[inline(always)]
    fn first_lanes(self, count: usize, value: Self::F32, other: Self::F32) -> Self::F32 {
        let below = ((1_u32 << count.min(LANES)) - 1) as u16;
        simd!(_mm512_mask_blend_ps(below, other, value))
    }

    #[inline(always)]
    fn swap_pairs(self, value: Self::F32) -> Self::F32 {
        simd!(_mm512_permute_ps::<0b10_11_00_01>(value))
    }

    #[inline(always)]
    fn sum(self, value: Self::F32) -> f32 {
        simd!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps::<1>(value));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    fn greatest(self, value: Self::F32) -> f32 {
        simd!({
            let eight = _mm256_max_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps::<1>(value));
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
