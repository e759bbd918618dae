//! The operations that the kernels are written in, and the three instruction sets that implement them. The algorithms
//! are written once, generic over [`Isa`]; an implementation is a page of one-liners.
//!
//! A vector has sixteen 32-bit lanes, one a row of a panel, on every instruction set: one register of AVX-512, two of
//! AVX2, an array in [`Plain`]. An integer lane is also seen as four bytes (4 columns of a step) or as two 16-bit
//! numbers. All integer results are exact, and float operations are the same sequence of correctly rounded ones, so
//! the implementations agree in every bit.
#![allow(unsafe_code, reason = "reads panels through pointers")]

use crate::cpu::Level;

/// The sizes of tiles; each is compiled, so they are few, and tiles that fall between two are padded.
macro_rules! tile_sizes {
    (direct: [$($direct:literal),*], unpacked: [$($unpacked:literal),*]) => {
        const DIRECT: &'static [usize] = &[$($direct),*];
        const UNPACKED: &'static [usize] = &[$($unpacked),*];

        #[inline(always)]
        fn enter_direct<K: TileKernel>(self, tokens: usize, kernel: K) {
            match tokens {
                $($direct => self.enter(Sized::<K, $direct>(kernel)),)*
                _ => unreachable!("tiles are padded to one of the sizes"),
            }
        }

        #[inline(always)]
        fn enter_unpacked<K: TileKernel>(self, tokens: usize, kernel: K) {
            match tokens {
                $($unpacked => self.enter(Sized::<K, $unpacked>(kernel)),)*
                _ => unreachable!("tiles are padded to one of the sizes"),
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use plain::Plain;

/// Work that is compiled once for every instruction set. Its `run` and all that it calls must be inlined, so that it
/// takes on the features of [`Isa::enter`].
pub(super) trait Kernel {
    fn run<I: Isa>(self, isa: I);
}

/// Work on a tile of a number of tokens that is known when it is compiled.
pub(super) trait TileKernel {
    fn run<I: Isa, const TOKENS: usize>(self, isa: I);
}

/// A tile kernel for a number of tokens.
pub(super) struct Sized<K, const TOKENS: usize>(K);

impl<K: TileKernel, const TOKENS: usize> Kernel for Sized<K, TOKENS> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.0.run::<I, TOKENS>(isa);
    }
}

/// Runs `kernel` compiled for `level`.
pub(super) fn enter<K: Kernel>(level: Level, kernel: K) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(isa) = Avx512::new(level) {
            return isa.enter(kernel);
        }
        if let Some(isa) = Avx2::new(level) {
            return isa.enter(kernel);
        }
    }
    let _ = level;
    Plain.enter(kernel);
}

/// An instruction set; holding a value is the proof that the processor has it.
pub(super) trait Isa: Copy + Send + Sync {
    /// Sixteen lanes of 32 bits.
    type Int: Copy;
    /// Sixteen floats.
    type Float: Copy;

    /// Panels that a tile of a large product covers.
    const PANELS: usize;
    /// Tokens that tiles on packed panels can have, ascending: products of up to the last one read panels as they are.
    const DIRECT: &'static [usize];
    /// Tokens that tiles on unpacked panels can have, ascending, all of them among [`Self::DIRECT`].
    const UNPACKED: &'static [usize];
    /// Whether [`Self::dot`] keeps two 16-bit sums a lane: it then takes 16 products of 5 bits before
    /// [`Self::total`], or 32 of 4 bits, or centred ones as [`Self::centre`] says.
    const SHORT_SUMS: bool;

    /// Runs `kernel` compiled for this instruction set.
    fn enter<K: Kernel>(self, kernel: K);

    /// Runs `kernel` on packed panels, for a tile of one of the sizes of [`Self::DIRECT`].
    fn enter_direct<K: TileKernel>(self, tokens: usize, kernel: K);

    /// Runs `kernel` on unpacked panels, for a tile of one of the sizes of [`Self::UNPACKED`].
    fn enter_unpacked<K: TileKernel>(self, tokens: usize, kernel: K);

