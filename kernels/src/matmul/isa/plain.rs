//! [`Isa`] on arrays: runs everywhere, and says what each operation means. It sums in 32 bits and tiles as AVX-512
//! does, so that it also checks the algorithm of that instruction set on processors without it. Operations are calls:
//! inlined and unrolled, these kernels would be most of the program.
#![allow(unsafe_code, reason = "reads panels through pointers")]

use half::{bf16, f16};

use super::{Isa, Kernel, Sized, TileKernel};

/// Plain Rust.
#[derive(Clone, Copy)]
pub(in crate::matmul) struct Plain;

type Lanes<T> = [T; 16];

fn lanes<T>(lane: impl FnMut(usize) -> T) -> Lanes<T> {
    std::array::from_fn(lane)
}

fn per_byte(value: Lanes<i32>, byte: impl Fn(u8) -> u8) -> Lanes<i32> {
    value.map(|lane| i32::from_le_bytes(lane.to_le_bytes().map(&byte)))
}

fn halves(lane: i32) -> [i32; 2] {
    [i32::from(lane as i16), lane >> 16]
}

fn read<const N: usize>(from: *const u8) -> [u8; N] {
    // SAFETY: the callers pass on what their own callers promised: N readable bytes.
    unsafe { from.cast::<[u8; N]>().read_unaligned() }
}

impl Isa for Plain {
    type Int = Lanes<i32>;
    type Float = Lanes<f32>;

    const PANELS: usize = 2;
    const SHORT_SUMS: bool = false;

    fn enter<K: Kernel>(self, kernel: K) {
        kernel.run(self);
    }

    tile_sizes! { direct: [1, 2], unpacked: [2] }

    #[inline(never)]
    unsafe fn load(self, from: *const u8) -> Lanes<i32> {
        let bytes = read::<64>(from);
        lanes(|lane| i32::from_le_bytes(bytes.as_chunks().0[lane]))
    }
    #[inline(never)]
    unsafe fn splat(self, from: *const i32) -> Lanes<i32> {
        [i32::from_le_bytes(read(from.cast())); 16]
    }
    #[inline(never)]
    unsafe fn load_scales(self, from: *const u8) -> Lanes<i32> {
        read::<16>(from).map(|scale| i32::from(scale as i8))
    }
    #[inline(never)]
    unsafe fn load_pairs(self, from: *const u8) -> Lanes<i32> {
        let bytes = read::<32>(from);
        lanes(|lane| {
            let [first, second] = [bytes[2 * lane], bytes[2 * lane + 1]].map(|byte| i16::from(byte as i8));
            i32::from(second) << 16 | i32::from(first as u16)
        })
    }
    #[inline(never)]
    unsafe fn store(self, to: *mut u8, value: Lanes<i32>) {
        // SAFETY: the caller promises 64 writable bytes.
        unsafe { to.cast::<Lanes<i32>>().write_unaligned(value) }
    }
    unsafe fn load_floats(self, from: *const f32) -> Lanes<f32> {
        let bytes = read::<64>(from.cast());
        lanes(|lane| f32::from_le_bytes(bytes.as_chunks().0[lane]))
    }
    #[inline(never)]
    unsafe fn load_halves(self, from: *const u8) -> Lanes<f32> {
        let bytes = read::<32>(from);
        lanes(|lane| f16::from_le_bytes(bytes.as_chunks().0[lane]).to_f32())
    }
    #[inline(never)]
    unsafe fn load_upper_halves(self, from: *const u8) -> Lanes<f32> {
        let bytes = read::<32>(from);
        lanes(|lane| bf16::from_le_bytes(bytes.as_chunks().0[lane]).to_f32())
    }
    unsafe fn splat_float(self, from: *const f32) -> Lanes<f32> {
        [f32::from_le_bytes(read(from.cast())); 16]
    }
    unsafe fn store_floats(self, to: *mut f32, value: Lanes<f32>) {
        // SAFETY: the caller promises 64 writable bytes.
        unsafe { to.cast::<Lanes<f32>>().write_unaligned(value) }
    }
    fn prefetch(self, _: *const u8) {}

