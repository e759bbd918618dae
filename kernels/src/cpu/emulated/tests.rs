//! Each emulated intrinsic beside this processor's own of 256 bits, on both halves of random vectors. What AVX2 has
//! not (VNNI, masks, ternary logic) is put together from what it has, in another way than the emulation does.

#![allow(unused_unsafe, reason = "a macro says `unsafe` for where nothing around it does")]

use super::*;
use crate::cpu::Level;

/// 512 bits as a test makes and compares them.
type Bits = [u32; 16];

/// Vectors that look random; every third one is of the floats and integers at which operations differ.
fn vectors(count: usize) -> Vec<Bits> {
    const SPECIAL: [f32; 15] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -f32::MIN_POSITIVE,
        f32::MAX,
        65504.0,
        65520.0,
        -65519.996,
        6.0e-8,
        2.980_232_2e-8,
        1.000_488_3,
        16_777_217.0,
    ];
    const EXTREMES: [u32; 6] = [0x8000_8000, 0x8080_8080, 0x7fff_ffff, 0xffff_ffff, 0x7f7f_7f7f, 0x8000_0000];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut lane = |kind: usize| match (kind, next()) {
        (0, bits) => bits,
        // Numbers of everyday size, half of them within the range of half precision.
        (1, bits) => (bits as i32 as f32 / 30_000.0).to_bits(),
        (_, bits) if bits % 4 == 0 => EXTREMES[(bits >> 8) as usize % EXTREMES.len()],
        (_, bits) => SPECIAL[(bits >> 8) as usize % SPECIAL.len()].to_bits(),
    };
    (0..count).map(|number| from_fn(|_| lane(number % 3))).collect()
}

fn float(bits: Bits) -> __m512 {
    __m512(bits.map(f32::from_bits))
}

fn integer(bits: Bits) -> __m512i {
    __m512i(bits.map(|lane| lane as i32))
}

/// The halves of a vector as real ones.
fn halves(bits: Bits) -> [__m256i; 2] {
    reinterpret!(bits)
}

fn float_halves(bits: Bits) -> [__m256; 2] {
    reinterpret!(bits)
}

/// Fails unless they are the same; one not-a-number is as good as another.
#[track_caller]
fn same_floats(found: __m512, expected: [__m256; 2], what: &str) {
    let expected: [f32; 16] = reinterpret!(expected);
    for (lane, (found, expected)) in found.0.into_iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{what}: lane {lane} is {found:e}, not {expected:e}");
    }
}

#[track_caller]
fn same(found: __m512i, expected: [__m256i; 2], what: &str) {
    let expected: [i32; 16] = reinterpret!(expected);
    assert_eq!(found.0, expected, "{what}");
}

/// Calls `check` for many vectors, where there is AVX2 to compare with.
fn for_each(check: impl Fn([Bits; 3])) {
    assert!(Level::available().len() > 1, "these tests are for a processor with AVX2");
    let vectors = vectors(3_001);
    for (number, &a) in vectors.iter().enumerate() {
        // Other strides than the three kinds', so that each kind meets each.
        check([a, vectors[(number * 7 + 1) % vectors.len()], vectors[(number * 11 + 2) % vectors.len()]]);
    }
}

/// Compares an intrinsic of vectors with its shorter namesake.
macro_rules! floats_agree {
    ($wide:ident, $narrow:ident, $($operand:literal),+) => {
        // SAFETY: `for_each` has found AVX2.
        for_each(|operands| unsafe {
            let expected = from_fn(|half| $narrow($(float_halves(operands[$operand])[half]),+));
            same_floats($wide($(float(operands[$operand])),+), expected, stringify!($wide));
        })
    };
}

macro_rules! integers_agree {
    ($wide:expr, $narrow:expr, $($operand:literal),+) => {
        // SAFETY: `for_each` has found AVX2.
        for_each(|operands| unsafe {
            let expected = from_fn(|half| $narrow($(halves(operands[$operand])[half]),+));
            same($wide($(integer(operands[$operand])),+), expected, stringify!($wide));
        })
    };
}

#[test]
fn the_widest_level_is_the_emulated_one() {
    assert_eq!(Level::available().len(), 3);
    assert_eq!(Level::detect().name(), "avx512-vnni, emulated");
}

