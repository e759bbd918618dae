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
    pub(super) to: QuantizedMut<'a>,
}

impl<const BLOCK: usize, const GROUP: usize> Kernel for Quantize<'_, BLOCK, GROUP> {
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let tokens = self.values.len() / self.cols;
        for (token, row) in self.values.chunks_exact(self.cols).enumerate() {
            for (number, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                let (values, scale) = round(block);
                self.to.scales[number * tokens + token] = scale;
                let steps = self.to.steps[number * (BLOCK / STEP_COLS) * tokens..].iter_mut().skip(token);
                for (to, step) in steps.step_by(tokens).zip(values.as_chunks::<STEP_COLS>().0) {
                    *to = i32::from_le_bytes(step.map(|value| value as u8));
                }
                let negated = self.to.negated[number * (BLOCK / GROUP) * tokens..].iter_mut().skip(token);
                for (to, group) in negated.step_by(tokens).zip(values.as_chunks::<GROUP>().0) {
                    *to = negated_sums(group);
                }
                if BLOCK == 32 {
                    let sum = values.iter().map(|&value| i32::from(value)).sum::<i32>();
                    self.to.sums[number * tokens + token] = (scale * sum as f32).to_bits() as i32;
                    continue;
                }
                let sums = self.to.sums[number * (BLOCK / 64) * tokens..].iter_mut().skip(token);
                for (to, groups) in sums.step_by(tokens).zip(values.as_chunks::<64>().0) {
                    let sum = |group: &[i8]| group.iter().map(|&value| i32::from(value)).sum::<i32>();
                    *to = join(sum(&groups[..32]), sum(&groups[32..]));
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

/// Minus the sums of the first two bytes of every step, and of the last two.
#[inline(always)]
fn negated_sums(group: &[i8]) -> i32 {
    let mut sums = [0i32; STEP_COLS];
    for step in group.as_chunks::<STEP_COLS>().0 {
        for (sum, value) in sums.iter_mut().zip(step) {
            *sum += i32::from(*value);
        }
    }
    join(-(sums[0] + sums[1]), -(sums[2] + sums[3]))
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
    pub(super) interleaved: &'a mut [f32],
}

impl Kernel for Interleave<'_> {
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let tokens = self.values.len() / self.cols;
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