    fn zero(self) -> Lanes<i32> {
        [0; 16]
    }
    fn zero_float(self) -> Lanes<f32> {
        [0.0; 16]
    }
    #[inline(never)]
    fn low_nibbles(self, bytes: Lanes<i32>) -> Lanes<i32> {
        per_byte(bytes, |byte| byte & 0xF)
    }
    #[inline(never)]
    fn high_nibbles(self, bytes: Lanes<i32>) -> Lanes<i32> {
        per_byte(bytes, |byte| byte >> 4)
    }
    #[inline(never)]
    fn look_up(self, codes: Lanes<i32>, table: &[u8; 16]) -> Lanes<i32> {
        per_byte(codes, |code| table[usize::from(code) % 16])
    }
    #[inline(never)]
    fn with_low_bits(self, low: Lanes<i32>, plane: Lanes<i32>, mask: u8) -> Lanes<i32> {
        let high = per_byte(plane, |byte| byte << 4 & mask);
        lanes(|lane| low[lane] | high[lane])
    }
    #[inline(never)]
    fn with_high_bits(self, low: Lanes<i32>, plane: Lanes<i32>, mask: u8) -> Lanes<i32> {
        let high = per_byte(plane, |byte| byte & mask);
        lanes(|lane| low[lane] | high[lane])
    }
    #[inline(never)]
    fn move_down<const BITS: u32>(self, bytes: Lanes<i32>) -> Lanes<i32> {
        per_byte(bytes, |byte| byte >> BITS)
    }

    #[inline(never)]
    fn centre(self, negated: Lanes<i32>, offset: i16) -> Lanes<i32> {
        negated.map(|lane| halves(lane).iter().sum::<i32>() * i32::from(offset))
    }
    #[inline(never)]
    fn dot(self, sum: Lanes<i32>, weights: Lanes<i32>, x: Lanes<i32>) -> Lanes<i32> {
        lanes(|lane| {
            let (weights, x) = (weights[lane].to_le_bytes(), x[lane].to_le_bytes());
            let products = weights.iter().zip(x).map(|(&weight, x)| i32::from(weight) * i32::from(x as i8));
            sum[lane] + products.sum::<i32>()
        })
    }
    fn total(self, sum: Lanes<i32>) -> Lanes<i32> {
        sum
    }
    #[inline(never)]
    fn add_scaled(self, total: Lanes<i32>, sum: Lanes<i32>, scales: Lanes<i32>) -> Lanes<i32> {
        lanes(|lane| total[lane] + sum[lane] * scales[lane])
    }

    fn prepare_wide(self, bytes: Lanes<i32>) -> Lanes<i32> {
        bytes
    }
    fn centre_wide(self, negated: Lanes<i32>) -> Lanes<i32> {
        self.centre(negated, 128)
    }
    fn dot_wide(self, sum: Lanes<i32>, weights: Lanes<i32>, x: Lanes<i32>) -> Lanes<i32> {
        self.dot(sum, weights, x)
    }

    #[inline(never)]
    fn add(self, a: Lanes<i32>, b: Lanes<i32>) -> Lanes<i32> {
        lanes(|lane| a[lane] + b[lane])
    }
    #[inline(never)]
    fn add_pairs(self, total: Lanes<i32>, a: Lanes<i32>, b: Lanes<i32>) -> Lanes<i32> {
        lanes(|lane| {
            let ([a, c], [b, d]) = (halves(a[lane]), halves(b[lane]));
            total[lane] + a * b + c * d
        })
    }

    #[inline(never)]
    fn to_float(self, value: Lanes<i32>) -> Lanes<f32> {
        value.map(|lane| lane as f32)
    }
    #[inline(never)]
    fn add_float(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        lanes(|lane| a[lane] + b[lane])
    }
    #[inline(never)]
    fn multiply(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        lanes(|lane| a[lane] * b[lane])
    }
    #[inline(never)]
    fn multiply_add(self, a: Lanes<f32>, b: Lanes<f32>, c: Lanes<f32>) -> Lanes<f32> {
        lanes(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(never)]
    fn multiply_subtract(self, a: Lanes<f32>, b: Lanes<f32>, c: Lanes<f32>) -> Lanes<f32> {
        lanes(|lane| (-a[lane]).mul_add(b[lane], c[lane]))
    }

    fn pin(self, value: Lanes<i32>) -> Lanes<i32> {
        value
    }
}
