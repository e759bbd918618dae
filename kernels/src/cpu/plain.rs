//! The vector of [`super::simd`] as a plain array: the reference that the others are compared with, and what runs
//! where there is nothing better. `WIDE` lets tests walk the loops meant for 32 wide registers on any machine.

use half::f16;

use super::simd::{LANES, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Plain<const WIDE: bool>;

/// Applies an expression to each lane.
macro_rules! lanes {
    ($lane:ident => $value:expr) => {{
        let mut lanes = [0.0; LANES];
        for $lane in 0..LANES {
            lanes[$lane] = $value;
        }
        lanes
    }};
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl<const IS_WIDE: bool> Simd for Plain<IS_WIDE> {
    type F32 = [f32; LANES];

    const WIDE: bool = IS_WIDE;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        *from
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32 {
        lanes!(lane => from[lane].to_f32())
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32 {
        lanes!(lane => f32::from(from[lane]))
    }

    #[inline(always)]
    fn store(self, value: Self::F32, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn store_f16(self, value: Self::F32, to: &mut [f16; LANES]) {
        for (to, value) in to.iter_mut().zip(value) {
            *to = f16::from_f32(value);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => a[lane] + b[lane])
    }

    #[inline(always)]
    fn subtract(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => a[lane] - b[lane])
    }

    #[inline(always)]
    fn multiply(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => a[lane] * b[lane])
    }

    #[inline(always)]
    fn divide(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => a[lane] / b[lane])
    }

    // Without an instruction for it, it is sixteen calls: inlining them into unrolled loops only grows the code.
    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        lanes!(lane => a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => greater(a[lane], b[lane]))
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        lanes!(lane => if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    fn power_of_two(self, shifted: Self::F32) -> Self::F32 {
        lanes!(lane => f32::from_bits((shifted[lane].to_bits() << 23).wrapping_add(0x3f80_0000)))
    }

    #[inline(always)]
    fn first_lanes(self, count: usize, value: Self::F32, other: Self::F32) -> Self::F32 {
        lanes!(lane => if lane < count { value[lane] } else { other[lane] })
    }

    #[inline(always)]
    fn swap_pairs(self, value: Self::F32) -> Self::F32 {
        lanes!(lane => value[lane ^ 1])
    }

    #[inline(always)]
    fn sum(self, mut value: Self::F32) -> f32 {
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                value[lane] += value[lane + width];
            }
        }
        value[0]
    }

    #[inline(always)]
    fn greatest(self, mut value: Self::F32) -> f32 {
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                value[lane] = greater(value[lane], value[lane + width]);
            }
        }
        value[0]
    }

    #[inline(always)]
    fn prefetch<T>(self, _address: *const T) {}
}