#[test]
fn arithmetic_on_floats() {
    floats_agree!(_mm512_add_ps, _mm256_add_ps, 0, 1);
    floats_agree!(_mm512_sub_ps, _mm256_sub_ps, 0, 1);
    floats_agree!(_mm512_mul_ps, _mm256_mul_ps, 0, 1);
    floats_agree!(_mm512_div_ps, _mm256_div_ps, 0, 1);
    floats_agree!(_mm512_max_ps, _mm256_max_ps, 0, 1);
    floats_agree!(_mm512_min_ps, _mm256_min_ps, 0, 1);
    floats_agree!(_mm512_fmadd_ps, _mm256_fmadd_ps, 0, 1, 2);
    floats_agree!(_mm512_fnmadd_ps, _mm256_fnmadd_ps, 0, 1, 2);
}

#[test]
fn arithmetic_on_integers() {
    integers_agree!(_mm512_and_si512, _mm256_and_si256, 0, 1);
    integers_agree!(_mm512_shuffle_epi8, _mm256_shuffle_epi8, 0, 1);
    integers_agree!(_mm512_add_epi32, _mm256_add_epi32, 0, 1);
    integers_agree!(_mm512_mullo_epi32, _mm256_mullo_epi32, 0, 1);
    integers_agree!(_mm512_madd_epi16, _mm256_madd_epi16, 0, 1);
    integers_agree!(_mm512_dpwssd_epi32, |a, b, c| _mm256_add_epi32(a, _mm256_madd_epi16(b, c)), 0, 1, 2);
}

#[test]
fn shifts() {
    integers_agree!(_mm512_slli_epi32::<16>, _mm256_slli_epi32::<16>, 0);
    integers_agree!(_mm512_slli_epi32::<23>, _mm256_slli_epi32::<23>, 0);
    integers_agree!(_mm512_slli_epi32::<32>, _mm256_slli_epi32::<32>, 0);
    integers_agree!(_mm512_slli_epi16::<4>, _mm256_slli_epi16::<4>, 0);
    integers_agree!(_mm512_slli_epi16::<16>, _mm256_slli_epi16::<16>, 0);
    integers_agree!(_mm512_srli_epi16::<1>, _mm256_srli_epi16::<1>, 0);
    integers_agree!(_mm512_srli_epi16::<4>, _mm256_srli_epi16::<4>, 0);
    integers_agree!(_mm512_srli_epi16::<16>, _mm256_srli_epi16::<16>, 0);
}

#[test]
fn products_of_bytes_are_summed_in_full() {
    /// Each byte widened, so that no sum of two saturates; two sums to a lane, added across.
    #[target_feature(enable = "avx2")]
    fn products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let half = |a, b| _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(b));
        let low = half(_mm256_castsi256_si128(a), _mm256_castsi256_si128(b));
        let high = half(_mm256_extracti128_si256::<1>(a), _mm256_extracti128_si256::<1>(b));
        // The horizontal sum takes turns between its operands, two lanes each.
        let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
        _mm256_add_epi32(sum, pairs)
    }
    integers_agree!(_mm512_dpbusd_epi32, products, 0, 1, 2);
    // By hand: four times 255 * -128, far below what 16 bits hold.
    // SAFETY: the comparison has found AVX2.
    let sum =
        unsafe { _mm512_dpbusd_epi32(_mm512_set1_epi32(7), _mm512_set1_epi8(-1), _mm512_set1_epi8(-128)) };
    assert_eq!(sum.0, [7 - 4 * 255 * 128; 16]);
}

#[test]
fn logic_of_three_follows_its_table() {
    integers_agree!(
        _mm512_ternarylogic_epi32::<0xF8>,
        |a, b, c| _mm256_or_si256(a, _mm256_and_si256(b, c)),
        0,
        1,
        2
    );
    integers_agree!(
        _mm512_ternarylogic_epi32::<0x96>,
        |a, b, c| _mm256_xor_si256(a, _mm256_xor_si256(b, c)),
        0,
        1,
        2
    );
    // Not a, and b or c.
    integers_agree!(
        _mm512_ternarylogic_epi32::<0x0E>,
        |a, b, c| _mm256_andnot_si256(a, _mm256_or_si256(b, c)),
        0,
        1,
        2
    );
}

