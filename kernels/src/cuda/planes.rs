//! Quantized weights as planes, the host's side of `cuda/planes.cuh`, which says what lies where: [`pack`] turns stored
//! rows into planes, [`unpack_row`] is the naive way back that tests compare with.

use half::f16;

use crate::formats::Format;
use crate::formats::block::{Block, MXFP4_DOUBLED};

/// A quantized format that devices compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneFormat {
    /// See [`Format::Q4_0`].
    Q4_0,
    /// See [`Format::Q4_1`].
    Q4_1,
    /// See [`Format::Q5_0`].
    Q5_0,
    /// See [`Format::Q5_1`].
    Q5_1,
    /// See [`Format::Q8_0`].
    Q8_0,
    /// See [`Format::Q4K`].
    Q4K,
    /// See [`Format::Q5K`].
    Q5K,
    /// See [`Format::Q6K`].
    Q6K,
    /// See [`Format::Mxfp4`].
    Mxfp4,
}

const GROUP: usize = 32;

impl PlaneFormat {
    /// Every format.
    pub const ALL: [PlaneFormat; 9] = [
        PlaneFormat::Q4_0,
        PlaneFormat::Q4_1,
        PlaneFormat::Q5_0,
        PlaneFormat::Q5_1,
        PlaneFormat::Q8_0,
        PlaneFormat::Q4K,
        PlaneFormat::Q5K,
        PlaneFormat::Q6K,
        PlaneFormat::Mxfp4,
    ];

    /// The planes of a stored format; nothing for floats.
    #[must_use]
    pub fn of(format: Format) -> Option<PlaneFormat> {
        Some(match format {
            Format::F32 | Format::F16 | Format::Bf16 => return None,
            Format::Q4_0 => PlaneFormat::Q4_0,
            Format::Q4_1 => PlaneFormat::Q4_1,
            Format::Q5_0 => PlaneFormat::Q5_0,
            Format::Q5_1 => PlaneFormat::Q5_1,
            Format::Mxfp4 => PlaneFormat::Mxfp4,
            Format::Q8_0 => PlaneFormat::Q8_0,
            Format::Q4K => PlaneFormat::Q4K,
            Format::Q5K => PlaneFormat::Q5K,
            Format::Q6K => PlaneFormat::Q6K,
        })
    }

    /// The format as it is stored.
    #[must_use]
    pub fn stored(self) -> Format {
        match self {
            PlaneFormat::Q4_0 => Format::Q4_0,
            PlaneFormat::Q4_1 => Format::Q4_1,
            PlaneFormat::Q5_0 => Format::Q5_0,
            PlaneFormat::Q5_1 => Format::Q5_1,
            PlaneFormat::Q8_0 => Format::Q8_0,
            PlaneFormat::Q4K => Format::Q4K,
            PlaneFormat::Q5K => Format::Q5K,
            PlaneFormat::Q6K => Format::Q6K,
            PlaneFormat::Mxfp4 => Format::Mxfp4,
        }
    }

    /// Its number in `cuda/planes.cuh`.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    /// Elements of a stored block.
    #[must_use]
    pub fn block_len(self) -> usize {
        self.stored().block_len()
    }

    /// Bytes of a stored block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.stored().block_bytes()
    }

    /// Bytes that one group of 32 columns has in the planes `low`, `high` and `meta`, and a block of 256 in `super`.
    /// The last two are of eight groups where a block is that long.
    fn plane_bytes(self) -> (usize, usize, usize, usize) {
        match self {
            PlaneFormat::Q4_0 => (16, 0, 2, 0),
            PlaneFormat::Q4_1 => (16, 0, 4, 0),
            PlaneFormat::Q5_0 => (16, 4, 2, 0),
            PlaneFormat::Q5_1 => (16, 4, 4, 0),
            PlaneFormat::Q8_0 => (32, 0, 2, 0),
            PlaneFormat::Q4K => (16, 0, 2, 0),
            PlaneFormat::Q5K => (16, 4, 2, 0),
            PlaneFormat::Q6K => (16, 8, 2, 2),
            PlaneFormat::Mxfp4 => (16, 0, 1, 0),
        }
    }
}

/// Where the planes of a matrix begin, and how long they all are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    high: usize,
    meta: usize,
    above: usize,
    bytes: usize,
}

impl Layout {
    fn new(format: PlaneFormat, rows: usize, cols: usize) -> Option<Layout> {
        if rows == 0 || cols == 0 || !cols.is_multiple_of(format.block_len()) {
            return None;
        }
        let groups = rows.checked_mul(cols / GROUP)?;
        let (low, high, meta, above) = format.plane_bytes();
        let plane = |per_group: usize| groups.checked_mul(per_group)?.checked_next_multiple_of(256);
        let high_at = plane(low)?;
        let meta_at = high_at.checked_add(plane(high)?)?;
        let above_at = meta_at.checked_add(plane(meta)?)?;
        let bytes = above_at.checked_add((groups / 8).checked_mul(above)?)?;
        Some(Layout { high: high_at, meta: meta_at, above: above_at, bytes })
    }
}

