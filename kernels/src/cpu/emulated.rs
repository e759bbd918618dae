//! The 512-bit intrinsics that the kernels for AVX-512 with VNNI are written in, as loops over lanes, each after its
//! instruction's description: for machines without those registers, in tests (feature `emulated-avx512`). The kernels
//! are then the same sources, checked for what they compute; the speed and the instructions that a compiler makes of
//! the real intrinsics are not.
//!
//! Narrower intrinsics are the real ones. One of 512 bits that is missing here does not compile, since the vectors are
//! other types. The functions need AVX2 only so that they are called as the real ones are: inside `unsafe`, or from
//! code that has the feature.
#![allow(unsafe_code, reason = "reads and writes through pointers, and reinterprets vectors of 256 bits")]
#![allow(non_camel_case_types, reason = "these are the names of the real ones")]
#![allow(clippy::missing_transmute_annotations, reason = "a vector's other form is told where it is bound")]

pub(crate) use std::arch::x86_64::*;
use std::array::from_fn;

use half::f16;

/// Sixteen floats.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct __m512([f32; 16]);

/// 512 bits, here as sixteen numbers; [`words`] sees each as two shorter ones.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct __m512i([i32; 16]);

/// A mask of sixteen lanes.
pub(crate) type __mmask16 = u16;

/// A vector of 128 or 256 bits as its numbers, or the other way round.
macro_rules! reinterpret {
    ($value:expr) => {
        // SAFETY: both types are plain numbers of the same size, of which every bit pattern is a value.
        unsafe { std::mem::transmute($value) }
    };
}

/// A lane as two 16-bit numbers, the lower one first.
fn words(lane: i32) -> [i16; 2] {
    [lane as i16, (lane >> 16) as i16]
}

fn of_words([low, high]: [i16; 2]) -> i32 {
    i32::from(low as u16) | i32::from(high) << 16
}

fn each_word(value: __m512i, change: impl Fn(i16) -> i16) -> __m512i {
    __m512i(value.0.map(|lane| of_words(words(lane).map(&change))))
}

fn floats(a: __m512, b: __m512, combine: impl Fn(f32, f32) -> f32) -> __m512 {
    __m512(from_fn(|lane| combine(a.0[lane], b.0[lane])))
}

fn integers(a: __m512i, b: __m512i, combine: impl Fn(i32, i32) -> i32) -> __m512i {
    __m512i(from_fn(|lane| combine(a.0[lane], b.0[lane])))
}

/// Declares functions that are called as intrinsics are.
macro_rules! intrinsics {
    ($(fn $name:ident $(<const $constant:ident: $kind:ty>)? ($($argument:ident: $type:ty),*) -> $result:ty $body:block)*) => {
        $(
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            pub(crate) fn $name$(<const $constant: $kind>)?($($argument: $type),*) -> $result $body
        )*
    };
}

