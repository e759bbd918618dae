//! The number formats that weights are stored in: block shapes and names here, the bit layouts in `formats/block.rs`,
//! and the two naive conversions, [`dequantize_row`] and [`quantize_row`].
//!
//! Layouts are those of GGUF files. A row is a whole number of blocks; a block's bytes are just numbers, so damaged
//! ones give odd values, never an error. Which GGUF type id names which format is the file reader's business, and the
//! layouts that kernels compute on are the packed matrix's.

pub(crate) mod block;
mod encode;

#[cfg(test)]
mod tests;

pub use encode::quantize_row;

use block::Block;

/// A storage format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// 32 elements of 8 bits and a scale.
    Q8_0,
    /// 32 elements of 4 bits, centred on 8, and a scale.
    Q4_0,
    /// 32 elements of 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 elements of 5 bits, centred on 16, and a scale.
    Q5_0,
    /// 32 elements of 5 bits, a scale and a minimum.
    Q5_1,
    /// 32 elements of 4 bits that are floats themselves (a sign, an exponent of two bits and a bit), and a power of two.
    Mxfp4,
    /// 256 elements of 4 bits; scale and minimum of 6 bits for every 32.
    Q4K,
    /// 256 elements of 5 bits; scale and minimum of 6 bits for every 32.
    Q5K,
    /// 256 elements of 6 bits, centred on 32; scale of 8 bits for every 16.
    Q6K,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 12] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Mxfp4,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    /// Elements of a block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Mxfp4 => 32,
            Format::Q4K | Format::Q5K | Format::Q6K => 256,
        }
    }

    /// Bytes of a stored block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Q8_0 => 34,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Mxfp4 => 17,
            Format::Q4K => 144,
            Format::Q5K => 176,
            Format::Q6K => 210,
        }
    }

    /// Bytes of a stored row; nothing when `cols` is not a whole number of blocks or the product overflows.
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The lower-case name, `q4_k`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
            Format::Q4_1 => "q4_1",
            Format::Q5_0 => "q5_0",
            Format::Q5_1 => "q5_1",
            Format::Mxfp4 => "mxfp4",
            Format::Q4K => "q4_k",
            Format::Q5K => "q5_k",
            Format::Q6K => "q6_k",
        }
    }

    /// The format of that name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }
}

/// The naive reference of every other decoder: `bytes`, one stored row, to `out`, its elements.
///
/// # Panics
/// When `bytes` is not exactly the stored row of `out.len()` elements.
pub fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.row_bytes(out.len()), "a row's bytes must match its elements");
    match format {
        Format::F32 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        Format::F16 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = half::f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Format::Bf16 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = half::bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        _ => {
            let mut block = Block::new();
            let blocks = bytes.chunks_exact(format.block_bytes());
            for (out, bytes) in out.chunks_exact_mut(format.block_len()).zip(blocks) {
                block.read(format, bytes);
                block.floats(format, out);
            }
        }
    }
}
