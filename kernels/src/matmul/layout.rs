//! Where a packed panel keeps what: 16 rows of a matrix, all columns, in units of whole cache lines.
//!
//! ```text
//! step    4 columns of 16 rows: [row 0: 4 bytes][row 1: 4 bytes] .. [row 15: 4 bytes]     64 bytes of 8-bit values
//! pair    two steps of 4-bit values in 64 bytes: low nibbles the first step, high nibbles the second
//! plane   the bits above the nibbles of one group's pairs, in 64 bytes. In each byte: bits 0..4 for first steps,
//!         4..8 for second ones; within them pair 0 lowest (1 bit a value for 5-bit formats, 2 for 6-bit)
//! unit    blocks of 32 (two a unit):  pairs or steps of both, planes of both, scales of both, minimums of both
//!         blocks of 256 (one a unit): pairs, planes, group scales, group minimums, scales d and dmin
//! ```
//! Scales and minimums are half precision (MXFP4's scales the upper halves of singles), 16 rows side by side; group
//! scales are 16 signed bytes a group; group minimums are bytes, row by row two neighbouring groups. Float formats have
//! one column of 16 rows after the other.
//! A vector of 16 lanes thus holds one row a lane, and sums never cross lanes.

use crate::formats::{Format, block};

/// Rows of a panel.
pub(super) const PANEL_ROWS: usize = 16;

/// Bytes of 16 values of 32 bits, and of a cache line.
pub(super) const LINE: usize = 64;

/// Columns of a step.
pub(super) const STEP_COLS: usize = 4;

/// The panel layout of one format. Sizes in bytes, offsets from a unit's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) format: Format,
    /// Bits of a stored value: 4, 5, 6 or 8; 16 or 32 for floats.
    pub(super) bits: usize,
    /// What stored values are centred on.
    pub(super) offset: i16,
    /// Whether there are minimums.
    pub(super) minimums: bool,
    /// Columns that share a scale (and a plane).
    pub(super) group_len: usize,
    /// Columns of a block; of the activations' blocks too.
    pub(super) block_len: usize,
    pub(super) unit_cols: usize,
    pub(super) unit_bytes: usize,
    pub(super) planes_at: usize,
    /// Group scales of blocks of 256; of blocks of 32, scales.
    pub(super) scales_at: usize,
    /// Group minimums of blocks of 256; of blocks of 32, minimums.
    pub(super) minimums_at: usize,
    /// The scales d, followed by dmin, of blocks of 256.
    pub(super) d_at: usize,
}

impl Layout {
    pub(super) const fn of(format: Format) -> Layout {
        let block_len = format.block_len();
        let (bits, minimums) = match format {
            Format::F32 => (32, false),
            Format::F16 | Format::Bf16 => (16, false),
            Format::Q8_0 => (8, false),
            Format::Q4_0 | Format::Mxfp4 => (4, false),
            Format::Q4_1 | Format::Q4K => (4, true),
            Format::Q5_0 => (5, false),
            Format::Q5_1 | Format::Q5K => (5, true),
            Format::Q6K => (6, false),
        };
        let group_len = block::group_len(format);
        let unit_cols = match block_len {
            1 => 1,
            32 => 64,
            _ => 256,
        };
        let low_bits = if bits < 8 { 4 } else { bits };
        let planes_at = PANEL_ROWS * unit_cols * low_bits / 8;
        let planes = if matches!(bits, 5 | 6) { unit_cols / group_len * LINE } else { 0 };
        let scales_at = planes_at + planes;
        let scales = match block_len {
            1 => 0,
            32 => 2 * 2 * PANEL_ROWS,
            _ => unit_cols / group_len * PANEL_ROWS,
        };
        let minimums_at = scales_at + scales;
        let d_at = minimums_at
            + match (minimums, block_len) {
                (false, _) => 0,
                (true, 32) => 2 * 2 * PANEL_ROWS,
                (true, _) => unit_cols / group_len * PANEL_ROWS,
            };
        let unit_bytes = d_at + if block_len == 256 { 2 * 2 * PANEL_ROWS } else { 0 };
        Layout {
            format,
            bits,
            offset: block::offset(format) as i16,
            minimums,
            group_len,
            block_len,
            unit_cols,
            unit_bytes,
            planes_at,
            scales_at,
            minimums_at,
            d_at,
        }
    }

    /// Bytes of a panel of `cols` columns, whole cache lines; nothing on overflow.
    pub(super) const fn panel_bytes(&self, cols: usize) -> Option<usize> {
        match cols.div_ceil(self.unit_cols).checked_mul(self.unit_bytes) {
            Some(bytes) => bytes.checked_next_multiple_of(LINE),
            None => None,
        }
    }

    /// Where the values of a group (or, for formats without planes, of as many columns) start in its unit.
    pub(super) const fn values_at(&self, group: usize) -> usize {
        group * self.group_len * PANEL_ROWS * (if self.bits < 8 { 4 } else { self.bits }) / 8
    }
}

const _: () = {
    // The sizes that the measurements were made with: whole lines, and no growth beyond a few percent.
    assert!(Layout::of(Format::Q8_0).unit_bytes == 1088);
    assert!(Layout::of(Format::Q4_0).unit_bytes == 576);
    assert!(Layout::of(Format::Q4_1).unit_bytes == 640);
    assert!(Layout::of(Format::Q5_0).unit_bytes == 704);
    assert!(Layout::of(Format::Q5_1).unit_bytes == 768);
    assert!(Layout::of(Format::Mxfp4).unit_bytes == 576);
    assert!(Layout::of(Format::Q4K).unit_bytes == 2368);
    assert!(Layout::of(Format::Q5K).unit_bytes == 2880);
    assert!(Layout::of(Format::Q6K).unit_bytes == 3392);
};
