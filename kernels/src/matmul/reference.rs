//! The order of operations of every output, as naive code. The fast kernels are bit for bit equal to it.
//!
//! Quantized weights: integer sums are exact in any order; per output there is one float accumulator that takes the
//! blocks in order of their columns. Float weights: a chain of fused multiply-adds for every 256 columns, and the sum
//! of those chains in order.

use half::{bf16, f16};

use crate::formats::Format;
use crate::formats::block::{self, Block};

/// Columns that one chain of a float format covers.
pub(crate) const CHAIN_LEN: usize = 256;

/// Activations below this magnitude count as zero: their scale would not be a normal number.
pub(crate) const TINY: f32 = 1e-30;

/// One block of activations: 8-bit values and their scale.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedBlock {
    /// Within -127..=127.
    pub values: Vec<i8>,
    /// What one step is worth; NaN when an input is not finite.
    pub scale: f32,
}

/// Rounds a block of activations to 8 bits: the greatest magnitude becomes 127, halves go to even.
#[must_use]
pub fn quantize(block: &[f32]) -> QuantizedBlock {
    // As bits, so that a NaN counts as the greatest of all.
    let greatest = f32::from_bits(block.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0));
    if !greatest.is_finite() {
        return QuantizedBlock { values: vec![0; block.len()], scale: f32::NAN };
    }
    if greatest < TINY {
        return QuantizedBlock { values: vec![0; block.len()], scale: 0.0 };
    }
    let inverse = 127.0 / greatest;
    let values = block.iter().map(|x| (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8).collect();
    QuantizedBlock { values, scale: greatest / 127.0 }
}

/// One output: the stored row `weights` times `x`.
///
/// # Panics
/// When `weights` is not exactly the stored row of `x.len()` elements.
#[must_use]
pub fn dot(format: Format, weights: &[u8], x: &[f32]) -> f32 {
    assert_eq!(Some(weights.len()), format.row_bytes(x.len()), "a row's bytes must match its elements");
    match format {
        Format::F32 => chains(x, |at| f32::from_le_bytes(weights.as_chunks::<4>().0[at])),
        Format::F16 => chains(x, |at| f16::from_le_bytes(weights.as_chunks::<2>().0[at]).to_f32()),
        Format::Bf16 => chains(x, |at| bf16::from_le_bytes(weights.as_chunks::<2>().0[at]).to_f32()),
        _ => {
            let mut block = Block::new();
            let mut sum = 0.0;
            let blocks = weights.chunks_exact(format.block_bytes());
            for (bytes, x) in blocks.zip(x.chunks_exact(format.block_len())) {
                block.read(format, bytes);
                sum = add_block(format, &block, &quantize(x), sum);
            }
            sum
        }
    }
}

fn add_block(format: Format, block: &Block, x: &QuantizedBlock, sum: f32) -> f32 {
    let (d, dmin) = (block.scale(format), block.dmin.to_f32());
    let (mut product, mut minimum) = (0, 0);
    for (index, &x) in x.values.iter().enumerate() {
        let group = index / block::group_len(format);
        let value = block::whole(format, block.values[index]);
        product += i32::from(block.scales[group]) * value * i32::from(x);
        minimum += block.mins.get(group).map_or(0, |&min| i32::from(min)) * i32::from(x);
    }
    match format {
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 | Format::Mxfp4 | Format::Q6K => {
            (product as f32).mul_add(d * x.scale, sum)
        }
        Format::Q4_1 | Format::Q5_1 => {
            let sum = (product as f32).mul_add(d * x.scale, sum);
            (-dmin).mul_add(x.scale * minimum as f32, sum)
        }
        Format::Q4K | Format::Q5K => {
            let part = (-dmin).mul_add(minimum as f32, d * product as f32);
            part.mul_add(x.scale, sum)
        }
        Format::F32 | Format::F16 | Format::Bf16 => unreachable!("float formats have no blocks"),
    }
}

fn chains(x: &[f32], weight: impl Fn(usize) -> f32) -> f32 {
    let mut sum = 0.0;
    for (number, x) in x.chunks(CHAIN_LEN).enumerate() {
        let weighted = x.iter().enumerate().map(|(index, &x)| (weight(number * CHAIN_LEN + index), x));
        sum += weighted.fold(0.0, |chain, (weight, x)| weight.mul_add(x, chain));
    }
    sum
}