/// The bytes of a matrix as planes; nothing when its columns are not whole blocks, it is empty, or the product overflows.
#[must_use]
pub fn bytes(format: PlaneFormat, rows: usize, cols: usize) -> Option<usize> {
    Layout::new(format, rows, cols).map(|layout| layout.bytes)
}

/// The numbers of 32 columns: whole values as the format counts them from zero, scale and minimum.
struct Groups {
    values: [u8; 256],
    meta: Vec<u8>,
    above: [u8; 2],
}

/// Packs stored rows, one after another, into planes.
///
/// # Panics
/// When `stored` is not `rows` stored rows of `cols` elements, or [`bytes`] has no answer.
#[must_use]
pub fn pack(format: PlaneFormat, rows: usize, cols: usize, stored: &[u8]) -> Vec<u8> {
    let layout = Layout::new(format, rows, cols).expect("a matrix has rows of whole blocks");
    let blocks = rows * (cols / format.block_len());
    assert_eq!(stored.len(), blocks * format.block_bytes(), "a matrix has the bytes of its rows");
    let mut planes = vec![0; layout.bytes];
    let (low, rest) = planes.split_at_mut(layout.high);
    let (high, rest) = rest.split_at_mut(layout.meta - layout.high);
    let (meta, above) = rest.split_at_mut(layout.above - layout.meta);
    let mut rest = (stored, Part { low, high, meta, above });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let blocks_each = blocks.div_ceil(threads).max(BLOCKS_MIN);
    std::thread::scope(|scope| {
        loop {
            let (stored, part) = rest;
            let blocks = stored.len() / format.block_bytes();
            if blocks <= blocks_each {
                return part.fill(format, stored);
            }
            let (mine, others) = stored.split_at(blocks_each * format.block_bytes());
            let (first, later) = part.split(format, blocks_each);
            scope.spawn(move || first.fill(format, mine));
            rest = (others, later);
        }
    });
    planes
}

/// Blocks that are worth a thread.
const BLOCKS_MIN: usize = 1 << 14;

/// Neighbouring blocks in each of the planes.
struct Part<'a> {
    low: &'a mut [u8],
    high: &'a mut [u8],
    meta: &'a mut [u8],
    above: &'a mut [u8],
}

impl<'a> Part<'a> {
    /// The first blocks, and the others.
    fn split(self, format: PlaneFormat, blocks: usize) -> (Self, Self) {
        let (low, high, meta, above) = format.plane_bytes();
        let groups = blocks * (format.block_len() / GROUP);
        let (first_low, low) = self.low.split_at_mut(groups * low);
        let (first_high, high) = self.high.split_at_mut(groups * high);
        let (first_meta, meta) = self.meta.split_at_mut(groups * meta);
        let (first_above, above) = self.above.split_at_mut(blocks * above);
        let first = Part { low: first_low, high: first_high, meta: first_meta, above: first_above };
        (first, Part { low, high, meta, above })
    }

    /// Takes stored blocks apart into the planes.
    fn fill(self, format: PlaneFormat, stored: &[u8]) {
        let groups_each = format.block_len() / GROUP;
        let (low_bytes, high_bytes, meta_bytes, above_bytes) = format.plane_bytes();
        for (number, bytes) in stored.chunks_exact(format.block_bytes()).enumerate() {
            let block = take_apart(format, bytes);
            let first = number * groups_each;
            let groups = block.values[..format.block_len()].as_chunks::<GROUP>().0;
            for (offset, values) in groups.iter().enumerate() {
                let group = first + offset;
                let low = &mut self.low[group * low_bytes..][..low_bytes];
                if format == PlaneFormat::Q8_0 {
                    // Signed, as dp4a takes them.
                    low.iter_mut().zip(values).for_each(|(low, value)| *low = value ^ 0x80);
                } else {
                    for (index, low) in low.iter_mut().enumerate() {
                        *low = values[index] & 15 | values[index + 16] << 4;
                    }
                }
                let high = &mut self.high[group * high_bytes..][..high_bytes];
                for (column, value) in values.iter().enumerate() {
                    let (word, byte) = (column / 4, column % 4);
                    match high_bytes {
                        4 => high[byte] |= (value >> 4) << word,
                        8 => high[word / 4 * 4 + byte] |= (value >> 4) << (word % 4 * 2),
                        _ => {}
                    }
                }
            }
            self.meta[first * meta_bytes..][..block.meta.len()].copy_from_slice(&block.meta);
            self.above[number * above_bytes..][..above_bytes].copy_from_slice(&block.above[..above_bytes]);
        }
    }
}

