//! Stored rows to a panel and back. Plain code on 4 bytes at a time: packing is done once, while a file is read.

use super::layout::{LINE, Layout, PANEL_ROWS, STEP_COLS};
use crate::formats::block::Block;

/// Fills a panel from its stored rows, each of `row_bytes`. Rows that a last panel lacks stay as they are (zero).
pub(super) fn pack(layout: &Layout, panel: &mut [u8], rows: &[u8], row_bytes: usize) {
    if layout.block_len == 1 {
        let size = layout.bits / 8;
        for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
            for (column, value) in bytes.chunks_exact(size).enumerate() {
                panel[(column * PANEL_ROWS + row) * size..][..size].copy_from_slice(value);
            }
        }
        return;
    }
    let block_bytes = layout.format.block_bytes();
    let blocks_per_unit = layout.unit_cols / layout.block_len;
    let mut block = Block::new();
    for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
        for (number, bytes) in bytes.chunks_exact(block_bytes).enumerate() {
            block.read(layout.format, bytes);
            let unit = &mut panel[number / blocks_per_unit * layout.unit_bytes..][..layout.unit_bytes];
            pack_block(layout, unit, number % blocks_per_unit, row, &block);
        }
    }
}

fn pack_block(layout: &Layout, unit: &mut [u8], number: usize, row: usize, block: &Block) {
    let groups = layout.block_len / layout.group_len;
    for (group, values) in block.values[..layout.block_len].chunks_exact(layout.group_len).enumerate() {
        pack_group(layout, unit, number * groups + group, row, values);
    }
    if layout.block_len == 32 {
        put(unit, layout.scales_at + (number * PANEL_ROWS + row) * 2, block.d.to_le_bytes());
        if layout.minimums {
            // A block keeps what is subtracted; the kernels of these formats add.
            put(unit, layout.minimums_at + (number * PANEL_ROWS + row) * 2, (-block.dmin).to_le_bytes());
        }
        return;
    }
    for (group, scale) in block.scales[..groups].iter().enumerate() {
        unit[layout.scales_at + group * PANEL_ROWS + row] = *scale as u8;
    }
    if layout.minimums {
        for (pair, mins) in block.mins.as_chunks::<2>().0.iter().enumerate() {
            put(unit, layout.minimums_at + (pair * PANEL_ROWS + row) * 2, *mins);
        }
    }
    put(unit, layout.d_at + row * 2, block.d.to_le_bytes());
    put(unit, layout.d_at + (PANEL_ROWS + row) * 2, block.dmin.to_le_bytes());
}

fn pack_group(layout: &Layout, unit: &mut [u8], group: usize, row: usize, values: &[u8]) {
    let at = layout.values_at(group) + row * STEP_COLS;
    let steps = values.as_chunks::<STEP_COLS>().0;
    if layout.bits == 8 {
        for (number, step) in steps.iter().enumerate() {
            put(unit, at + number * LINE, *step);
        }
        return;
    }
    let high_bits = layout.bits - 4;
    let high_mask = 0x0101_0101 * ((1 << high_bits) - 1);
    let mut plane = 0;
    for (number, pair) in steps.as_chunks::<2>().0.iter().enumerate() {
        let [first, second] = pair.map(u32::from_le_bytes);
        let low = first & 0x0f0f_0f0f | (second & 0x0f0f_0f0f) << 4;
        put(unit, at + number * LINE, low.to_le_bytes());
        plane |= (first >> 4 & high_mask | (second >> 4 & high_mask) << 4) << (number * high_bits);
    }
    if high_bits > 0 {
        put(unit, layout.planes_at + group * LINE + row * STEP_COLS, plane.to_le_bytes());
    }
}

/// Reads row `row` of a panel back as floats.
pub(super) fn unpack_row(layout: &Layout, panel: &[u8], row: usize, out: &mut [f32]) {
    if layout.block_len == 1 {
        let size = layout.bits / 8;
        for (column, out) in out.iter_mut().enumerate() {
            let value = &panel[(column * PANEL_ROWS + row) * size..][..size];
            crate::formats::dequantize_row(layout.format, value, std::slice::from_mut(out));
        }
        return;
    }
    let blocks_per_unit = layout.unit_cols / layout.block_len;
    let mut block = Block::new();
    for (number, out) in out.chunks_exact_mut(layout.block_len).enumerate() {
        let unit = &panel[number / blocks_per_unit * layout.unit_bytes..][..layout.unit_bytes];
        unpack_block(layout, unit, number % blocks_per_unit, row, &mut block);
        for (index, out) in out.iter_mut().enumerate() {
            *out = block.element(layout.format, index);
        }
    }
}

fn unpack_block(layout: &Layout, unit: &[u8], number: usize, row: usize, block: &mut Block) {
    let half = |at: usize| half::f16::from_le_bytes([unit[at], unit[at + 1]]);
    let groups = layout.block_len / layout.group_len;
    for (group, values) in block.values[..layout.block_len].chunks_exact_mut(layout.group_len).enumerate() {
        unpack_group(layout, unit, number * groups + group, row, values);
    }
    if layout.block_len == 32 {
        block.d = half(layout.scales_at + (number * PANEL_ROWS + row) * 2);
        if layout.minimums {
            block.dmin = -half(layout.minimums_at + (number * PANEL_ROWS + row) * 2);
            block.mins[0] = 1;
        }
        return;
    }
    for (group, scale) in block.scales[..groups].iter_mut().enumerate() {
        *scale = unit[layout.scales_at + group * PANEL_ROWS + row] as i8;
    }
    if layout.minimums {
        for (pair, mins) in block.mins.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let at = layout.minimums_at + (pair * PANEL_ROWS + row) * 2;
            *mins = [unit[at], unit[at + 1]];
        }
    }
    (block.d, block.dmin) = (half(layout.d_at + row * 2), half(layout.d_at + (PANEL_ROWS + row) * 2));
}

fn unpack_group(layout: &Layout, unit: &[u8], group: usize, row: usize, values: &mut [u8]) {
    let word = |at: usize| u32::from_le_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]]);
    let at = layout.values_at(group) + row * STEP_COLS;
    let steps = values.as_chunks_mut::<STEP_COLS>().0;
    if layout.bits == 8 {
        for (number, step) in steps.iter_mut().enumerate() {
            *step = word(at + number * LINE).to_le_bytes();
        }
        return;
    }
    let high_bits = layout.bits - 4;
    let high_mask = 0x0101_0101 * ((1 << high_bits) - 1);
    let plane = if high_bits > 0 { word(layout.planes_at + group * LINE + row * STEP_COLS) } else { 0 };
    for (number, pair) in steps.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (low, high) = (word(at + number * LINE), plane >> (number * high_bits));
        let first = low & 0x0f0f_0f0f | (high & high_mask) << 4;
        let second = low >> 4 & 0x0f0f_0f0f | (high >> 4 & high_mask) << 4;
        *pair = [first.to_le_bytes(), second.to_le_bytes()];
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
