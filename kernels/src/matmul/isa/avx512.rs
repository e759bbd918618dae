//! [`Isa`] on AVX-512 with VNNI: one register a vector, four products a lane and instruction.
#![allow(unsafe_code, reason = "every operation is an instruction that the processor is known to have")]

use super::{Isa, Kernel, Sized, TileKernel};
use crate::cpu::Level;
use crate::cpu::intrinsics::*;

/// Proof of AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(in crate::matmul) struct Avx512(());

impl Avx512 {
    /// Present at the level of that name.
    pub(in crate::matmul) fn new(level: Level) -> Option<Avx512> {
        matches!(level, Level::Avx512(_)).then_some(Avx512(()))
    }
}

/// The body of an operation: instructions of the features that an [`Avx512`] value proves.
macro_rules! op {
    ($body:expr) => {
        // SAFETY: the processor has the features; pointers are as the operation's caller promises.
        unsafe { $body }
    };
}

#[cfg(not(feature = "emulated-avx512"))]
#[inline]
#[target_feature(enable = "avx512f")]
fn pin(mut value: __m512i) -> __m512i {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(zmm_reg) value, options(nostack, preserves_flags)) };
    value
}

/// There is no register to keep an emulated vector in.
#[cfg(feature = "emulated-avx512")]
#[inline]
#[target_feature(enable = "avx2")]
fn pin(value: __m512i) -> __m512i {
    value
}

impl Isa for Avx512 {
    type Int = __m512i;
    type Float = __m512;

    const PANELS: usize = 2;
    const SHORT_SUMS: bool = false;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[cfg_attr(
            not(feature = "emulated-avx512"),
            target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
        )]
        fn inner<K: Kernel>(isa: Avx512, kernel: K) {
            kernel.run(isa);
        }
        op!(inner(self, kernel))
    }

    tile_sizes! { direct: [1, 2, 4, 6, 8], unpacked: [2, 4, 6] }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> __m512i {
        op!(_mm512_loadu_si512(from.cast()))
    }
    #[inline(always)]
    unsafe fn splat(self, from: *const i32) -> __m512i {
        op!(_mm512_set1_epi32(from.read_unaligned()))
    }
    #[inline(always)]
    unsafe fn load_scales(self, from: *const u8) -> __m512i {
        op!(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const u8) -> __m512i {
        op!(_mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8, value: __m512i) {
        op!(_mm512_storeu_si512(to.cast(), value))
    }
    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> __m512 {
        op!(_mm512_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn load_halves(self, from: *const u8) -> __m512 {
        op!(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast())))
    }
    #[inline(always)]
    unsafe fn load_upper_halves(self, from: *const u8) -> __m512 {
        op!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
            from.cast()
        )))))
    }
    #[inline(always)]
    unsafe fn splat_float(self, from: *const f32) -> __m512 {
        op!(_mm512_set1_ps(from.read_unaligned()))
    }
    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, value: __m512) {
        op!(_mm512_storeu_ps(to, value))
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        op!(_mm_prefetch::<_MM_HINT_T0>(at.cast()))
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        op!(_mm512_setzero_si512())
    }
    #[inline(always)]
    fn zero_float(self) -> __m512 {
        op!(_mm512_setzero_ps())
    }
    #[inline(always)]
    fn low_nibbles(self, bytes: __m512i) -> __m512i {
        op!(_mm512_and_si512(bytes, _mm512_set1_epi8(0xF)))
    }
    #[inline(always)]
    fn high_nibbles(self, bytes: __m512i) -> __m512i {
        op!(_mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(0xF)))
    }
    #[inline(always)]
    fn look_up(self, codes: __m512i, table: &[u8; 16]) -> __m512i {
        op!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), codes))
    }
    #[inline(always)]
    fn with_low_bits(self, low: __m512i, plane: __m512i, mask: u8) -> __m512i {
        self.with_high_bits(low, op!(_mm512_slli_epi16::<4>(plane)), mask)
    }
    #[inline(always)]
    fn with_high_bits(self, low: __m512i, plane: __m512i, mask: u8) -> __m512i {
        // Truth table 0xF8: low | (plane & mask).
        op!(_mm512_ternarylogic_epi32::<0xF8>(low, plane, _mm512_set1_epi8(mask as i8)))
    }
    #[inline(always)]
    fn move_down<const BITS: u32>(self, bytes: __m512i) -> __m512i {
        op!(_mm512_srli_epi16::<BITS>(bytes))
    }

    #[inline(always)]
    fn centre(self, negated: __m512i, offset: i16) -> __m512i {
        op!(_mm512_madd_epi16(negated, _mm512_set1_epi16(offset)))
    }
    #[inline(always)]
    fn dot(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        op!(_mm512_dpbusd_epi32(sum, weights, x))
    }
    #[inline(always)]
    fn total(self, sum: __m512i) -> __m512i {
        sum
    }
    #[inline(always)]
    fn add_scaled(self, total: __m512i, sum: __m512i, scales: __m512i) -> __m512i {
        op!(_mm512_add_epi32(total, _mm512_mullo_epi32(sum, scales)))
    }

    #[inline(always)]
    fn prepare_wide(self, bytes: __m512i) -> __m512i {
        bytes
    }
    #[inline(always)]
    fn centre_wide(self, negated: __m512i) -> __m512i {
        self.centre(negated, 128)
    }
    #[inline(always)]
    fn dot_wide(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        self.dot(sum, weights, x)
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn add_pairs(self, total: __m512i, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_dpwssd_epi32(total, a, b))
    }

    #[inline(always)]
    fn to_float(self, value: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(value))
    }
    #[inline(always)]
    fn add_float(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn multiply_subtract(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn pin(self, value: __m512i) -> __m512i {
        op!(pin(value))
    }
}