/// # Safety
/// 64 bytes must be readable; so too below.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn _mm512_loadu_ps(from: *const f32) -> __m512 {
    // SAFETY: as the caller promises.
    __m512(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn _mm512_loadu_si512(from: *const __m512i) -> __m512i {
    // SAFETY: as the caller promises.
    __m512i(unsafe { from.cast::<[i32; 16]>().read_unaligned() })
}

/// # Safety
/// 64 bytes must be writable; so too below.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn _mm512_storeu_ps(to: *mut f32, value: __m512) {
    // SAFETY: as the caller promises.
    unsafe { to.cast::<[f32; 16]>().write_unaligned(value.0) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn _mm512_storeu_si512(to: *mut __m512i, value: __m512i) {
    // SAFETY: as the caller promises.
    unsafe { to.cast::<[i32; 16]>().write_unaligned(value.0) }
}

// One value everywhere, and the same bits under another type.
intrinsics! {
    fn _mm512_set1_ps(value: f32) -> __m512 { __m512([value; 16]) }
    fn _mm512_set1_epi32(value: i32) -> __m512i { __m512i([value; 16]) }
    fn _mm512_set1_epi16(value: i16) -> __m512i { __m512i([of_words([value; 2]); 16]) }
    fn _mm512_set1_epi8(value: i8) -> __m512i { __m512i([i32::from_ne_bytes([value as u8; 4]); 16]) }
    fn _mm512_setzero_ps() -> __m512 { __m512([0.0; 16]) }
    fn _mm512_setzero_si512() -> __m512i { __m512i([0; 16]) }
    fn _mm512_broadcast_i32x4(value: __m128i) -> __m512i {
        let four: [i32; 4] = reinterpret!(value);
        __m512i(from_fn(|lane| four[lane % 4]))
    }
    fn _mm512_castps_si512(value: __m512) -> __m512i { __m512i(value.0.map(|lane| lane.to_bits() as i32)) }
    fn _mm512_castsi512_ps(value: __m512i) -> __m512 { __m512(value.0.map(|lane| f32::from_bits(lane as u32))) }
    fn _mm512_castps512_ps256(value: __m512) -> __m256 { _mm512_extractf32x8_ps::<0>(value) }
    fn _mm512_extractf32x8_ps<const HALF: i32>(value: __m512) -> __m256 {
        const { assert!(HALF == 0 || HALF == 1) };
        let half: [f32; 8] = from_fn(|lane| value.0[8 * HALF as usize + lane]);
        reinterpret!(half)
    }
}

// Floats, lane by lane: each operation rounds once, to the nearest, ties to even.
intrinsics! {
    fn _mm512_add_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| a + b) }
    fn _mm512_sub_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| a - b) }
    fn _mm512_mul_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| a * b) }
    fn _mm512_div_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| a / b) }
    // The second operand also where either is not a number, and of two zeros.
    fn _mm512_max_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| if a > b { a } else { b }) }
    fn _mm512_min_ps(a: __m512, b: __m512) -> __m512 { floats(a, b, |a, b| if a < b { a } else { b }) }
    fn _mm512_fmadd_ps(a: __m512, b: __m512, c: __m512) -> __m512 {
        __m512(from_fn(|lane| a.0[lane].mul_add(b.0[lane], c.0[lane])))
    }
    fn _mm512_fnmadd_ps(a: __m512, b: __m512, c: __m512) -> __m512 {
        __m512(from_fn(|lane| (-a.0[lane]).mul_add(b.0[lane], c.0[lane])))
    }
    fn _mm512_mask_blend_ps(second: __mmask16, a: __m512, b: __m512) -> __m512 {
        __m512(from_fn(|lane| if second >> lane & 1 == 1 { b.0[lane] } else { a.0[lane] }))
    }
    // Two bits of the constant say where in its group of four each lane comes from.
    fn _mm512_permute_ps<const PLACES: i32>(value: __m512) -> __m512 {
        __m512(from_fn(|lane| value.0[lane / 4 * 4 + (PLACES as usize >> (2 * (lane % 4)) & 3)]))
    }
}

// Conversions.
intrinsics! {
    fn _mm512_cvtepi32_ps(value: __m512i) -> __m512 { __m512(value.0.map(|lane| lane as f32)) }
    fn _mm512_cvtepi8_epi32(value: __m128i) -> __m512i {
        let bytes: [i8; 16] = reinterpret!(value);
        __m512i(bytes.map(i32::from))
    }
    fn _mm512_cvtepi8_epi16(value: __m256i) -> __m512i {
        let bytes: [i8; 32] = reinterpret!(value);
        __m512i(from_fn(|lane| of_words([i16::from(bytes[2 * lane]), i16::from(bytes[2 * lane + 1])])))
    }
    fn _mm512_cvtepu16_epi32(value: __m256i) -> __m512i {
        let words: [u16; 16] = reinterpret!(value);
        __m512i(words.map(i32::from))
    }
    fn _mm512_cvtph_ps(value: __m256i) -> __m512 {
        let halves: [u16; 16] = reinterpret!(value);
        __m512(halves.map(|bits| f16::from_bits(bits).to_f32_const()))
    }
    fn _mm512_cvtps_ph<const ROUNDING: i32>(value: __m512) -> __m256i {
        const { assert!(ROUNDING == _MM_FROUND_TO_NEAREST_INT) };
        let halves: [u16; 16] = value.0.map(|lane| f16::from_f32_const(lane).to_bits());
        reinterpret!(halves)
    }
}

