//! [`Isa`] on AVX2 with FMA and F16C: two registers a vector.
//!
//! There is no instruction for four products a lane. `vpmaddubsw` adds two into 16 bits, where sums stay as long as
//! they fit: a block of 32 columns for 4-bit weights and for centred 5-bit ones, half a block for 5-bit ones, 16
//! columns for centred 6-bit ones. One `vpmaddwd` then widens them, and multiplies by a group's scale on the way.
//! 8-bit weights would saturate it; they go in as magnitudes, their signs on the other operand, and are widened at
//! once: 128 * 127 * 2 just fits.
#![allow(unsafe_code, reason = "every operation is an instruction that the processor is known to have")]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Isa, Kernel, Sized, TileKernel};
use crate::cpu::Level;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in crate::matmul) struct Avx2(());

impl Avx2 {
    /// Present at the level of that name and at wider ones.
    pub(in crate::matmul) fn new(level: Level) -> Option<Avx2> {
        matches!(level, Level::Avx2(_) | Level::Avx512(_)).then_some(Avx2(()))
    }
}

/// Rows 0 to 7 and rows 8 to 15.
type Int = [__m256i; 2];
type Float = [__m256; 2];

/// The body of an operation: instructions of the features that an [`Avx2`] value proves.
macro_rules! op {
    ($body:expr) => {
        // SAFETY: the processor has the features; pointers are as the operation's caller promises.
        unsafe { $body }
    };
}

/// An operation on both registers of its operands.
macro_rules! both {
    ($($operand:ident),+ => $body:expr) => {{
        let first = {
            let ($($operand,)+) = ($($operand[0],)+);
            op!($body)
        };
        let second = {
            let ($($operand,)+) = ($($operand[1],)+);
            op!($body)
        };
        [first, second]
    }};
}

#[inline]
#[target_feature(enable = "avx2")]
fn pin(mut value: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) value, options(nostack, preserves_flags)) };
    value
}

impl Isa for Avx2 {
    type Int = Int;
    type Float = Float;

    const PANELS: usize = 1;
    const SHORT_SUMS: bool = true;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(isa: Avx2, kernel: K) {
            kernel.run(isa);
        }
        op!(inner(self, kernel))
    }

    tile_sizes! { direct: [1, 2, 4], unpacked: [1, 2, 4] }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> Int {
        op!([_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())])
    }
    #[inline(always)]
    unsafe fn splat(self, from: *const i32) -> Int {
        op!([_mm256_set1_epi32(from.read_unaligned()); 2])
    }
    #[inline(always)]
    unsafe fn load_scales(self, from: *const u8) -> Int {
        // Each scale twice, for the two 16-bit sums of its lane.
        op!({
            let scales = _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast()));
            let scales = _mm256_permute4x64_epi64::<0b11_01_10_00>(scales);
            [_mm256_unpacklo_epi16(scales, scales), _mm256_unpackhi_epi16(scales, scales)]
        })
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const u8) -> Int {
        op!([
            _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())),
            _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(16).cast())),
        ])
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8, value: Int) {
        op!({
            _mm256_storeu_si256(to.cast(), value[0]);
            _mm256_storeu_si256(to.add(32).cast(), value[1]);
        })
    }
    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> Float {
        op!([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))])
    }
    #[inline(always)]
    unsafe fn load_halves(self, from: *const u8) -> Float {
        op!([
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
        ])
    }
    #[inline(always)]
    unsafe fn load_upper_halves(self, from: *const u8) -> Float {
        let values = op!([_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())]);
        both!(values => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(values))))
    }
    #[inline(always)]
    unsafe fn splat_float(self, from: *const f32) -> Float {
        op!([_mm256_set1_ps(from.read_unaligned()); 2])
    }
    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, value: Float) {
        op!({
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        })
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        op!(_mm_prefetch::<_MM_HINT_T0>(at.cast()))
    }

    #[inline(always)]
    fn zero(self) -> Int {
        op!([_mm256_setzero_si256(); 2])
    }
    #[inline(always)]
    fn zero_float(self) -> Float {
        op!([_mm256_setzero_ps(); 2])
    }
    #[inline(always)]
    fn low_nibbles(self, bytes: Int) -> Int {
        both!(bytes => _mm256_and_si256(bytes, _mm256_set1_epi8(0xF)))
    }
    #[inline(always)]
    fn high_nibbles(self, bytes: Int) -> Int {
        self.low_nibbles(self.move_down::<4>(bytes))
    }
    #[inline(always)]
    fn look_up(self, codes: Int, table: &[u8; 16]) -> Int {
        let table = op!(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())));
        both!(codes => _mm256_shuffle_epi8(table, codes))
    }
    #[inline(always)]
    fn with_low_bits(self, low: Int, plane: Int, mask: u8) -> Int {
        self.with_high_bits(low, both!(plane => _mm256_slli_epi16::<4>(plane)), mask)
    }
    #[inline(always)]
    fn with_high_bits(self, low: Int, plane: Int, mask: u8) -> Int {
        both!(low, plane => {
            _mm256_or_si256(low, _mm256_and_si256(plane, _mm256_set1_epi8(mask as i8)))
        })
    }
    #[inline(always)]
    fn move_down<const BITS: u32>(self, bytes: Int) -> Int {
        // The intrinsic wants another type of constant; this form folds to the same instruction.
        both!(bytes => _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(BITS as i32)))
    }

    #[inline(always)]
    fn centre(self, negated: Int, offset: i16) -> Int {
        both!(negated => _mm256_mullo_epi16(negated, _mm256_set1_epi16(offset)))
    }
    #[inline(always)]
    fn dot(self, sum: Int, weights: Int, x: Int) -> Int {
        both!(sum, weights, x => _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, x)))
    }
    #[inline(always)]
    fn total(self, sum: Int) -> Int {
        both!(sum => _mm256_madd_epi16(sum, _mm256_set1_epi16(1)))
    }
    #[inline(always)]
    fn add_scaled(self, total: Int, sum: Int, scales: Int) -> Int {
        both!(total, sum, scales => _mm256_add_epi32(total, _mm256_madd_epi16(sum, scales)))
    }

    #[inline(always)]
    fn prepare_wide(self, bytes: Int) -> Int {
        both!(bytes => _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)))
    }
    #[inline(always)]
    fn centre_wide(self, _: Int) -> Int {
        self.zero()
    }
    #[inline(always)]
    fn dot_wide(self, sum: Int, weights: Int, x: Int) -> Int {
        // The magnitude of -128 is 128, as an unsigned byte.
        both!(sum, weights, x => {
            let products = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
            _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn add(self, a: Int, b: Int) -> Int {
        both!(a, b => _mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn add_pairs(self, total: Int, a: Int, b: Int) -> Int {
        both!(total, a, b => _mm256_add_epi32(total, _mm256_madd_epi16(a, b)))
    }

    #[inline(always)]
    fn to_float(self, value: Int) -> Float {
        both!(value => _mm256_cvtepi32_ps(value))
    }
    #[inline(always)]
    fn add_float(self, a: Float, b: Float) -> Float {
        both!(a, b => _mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn multiply(self, a: Float, b: Float) -> Float {
        both!(a, b => _mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn multiply_add(self, a: Float, b: Float, c: Float) -> Float {
        both!(a, b, c => _mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn multiply_subtract(self, a: Float, b: Float, c: Float) -> Float {
        both!(a, b, c => _mm256_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn pin(self, value: Int) -> Int {
        both!(value => pin(value))
    }
}