    /// 64 bytes.
    ///
    /// # Safety
    /// They must be readable. So too for the other loads, each for the bytes it names.
    unsafe fn load(self, from: *const u8) -> Self::Int;
    /// One 4-byte number in every lane.
    unsafe fn splat(self, from: *const i32) -> Self::Int;
    /// 16 signed bytes as multipliers for [`Self::add_scaled`].
    unsafe fn load_scales(self, from: *const u8) -> Self::Int;
    /// 32 signed bytes, two a lane, as 16-bit numbers.
    unsafe fn load_pairs(self, from: *const u8) -> Self::Int;
    /// Writes 64 bytes, which must be writable.
    unsafe fn store(self, to: *mut u8, value: Self::Int);
    /// 16 floats, 64 bytes.
    unsafe fn load_floats(self, from: *const f32) -> Self::Float;
    /// 16 half-precision floats, 32 bytes.
    unsafe fn load_halves(self, from: *const u8) -> Self::Float;
    /// 16 upper halves of floats, 32 bytes.
    unsafe fn load_upper_halves(self, from: *const u8) -> Self::Float;
    /// One float in every lane.
    unsafe fn splat_float(self, from: *const f32) -> Self::Float;
    /// Writes 16 floats, 64 writable bytes.
    unsafe fn store_floats(self, to: *mut f32, value: Self::Float);
    /// Asks for the line at an address, which need not be valid.
    fn prefetch(self, at: *const u8);

    /// Zero in every lane.
    fn zero(self) -> Self::Int;
    /// Zero in every lane.
    fn zero_float(self) -> Self::Float;
    /// The low four bits of each byte.
    fn low_nibbles(self, bytes: Self::Int) -> Self::Int;
    /// The high four bits of each byte, moved down.
    fn high_nibbles(self, bytes: Self::Int) -> Self::Int;
    /// The numbers of `table` that the bytes of `codes`, each below 16, name.
    fn look_up(self, codes: Self::Int, table: &[u8; 16]) -> Self::Int;
    /// `low` with the bits of `plane` under `mask`, once they are moved up by four.
    fn with_low_bits(self, low: Self::Int, plane: Self::Int, mask: u8) -> Self::Int;
    /// `low` with the bits of `plane` under `mask`.
    fn with_high_bits(self, low: Self::Int, plane: Self::Int, mask: u8) -> Self::Int;
    /// The bytes' bits moved down by `BITS`; the upper ones become anything.
    fn move_down<const BITS: u32>(self, bytes: Self::Int) -> Self::Int;

    /// Where [`Self::dot`] starts for values centred on `offset` (a power of two): `negated` holds, in every lane, minus
    /// the sums of the activations that the lane's first two bytes, and its last two, are going to meet. Takes 32
    /// products of 5 bits, or 16 of 6.
    fn centre(self, negated: Self::Int, offset: i16) -> Self::Int;
    /// Adds the products of unsigned bytes (of at most 6 bits) and signed ones.
    fn dot(self, sum: Self::Int, weights: Self::Int, x: Self::Int) -> Self::Int;
    /// The 32-bit sums of what `dot` added.
    fn total(self, sum: Self::Int) -> Self::Int;
    /// `total` plus `scales` times the sums of what `dot` added.
    fn add_scaled(self, total: Self::Int, sum: Self::Int, scales: Self::Int) -> Self::Int;

    /// Bytes centred on 128 in the form that [`Self::dot_wide`] takes.
    fn prepare_wide(self, bytes: Self::Int) -> Self::Int;
    /// Where `dot_wide` starts; `negated` as for [`Self::centre`].
    fn centre_wide(self, negated: Self::Int) -> Self::Int;
    /// Adds the products of prepared bytes and signed ones, none of which is -128, to 32-bit sums.
    fn dot_wide(self, sum: Self::Int, weights: Self::Int, x: Self::Int) -> Self::Int;

    /// 32-bit sums.
    fn add(self, a: Self::Int, b: Self::Int) -> Self::Int;
    /// `total` plus the products of both 16-bit halves of the lanes.
    fn add_pairs(self, total: Self::Int, a: Self::Int, b: Self::Int) -> Self::Int;

    /// 32-bit numbers as floats, rounded to the nearest.
    fn to_float(self, value: Self::Int) -> Self::Float;
    fn add_float(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn multiply(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    fn multiply_add(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// `c - a * b`, rounded once.
    fn multiply_subtract(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;

    /// The same value, in registers at this point: without such points the compiler regroups the sums of a whole
    /// block and moves their operands to the stack.
    fn pin(self, value: Self::Int) -> Self::Int;
}
