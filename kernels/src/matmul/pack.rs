//! Stored rows to a panel and back. Plain code on 4 bytes at a time: packing is done once, while a file is read.

use half::{bf16, f16};

use super::layout::{LINE, Layout, PANEL_ROWS, STEP_COLS};
use crate::formats::Format;
use crate::formats::block::Block;

/// One step or pair of steps: of each row, 4 bytes.
type Line = [[u8; STEP_COLS]; PANEL_ROWS];

/// Half-precision numbers of 16 rows, side by side.
type Halves = [[u8; 2]; PANEL_ROWS];

/// Fills a panel from its stored rows, each of `row_bytes`. Rows that a last panel lacks stay as they are (zero).
pub(super) fn pack(layout: &Layout, panel: &mut [u8], rows: &[u8], row_bytes: usize) {
    match layout.format {
        Format::F32 => transpose::<4>(panel, rows, row_bytes),
        Format::F16 | Format::Bf16 => transpose::<2>(panel, rows, row_bytes),
        _ => {
            let mut block = Block::new();
            let stored = layout.unit_cols / layout.block_len * layout.format.block_bytes();
            // Unit by unit, so that a unit is in the cache until all its rows are there.
            for (number, unit) in panel.chunks_exact_mut(layout.unit_bytes).enumerate() {
                for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
                    let bytes = &bytes[number * stored..row_bytes.min((number + 1) * stored)];
                    for (number, bytes) in bytes.chunks_exact(layout.format.block_bytes()).enumerate() {
                        block.read(layout.format, bytes);
                        pack_block(layout, unit, number, row, &block);
                    }
                }
            }
        }
    }
}

fn transpose<const N: usize>(panel: &mut [u8], rows: &[u8], row_bytes: usize) {
    let columns = panel.as_chunks_mut::<N>().0.as_chunks_mut::<PANEL_ROWS>().0;
    for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
        for (column, value) in columns.iter_mut().zip(bytes.as_chunks::<N>().0) {
            column[row] = *value;
        }
    }
}

fn pack_block(layout: &Layout, unit: &mut [u8], number: usize, row: usize, block: &Block) {
    let groups = layout.block_len / layout.group_len;
    for (group, values) in block.values[..layout.block_len].chunks_exact(layout.group_len).enumerate() {
        let group = number * groups + group;
        let plane = pack_group(layout, lines_mut(&mut unit[layout.values_at(group)..]), row, values);
        if let Some(plane) = plane {
            lines_mut(&mut unit[layout.planes_at..])[group][row] = plane;
        }
    }
    if layout.block_len == 32 {
        halves_mut(unit, layout.scales_at)[number][row] = block.d.to_le_bytes();
        if layout.minimums {
            // A block keeps what is subtracted; the kernels of these formats add.
            halves_mut(unit, layout.minimums_at)[number][row] = (-block.dmin).to_le_bytes();
        }
        return;
    }
    let scales = unit[layout.scales_at..].as_chunks_mut::<PANEL_ROWS>().0;
    for (scales, scale) in scales.iter_mut().zip(&block.scales[..groups]) {
        scales[row] = *scale as u8;
    }
    if layout.minimums {
        for (line, pair) in halves_mut(unit, layout.minimums_at).iter_mut().zip(block.mins.as_chunks::<2>().0)
        {
            line[row] = *pair;
        }
    }
    halves_mut(unit, layout.d_at)[0][row] = block.d.to_le_bytes();
    halves_mut(unit, layout.d_at)[1][row] = block.dmin.to_le_bytes();
}

/// Packs the low bits of a group and returns the others, its part of the plane.
fn pack_group(layout: &Layout, lines: &mut [Line], row: usize, values: &[u8]) -> Option<[u8; STEP_COLS]> {
    let steps = values.as_chunks::<STEP_COLS>().0;
    if layout.bits == 8 {
        for (line, step) in lines.iter_mut().zip(steps) {
            line[row] = *step;
        }
        return None;
    }
    let high_bits = layout.bits - 4;
    let high_mask = 0x0101_0101 * ((1 << high_bits) - 1);
    let mut plane = 0;
    for (number, (line, pair)) in lines.iter_mut().zip(steps.as_chunks::<2>().0).enumerate() {
        let [first, second] = pair.map(u32::from_le_bytes);
        line[row] = (first & 0x0f0f_0f0f | (second & 0x0f0f_0f0f) << 4).to_le_bytes();
        plane |= (first >> 4 & high_mask | (second >> 4 & high_mask) << 4) << (number * high_bits);
    }
    (high_bits > 0).then_some(plane.to_le_bytes())
}

