//! Derives what the kernels read from the activations of one tile of tokens. Plain code, compiled for each
//! instruction set; `reference.rs` says what it computes.
#![allow(unsafe_code, reason = "copies through vector registers")]

use super::isa::{Isa, Kernel};
use super::layout::STEP_COLS;
use super::reference::TINY;

/// Where the quantized form of a tile goes: the parts of `QuantizedTile`.
pub(super) struct QuantizedMut<'a> {
    pub(super) steps: &'a mut [i32],
    pub(super) negated: &'a mut [i32],
    pub(super) sums: &'a mut [i32],
    pub(super) scales: &'a mut [f32],
}

/// Rounds a tile, row-major `values` of `cols` columns, to 8 bits in blocks of `BLOCK` with sums over `GROUP`.
pub(super) struct Quantize<'a, const BLOCK: usize, const GROUP: usize> {
    pub(super) values: &'a [f32],
    pub(super) cols: usize,
    /// What the tile is padded to; the tokens that are not there are zero.
    pub(super) tokens: usize,
    pub(super) to: QuantizedMut<'a>,
}

impl<const BLOCK: usize, const GROUP: usize> Kernel for Quantize<'_, BLOCK, GROUP> {
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let tokens = self.tokens;
        let QuantizedMut { steps, negated, sums, scales } = self.to;
        if self.values.len() < tokens * self.cols {
            steps.fill(0);
            negated.fill(0);
            sums.fill(0);
            scales.fill(0.0);
        }
        for (token, row) in self.values.chunks_exact(self.cols).enumerate() {
            for (number, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                let (values, scale) = round(block);
                scales[number * tokens + token] = scale;
                let words = values.as_chunks::<STEP_COLS>().0;
                let to = &mut steps[number * words.len() * tokens..][..words.len() * tokens];
                if tokens == 1 {
                    // Known to be side by side, so that it is one copy.
                    for (to, word) in to.iter_mut().zip(words) {
                        *to = i32::from_le_bytes(word.map(|value| value as u8));
                    }
                } else {
                    for (to, word) in to.iter_mut().skip(token).step_by(tokens).zip(words) {
                        *to = i32::from_le_bytes(word.map(|value| value as u8));
                    }
                }
                let groups = BLOCK / GROUP;
                let mut group_sums = [[0; 2]; 16];
                for (sums, group) in group_sums.iter_mut().zip(values.as_chunks::<GROUP>().0) {
                    *sums = half_sums(group);
                }
                for (group, [first, last]) in group_sums[..groups].iter().enumerate() {
                    negated[(number * groups + group) * tokens + token] = join(-first, -last);
                }
                if BLOCK == 32 {
                    let sum = group_sums[0][0] + group_sums[0][1];
                    sums[number * tokens + token] = (scale * sum as f32).to_bits() as i32;
                } else {
                    for (pair, [a, b, c, d]) in group_sums.as_chunks::<4>().0.iter().enumerate() {
                        let (first, last) = (a[0] + a[1] + b[0] + b[1], c[0] + c[1] + d[0] + d[1]);
                        sums[(number * (BLOCK / 64) + pair) * tokens + token] = join(first, last);
                    }
                }
            }
        }
    }
}

/// A block's 8-bit values and their scale.
#[inline(always)]
fn round<const BLOCK: usize>(block: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    let greatest = block.iter().fold(0, |greatest, x| (x.to_bits() & 0x7fff_ffff).max(greatest));
    let greatest = f32::from_bits(greatest);
    if !greatest.is_finite() {
        return ([0; BLOCK], f32::NAN);
    }
    if greatest < TINY {
        return ([0; BLOCK], 0.0);
    }
    // Adding it rounds a small number to an integer, which is then what the low bits say.
    const ROUNDER: f32 = 12_582_912.0;
    let inverse = 127.0 / greatest;
    (block.map(|x| (x * inverse + ROUNDER).to_bits() as i8), greatest / 127.0)
}

/// The sum of the first two bytes of every step of a group, and of the last two.
#[inline(always)]
fn half_sums<const GROUP: usize>(group: &[i8; GROUP]) -> [i32; 2] {
    let steps = group.as_chunks::<STEP_COLS>().0;
    // As unsigned bytes, two sums in one number: at most 8 steps of 2 bytes, which stays below 16 bits.
    let words = steps.iter().map(|step| u32::from_le_bytes(step.map(|value| value as u8)) ^ 0x8080_8080);
    let sums: u32 = words.map(|word| (word & 0x00ff_00ff) + (word >> 8 & 0x00ff_00ff)).sum();
    let centre = 2 * 128 * (GROUP / STEP_COLS) as i32;
    [(sums & 0xffff) as i32 - centre, (sums >> 16) as i32 - centre]
}

/// Two 16-bit numbers as the halves of one of 32.
#[inline(always)]
fn join(low: i32, high: i32) -> i32 {
    high << 16 | low & 0xffff
}

/// Interleaves a tile of floats: of each column, the tokens side by side.
pub(super) struct Interleave<'a> {
    pub(super) values: &'a [f32],
    pub(super) cols: usize,
    /// What the tile is padded to; the tokens that are not there are zero.
    pub(super) tokens: usize,
    pub(super) interleaved: &'a mut [f32],
}

impl Kernel for Interleave<'_> {
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let tokens = self.tokens;
        if self.values.len() < tokens * self.cols {
            self.interleaved.fill(0.0);
        }
        for (token, row) in self.values.chunks_exact(self.cols).enumerate() {
            for (to, value) in self.interleaved.iter_mut().skip(token).step_by(tokens).zip(row) {
                *to = *value;
            }
        }
    }
}

/// Copies floats. A library's copy may take microseconds for kilobytes where the two addresses are alike in their low
/// bits, which those of large buffers are.
pub(super) struct Copy<'a> {
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for Copy<'_> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (from, from_rest) = self.from.as_chunks::<16>();
        let (to, to_rest) = self.to.as_chunks_mut::<16>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: both are 64 bytes. Pinned, so that the compiler does not see a copy and call the library after all.
            unsafe { isa.store(to.as_mut_ptr().cast(), isa.pin(isa.load(from.as_ptr().cast()))) }
        }
        for (from, to) in from_rest.iter().zip(to_rest) {
            *to = *from;
        }
    }
}