#[test]
fn conversions() {
    // SAFETY: `for_each` has found AVX2, FMA and F16C.
    for_each(|[a, _, _]| unsafe {
        let [first, _] = halves(a);
        let quarters: [__m128i; 4] = reinterpret!(a);
        same_floats(
            _mm512_cvtepi32_ps(integer(a)),
            halves(a).map(|half| _mm256_cvtepi32_ps(half)),
            "cvtepi32_ps",
        );
        let bytes = [quarters[0], _mm_srli_si128::<8>(quarters[0])].map(|half| _mm256_cvtepi8_epi32(half));
        same(_mm512_cvtepi8_epi32(quarters[0]), bytes, "cvtepi8_epi32");
        let [low, high] = [quarters[0], quarters[1]];
        same(
            _mm512_cvtepi8_epi16(first),
            [low, high].map(|half| _mm256_cvtepi8_epi16(half)),
            "cvtepi8_epi16",
        );
        same(
            _mm512_cvtepu16_epi32(first),
            [low, high].map(|half| _mm256_cvtepu16_epi32(half)),
            "cvtepu16_epi32",
        );
        same_floats(_mm512_cvtph_ps(first), [low, high].map(|half| _mm256_cvtph_ps(half)), "cvtph_ps");

        let found: [u16; 16] = reinterpret!(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(float(a)));
        let expected: [u16; 16] =
            reinterpret!(float_halves(a).map(|half| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(half)));
        let plain = |bits: u16| if f16::from_bits(bits).is_nan() { f16::NAN.to_bits() } else { bits };
        assert_eq!(found.map(plain), expected.map(plain), "cvtps_ph of {a:x?}");
    });
}

#[test]
fn every_half_precision_number_is_read_as_the_processor_reads_it() {
    // SAFETY: `for_each` would find AVX2, FMA and F16C; this one asks itself.
    assert!(Level::available().len() > 1);
    for first in (0..=u16::MAX).step_by(16) {
        let numbers: [u16; 16] = from_fn(|lane| first + lane as u16);
        let quarters: [__m128i; 2] = reinterpret!(numbers);
        // SAFETY: as above.
        let (found, expected) =
            unsafe { (_mm512_cvtph_ps(reinterpret!(numbers)), quarters.map(|half| _mm256_cvtph_ps(half))) };
        same_floats(found, expected, "cvtph_ps");
    }
}

#[test]
fn moves() {
    // SAFETY: `for_each` has found AVX2.
    for_each(|[a, b, c]| unsafe {
        same_floats(
            _mm512_permute_ps::<0b10_11_00_01>(float(a)),
            float_halves(a).map(|half| _mm256_permute_ps::<0b10_11_00_01>(half)),
            "permute_ps",
        );
        same_floats(
            _mm512_permute_ps::<0b01_00_10_11>(float(a)),
            float_halves(a).map(|half| _mm256_permute_ps::<0b01_00_10_11>(half)),
            "permute_ps",
        );
        let parts = [_mm512_castps512_ps256(float(a)), _mm512_extractf32x8_ps::<1>(float(a))];
        same_floats(float(a), parts, "castps512_ps256, extractf32x8_ps");
        let [mask, one] = [c[0] as u16, 1_u16];
        let chosen: Bits = from_fn(|lane| if mask & one << lane != 0 { b[lane] } else { a[lane] });
        same_floats(_mm512_mask_blend_ps(mask, float(a), float(b)), float_halves(chosen), "mask_blend_ps");
        same(_mm512_castps_si512(float(a)), halves(a), "castps_si512");
        same_floats(_mm512_castsi512_ps(integer(a)), float_halves(a), "castsi512_ps");

        let mut place = [0_u32; 17];
        _mm512_storeu_ps(place.as_mut_ptr().add(1).cast(), _mm512_loadu_ps(a.as_ptr().cast()));
        assert_eq!(place[1..], a, "loadu_ps, storeu_ps");
        _mm512_storeu_si512(place.as_mut_ptr().cast(), _mm512_loadu_si512(b.as_ptr().cast()));
        assert_eq!((&place[..16], place[16]), (&b[..], a[15]), "loadu_si512, storeu_si512");
    });
}

#[test]
fn one_value_everywhere() {
    // SAFETY: `for_each` has found AVX2.
    for_each(|[a, _, _]| unsafe {
        let value = a[0];
        same(_mm512_set1_epi32(value as i32), [_mm256_set1_epi32(value as i32); 2], "set1_epi32");
        same(_mm512_set1_epi16(value as i16), [_mm256_set1_epi16(value as i16); 2], "set1_epi16");
        same(_mm512_set1_epi8(value as i8), [_mm256_set1_epi8(value as i8); 2], "set1_epi8");
        let value = f32::from_bits(value);
        same_floats(_mm512_set1_ps(value), [_mm256_set1_ps(value); 2], "set1_ps");
        same(_mm512_setzero_si512(), [_mm256_setzero_si256(); 2], "setzero_si512");
        same_floats(_mm512_setzero_ps(), [_mm256_setzero_ps(); 2], "setzero_ps");
    });
}