/// Reads row `row` of a panel back as floats.
pub(super) fn unpack_row(layout: &Layout, panel: &[u8], row: usize, out: &mut [f32]) {
    match layout.format {
        Format::F32 => return unpack_column(panel, row, out, f32::from_le_bytes),
        Format::F16 => return unpack_column(panel, row, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Format::Bf16 => return unpack_column(panel, row, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => {}
    }
    let blocks_per_unit = layout.unit_cols / layout.block_len;
    let mut block = Block::new();
    for (number, out) in out.chunks_exact_mut(layout.block_len).enumerate() {
        let unit = &panel[number / blocks_per_unit * layout.unit_bytes..][..layout.unit_bytes];
        unpack_block(layout, unit, number % blocks_per_unit, row, &mut block);
        block.floats(layout.format, out);
    }
}

fn unpack_column<const N: usize>(panel: &[u8], row: usize, out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let columns = panel.as_chunks::<N>().0.as_chunks::<PANEL_ROWS>().0;
    for (out, column) in out.iter_mut().zip(columns) {
        *out = value(column[row]);
    }
}

fn unpack_block(layout: &Layout, unit: &[u8], number: usize, row: usize, block: &mut Block) {
    let half = |at: usize, number: usize| f16::from_le_bytes(halves(unit, at)[number][row]);
    let groups = layout.block_len / layout.group_len;
    for (group, values) in block.values[..layout.block_len].chunks_exact_mut(layout.group_len).enumerate() {
        let group = number * groups + group;
        let plane = if matches!(layout.bits, 5 | 6) {
            u32::from_le_bytes(lines(&unit[layout.planes_at..])[group][row])
        } else {
            0
        };
        unpack_group(layout, lines(&unit[layout.values_at(group)..]), row, plane, values);
    }
    if layout.block_len == 32 {
        block.d = half(layout.scales_at, number);
        if layout.minimums {
            (block.dmin, block.mins[0]) = (-half(layout.minimums_at, number), 1);
        }
        return;
    }
    let scales = unit[layout.scales_at..].as_chunks::<PANEL_ROWS>().0;
    for (scale, scales) in block.scales[..groups].iter_mut().zip(scales) {
        *scale = scales[row] as i8;
    }
    if layout.minimums {
        for (pair, line) in block.mins.as_chunks_mut::<2>().0.iter_mut().zip(halves(unit, layout.minimums_at))
        {
            *pair = line[row];
        }
    }
    (block.d, block.dmin) = (half(layout.d_at, 0), half(layout.d_at, 1));
}

fn unpack_group(layout: &Layout, lines: &[Line], row: usize, plane: u32, values: &mut [u8]) {
    let steps = values.as_chunks_mut::<STEP_COLS>().0;
    if layout.bits == 8 {
        for (step, line) in steps.iter_mut().zip(lines) {
            *step = line[row];
        }
        return;
    }
    let high_bits = layout.bits - 4;
    let high_mask = 0x0101_0101 * ((1 << high_bits) - 1);
    for (number, (pair, line)) in steps.as_chunks_mut::<2>().0.iter_mut().zip(lines).enumerate() {
        let (low, high) = (u32::from_le_bytes(line[row]), plane >> (number * high_bits));
        let first = low & 0x0f0f_0f0f | (high & high_mask) << 4;
        let second = low >> 4 & 0x0f0f_0f0f | (high >> 4 & high_mask) << 4;
        *pair = [first.to_le_bytes(), second.to_le_bytes()];
    }
}

fn lines(bytes: &[u8]) -> &[Line] {
    bytes.as_chunks::<STEP_COLS>().0.as_chunks::<PANEL_ROWS>().0
}

fn lines_mut(bytes: &mut [u8]) -> &mut [Line] {
    bytes.as_chunks_mut::<STEP_COLS>().0.as_chunks_mut::<PANEL_ROWS>().0
}

fn halves(unit: &[u8], at: usize) -> &[Halves] {
    unit[at..].as_chunks::<2>().0.as_chunks::<PANEL_ROWS>().0
}

fn halves_mut(unit: &mut [u8], at: usize) -> &mut [Halves] {
    unit[at..].as_chunks_mut::<2>().0.as_chunks_mut::<PANEL_ROWS>().0
}

const _: () = assert!(size_of::<Line>() == LINE);