// Integers. Sums and products wrap; a shift by all of a number's bits leaves nothing.
intrinsics! {
    fn _mm512_and_si512(a: __m512i, b: __m512i) -> __m512i { integers(a, b, |a, b| a & b) }
    fn _mm512_add_epi32(a: __m512i, b: __m512i) -> __m512i { integers(a, b, i32::wrapping_add) }
    fn _mm512_mullo_epi32(a: __m512i, b: __m512i) -> __m512i { integers(a, b, i32::wrapping_mul) }
    fn _mm512_slli_epi32<const BITS: u32>(value: __m512i) -> __m512i {
        __m512i(value.0.map(|lane| lane.checked_shl(BITS).unwrap_or(0)))
    }
    fn _mm512_slli_epi16<const BITS: u32>(value: __m512i) -> __m512i {
        each_word(value, |word| word.checked_shl(BITS).unwrap_or(0))
    }
    fn _mm512_srli_epi16<const BITS: u32>(value: __m512i) -> __m512i {
        each_word(value, |word| (word as u16).checked_shr(BITS).unwrap_or(0) as i16)
    }
    // The low four bits of a byte say which of the sixteen bytes around it; with the uppermost there is none.
    fn _mm512_shuffle_epi8(value: __m512i, places: __m512i) -> __m512i {
        let bytes = |lane: usize| value.0[lane].to_le_bytes();
        let chosen = |lane: usize, place: u8| {
            let at = usize::from(place % 16);
            if place < 128 { bytes(lane / 4 * 4 + at / 4)[at % 4] } else { 0 }
        };
        let lane = |lane: usize| i32::from_le_bytes(places.0[lane].to_le_bytes().map(|place| chosen(lane, place)));
        __m512i(from_fn(lane))
    }
    // A bit of the result is the constant's bit whose number the three operands' bits make, the first one highest.
    fn _mm512_ternarylogic_epi32<const TABLE: i32>(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        let chosen = |lane: usize, row: i32| {
            let matching = |value: __m512i, bit: i32| if row >> bit & 1 == 1 { value.0[lane] } else { !value.0[lane] };
            if TABLE >> row & 1 == 1 { matching(a, 2) & matching(b, 1) & matching(c, 0) } else { 0 }
        };
        __m512i(from_fn(|lane| (0..8).fold(0, |bits, row| bits | chosen(lane, row))))
    }
    fn _mm512_madd_epi16(a: __m512i, b: __m512i) -> __m512i { _mm512_dpwssd_epi32(_mm512_setzero_si512(), a, b) }
    fn _mm512_dpwssd_epi32(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        __m512i(from_fn(|lane| {
            let pairs = words(a.0[lane]).into_iter().zip(words(b.0[lane]));
            pairs.fold(sum.0[lane], |sum, (a, b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
        }))
    }
    // Unsigned bytes of the second operand by signed ones of the third; nothing saturates.
    fn _mm512_dpbusd_epi32(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        __m512i(from_fn(|lane| {
            let pairs = a.0[lane].to_le_bytes().into_iter().zip(b.0[lane].to_le_bytes());
            pairs.fold(sum.0[lane], |sum, (a, b)| sum.wrapping_add(i32::from(a) * i32::from(b as i8)))
        }))
    }
}

// Last, since it uses the macros above.
#[cfg(test)]
mod tests;