fn take_apart(format: PlaneFormat, bytes: &[u8]) -> Groups {
    let mut block = Block::new();
    block.read(format.stored(), bytes);
    let d = block.d.to_le_bytes();
    let (mut meta, mut above) = (d.to_vec(), [0; 2]);
    match format {
        // What is added is the stored minimum with its sign.
        PlaneFormat::Q4_1 | PlaneFormat::Q5_1 => meta.extend((-block.dmin).to_le_bytes()),
        PlaneFormat::Q4K | PlaneFormat::Q5K => {
            meta.extend(block.dmin.to_le_bytes());
            let (mut scales, mut minimums, mut upper) = (0_u32, 0_u32, 0_u32);
            for group in 0..8 {
                // Six bits, never below zero.
                let (scale, minimum) = (block.scales[group] as u32, u32::from(block.mins[group]));
                scales |= (scale & 15) << (4 * group);
                minimums |= (minimum & 15) << (4 * group);
                upper |= (scale >> 4 | minimum >> 4 << 2) << (4 * group);
            }
            for word in [scales, minimums, upper] {
                meta.extend(word.to_le_bytes());
            }
        }
        // The exponent alone.
        PlaneFormat::Mxfp4 => meta = vec![bytes[0]],
        PlaneFormat::Q6K => {
            meta = block.scales.iter().map(|&scale| scale as u8).collect();
            above = d;
        }
        _ => {}
    }
    Groups { values: block.values, meta, above }
}

/// The naive reference: row `row` of a packed matrix, as floats.
///
/// # Panics
/// When `planes` is not a packed matrix of `rows` x `cols`, or there is no such row.
pub fn unpack_row(format: PlaneFormat, rows: usize, cols: usize, planes: &[u8], row: usize, out: &mut [f32]) {
    let layout = Layout::new(format, rows, cols).expect("a matrix has rows of whole blocks");
    assert_eq!(planes.len(), layout.bytes, "planes have the matrix's bytes");
    assert!(row < rows && out.len() == cols, "a row of the matrix");
    let (low_bytes, high_bytes, meta_bytes, above_bytes) = format.plane_bytes();
    let half = |at: usize| f16::from_le_bytes([planes[at], planes[at + 1]]).to_f32();
    for (column, out) in out.iter_mut().enumerate() {
        let (group, within) = (row * (cols / GROUP) + column / GROUP, column % GROUP);
        let low = if format == PlaneFormat::Q8_0 {
            planes[group * low_bytes + within]
        } else {
            planes[group * low_bytes + within % 16] >> (within / 16 * 4) & 15
        };
        let (word, byte) = (within / 4, within % 4);
        let high = match high_bytes {
            4 => planes[layout.high + group * 4 + byte] >> word & 1,
            8 => planes[layout.high + group * 8 + word / 4 * 4 + byte] >> (word % 4 * 2) & 3,
            _ => 0,
        };
        let value = f32::from(low | high << 4);
        let meta = layout.meta + group * meta_bytes;
        let six_bits = |plane: usize, upper: u32| {
            let meta = layout.meta + group / 8 * 16;
            let word = |index: usize| {
                u32::from_le_bytes(planes[meta + 4 * index..][..4].try_into().expect("four bytes"))
            };
            let shift = group % 8 * 4;
            (word(plane) >> shift & 15 | (word(3) >> shift >> upper & 3) << 4) as f32
        };
        *out = match format {
            PlaneFormat::Q4_0 => half(meta) * (value - 8.0),
            PlaneFormat::Q5_0 => half(meta) * (value - 16.0),
            PlaneFormat::Q8_0 => half(meta) * f32::from(low as i8),
            PlaneFormat::Q4_1 | PlaneFormat::Q5_1 => half(meta) * value + half(meta + 2),
            PlaneFormat::Q4K | PlaneFormat::Q5K => {
                let meta = layout.meta + group / 8 * 16;
                half(meta) * six_bits(1, 0) * value - half(meta + 2) * six_bits(2, 2)
            }
            PlaneFormat::Q6K => {
                let scale = planes[layout.meta + group * 2 + within / 16] as i8;
                half(layout.above + group / 8 * above_bytes) * f32::from(scale) * (value - 32.0)
            }
            PlaneFormat::Mxfp4 => {
                let exponent = i32::from(planes[meta]) - 128;
                f32::from(MXFP4_DOUBLED[usize::from(low)]) * 2_f64.powi(exponent) as f32
            }
        };
    }
}

#[cfg(test)]
mod tests;
