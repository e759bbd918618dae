//! [`Simd`]: a vector of sixteen `f32` lanes with the few operations that the floating-point kernels need, so that
//! each algorithm is written once. Every level computes on sixteen lanes (one 512-bit register, two of 256 bits, or
//! an array), with the same operations in the same order: results are bit-identical on all of them.
//!
//! A kernel is an [`Operation`]; [`Enter::enter`] runs it compiled for the level's instructions. Kernel code must
//! stay `#[inline(always)]` down to the vector operations and use loops rather than closures, since only what is
//! inlined into the entry is compiled for its instructions.
//! Integer dot products are not here: each quantised format has its own instructions.

use half::f16;

use super::Level;
use super::plain::Plain;

#[cfg(test)]
mod tests;

/// The number of lanes of a vector.
pub(crate) const LANES: usize = 16;

/// One kernel call: the arguments, and the algorithm over any vector implementation.
pub(crate) trait Operation {
    type Output;

    /// Must be marked `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Something that enters operations: a level, or in tests a vector implementation that no level stands for.
pub(crate) trait Enter: Copy + Sync {
    fn enter<O: Operation>(self, operation: O) -> O::Output;
}

impl Enter for Level {
    #[inline]
    fn enter<O: Operation>(self, operation: O) -> O::Output {
        match self {
            Level::Scalar => operation.run(Plain::<false>),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(detected) => super::avx2::run(detected, operation),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(detected) => super::avx512::run(detected, operation),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2(_) | Level::Avx512(_) => operation.run(Plain::<false>),
        }
    }
}

/// Sixteen lanes of `f32`. A value of an implementing type is the proof that its instructions exist, which is what
/// makes these methods safe. Arithmetic is IEEE 754, round to nearest even.
pub(crate) trait Simd: Copy {
    type F32: Copy;

    /// Whether there are registers for 24 accumulators of sixteen lanes, rather than for 6.
    const WIDE: bool;

    fn splat(self, value: f32) -> Self::F32;
    fn load(self, from: &[f32; LANES]) -> Self::F32;
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32;
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32;
    fn store(self, value: Self::F32, to: &mut [f32; LANES]);
    /// Rounds to nearest even; beyond the range to infinity.
    fn store_f16(self, value: Self::F32, to: &mut [f16; LANES]);

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn subtract(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn multiply(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn divide(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a · b + c, rounded once.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// a where a > b, else b: b also where either is not a number.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a where a < b, else b.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// 2 to the power k, given k + 1.5 · 2^23; zero for k = -127, infinity for k = 128.
    fn power_of_two(self, shifted: Self::F32) -> Self::F32;
    /// Lanes below `count` from `value`, the others from `other`.
    fn first_lanes(self, count: usize, value: Self::F32, other: Self::F32) -> Self::F32;
    /// Exchanges lanes 0 and 1, 2 and 3, and so on.
    fn swap_pairs(self, value: Self::F32) -> Self::F32;
    /// Adds the lanes: i and i + 8 first, then i and i + 4, i + 2, i + 1.
    fn sum(self, value: Self::F32) -> f32;
    /// The greatest lane, combined by [`Simd::max`] in the order of [`Simd::sum`].
    fn greatest(self, value: Self::F32) -> f32;

    /// Asks for the cache line at an address, which need not be valid.
    fn prefetch<T>(self, address: *const T);
}

/// 1.5 · 2^23: added to a small number, it leaves the nearest integer in the low bits.
const SHIFT: f32 = 12_582_912.0;

/// 2^x in every lane, within 2 units in the last place; 2^0 is exactly 1, and anything below -127 exactly 0.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let x = clamp(simd, x);
    let shifted = simd.add(x, simd.splat(SHIFT));
    let fraction = simd.subtract(x, simd.subtract(shifted, simd.splat(SHIFT)));
    simd.multiply(exp2_fraction(simd, fraction), simd.power_of_two(shifted))
}

/// e^x in every lane, with the same precision and limits (in powers of two) as [`exp2`].
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    // log2(e) in two parts, so that the fraction is exact even where x · log2(e) has many integer bits.
    let (high, low) = (simd.splat(std::f32::consts::LOG2_E), simd.splat(1.925_963e-8));
    let power = clamp(simd, simd.multiply(x, high));
    let shifted = simd.add(power, simd.splat(SHIFT));
    let whole = simd.subtract(shifted, simd.splat(SHIFT));
    let fraction = simd.mul_add(x, low, simd.mul_add(x, high, simd.subtract(simd.splat(0.0), whole)));
    // Where the power was cut to its limit, the fraction no longer belongs to it and could be anything.
    let fraction = simd.max(simd.splat(-0.75), simd.min(simd.splat(0.75), fraction));
    simd.multiply(exp2_fraction(simd, fraction), simd.power_of_two(shifted))
}

/// Cuts to what [`Simd::power_of_two`] takes; not-a-number passes.
#[inline(always)]
fn clamp<S: Simd>(simd: S, power: S::F32) -> S::F32 {
    simd.max(simd.splat(-127.0), simd.min(simd.splat(128.0), power))
}

/// 2^x for x within ±0.5: Chebyshev interpolation of (2^x - 1) / x, relative error below 1e-8 before rounding.
#[inline(always)]
fn exp2_fraction<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let mut sum = simd.splat(0.000_154_531_63);
    let ln_2 = std::f32::consts::LN_2;
    for coefficient in [0.001_339_086_3, 0.009_618_083, 0.055_503_57, 0.240_226_5, ln_2, 1.0] {
        sum = simd.mul_add(sum, x, simd.splat(coefficient));
    }
    sum
}

/// Reads fewer than sixteen values; the other lanes are zero.
#[inline(always)]
pub(crate) fn load_partial<S: Simd>(simd: S, from: &[f32]) -> S::F32 {
    let mut lanes = [0.0; LANES];
    lanes[..from.len()].copy_from_slice(from);
    simd.load(&lanes)
}

/// Writes the first lanes, as many as `to` holds.
#[inline(always)]
pub(crate) fn store_partial<S: Simd>(simd: S, value: S::F32, to: &mut [f32]) {
    let mut lanes = [0.0; LANES];
    simd.store(value, &mut lanes);
    to.copy_from_slice(&lanes[..to.len()]);
}
