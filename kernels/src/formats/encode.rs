//! Floats to stored blocks, for tests, benchmarks and random models: plain rounding to the nearest value, with none of
//! the searches that make a published quantization better.

use half::{bf16, f16};

use super::Format;
use super::block::MXFP4_DOUBLED;

/// Stores `row` in `format`. Values that are not finite are stored as their format can, or as zero.
///
/// # Panics
/// When `out` is not exactly the stored row of `row.len()` elements.
pub fn quantize_row(format: Format, row: &[f32], out: &mut [u8]) {
    assert_eq!(Some(out.len()), format.row_bytes(row.len()), "a row's bytes must match its elements");
    for (block, out) in row.chunks_exact(format.block_len()).zip(out.chunks_exact_mut(format.block_bytes())) {
        match format {
            Format::F32 => out.copy_from_slice(&block[0].to_le_bytes()),
            Format::F16 => out.copy_from_slice(&f16::from_f32(block[0]).to_le_bytes()),
            Format::Bf16 => out.copy_from_slice(&bf16::from_f32(block[0]).to_le_bytes()),
            Format::Q8_0 => {
                let (d, values) = centred::<32>(block, 127, 127);
                out[..2].copy_from_slice(&d.to_le_bytes());
                out[2..].copy_from_slice(&values.map(|value| value.wrapping_sub(127)));
            }
            Format::Q4_0 => {
                let (d, values) = centred::<32>(block, 8, 7);
                out[..2].copy_from_slice(&d.to_le_bytes());
                store_nibbles_16(&values, &mut out[2..]);
            }
            Format::Q5_0 => {
                let (d, values) = centred::<32>(block, 16, 15);
                out[..2].copy_from_slice(&d.to_le_bytes());
                store_high_bits_32(&values, &mut out[2..6]);
                store_nibbles_16(&values, &mut out[6..]);
            }
            Format::Q4_1 => {
                let (d, min, values) = affine::<32>(block, 15);
                out[..2].copy_from_slice(&d.to_le_bytes());
                out[2..4].copy_from_slice(&min.to_le_bytes());
                store_nibbles_16(&values, &mut out[4..]);
            }
            Format::Q5_1 => {
                let (d, min, values) = affine::<32>(block, 31);
                out[..2].copy_from_slice(&d.to_le_bytes());
                out[2..4].copy_from_slice(&min.to_le_bytes());
                store_high_bits_32(&values, &mut out[4..8]);
                store_nibbles_16(&values, &mut out[8..]);
            }
            Format::Q4K => {
                let values = affine_groups(block, 15, &mut out[..16]);
                store_nibbles_32(&values, &mut out[16..]);
            }
            Format::Q5K => {
                let values = affine_groups(block, 31, &mut out[..16]);
                out[16..48].fill(0);
                for (index, value) in values.iter().enumerate() {
                    out[16 + index % 32] |= (value >> 4) << (index / 32);
                }
                store_nibbles_32(&values, &mut out[48..]);
            }
            Format::Q6K => six_bits(block, out),
            Format::Mxfp4 => {
                let (exponent, codes) = powers(block);
                out[0] = exponent;
                store_nibbles_16(&codes, &mut out[1..]);
            }
        }
    }
}

/// Floats of 4 bits under a power of two that leaves the extreme between the greatest of them, 6, and 4, or beyond by less
/// than a third: the power, as its exponent plus 127, and the codes of the nearest.
fn powers(block: &[f32]) -> (u8, [u8; 32]) {
    let extreme = extreme(block).abs();
    let exponent = if extreme > 0.0 { (extreme.log2().floor() as i32 - 2).clamp(-127, 127) } else { -127 };
    let doubled = 2.0 / 2_f64.powi(exponent);
    let mut codes = [0; 32];
    for (code, x) in codes.iter_mut().zip(block) {
        let distance =
            |code: &u8| (f64::from(*x) * doubled - f64::from(MXFP4_DOUBLED[usize::from(*code)])).abs();
        *code = (0..16).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
    }
    ((exponent + 127) as u8, codes)
}

/// The largest magnitude of the finite values, with its sign.
fn extreme(block: &[f32]) -> f32 {
    let finite = block.iter().filter(|value| value.is_finite());
    finite.fold(0.0, |best: f32, value| if value.abs() > best.abs() { *value } else { best })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 || !scale.is_finite() { 0.0 } else { 1.0 / scale }
}

/// Values `d * (value - below)` for value in `0..=below + above`; where there are more steps below than above, the
/// extreme gets the side that has more.
fn centred<const N: usize>(block: &[f32], below: i32, above: i32) -> (f16, [u8; N]) {
    let extreme = extreme(block);
    let d = f16::from_f32(if below > above { -extreme / below as f32 } else { extreme.abs() / above as f32 });
    let inverse = inverse(d.to_f32());
    let mut values = [0; N];
    for (value, x) in values.iter_mut().zip(block) {
        *value = ((x * inverse).round() as i32 + below).clamp(0, below + above) as u8;
    }
    (d, values)
}

/// The least and greatest finite value.
fn range(block: &[f32]) -> (f32, f32) {
    let mut finite = block.iter().copied().filter(|value| value.is_finite());
    let first = finite.next().unwrap_or(0.0);
    finite.fold((first, first), |(low, high), value| (low.min(value), high.max(value)))
}

/// Values `d * value + min` for value in `0..=top`.
fn affine<const N: usize>(block: &[f32], top: u8) -> (f16, f16, [u8; N]) {
    let (low, high) = range(block);
    let (d, min) = (f16::from_f32((high - low) / f32::from(top)), f16::from_f32(low));
    let (inverse, low) = (inverse(d.to_f32()), min.to_f32());
    let mut values = [0; N];
    for (value, x) in values.iter_mut().zip(block) {
        *value = (((x - low) * inverse).round() as u8).min(top);
    }
    (d, min, values)
}

/// Blocks of 256 with a 6-bit scale and minimum for every 32: fills the 16 bytes of `head`.
fn affine_groups(block: &[f32], top: u8, head: &mut [u8]) -> [u8; 256] {
    let mut steps = [0.0; 8];
    let mut lows = [0.0; 8];
    for (group, values) in block.chunks_exact(32).enumerate() {
        let (low, high) = range(values);
        lows[group] = (-low).max(0.0);
        steps[group] = (high.max(0.0) + lows[group]) / f32::from(top);
    }
    let d = f16::from_f32(steps.iter().copied().fold(0.0, f32::max) / 63.0);
    let dmin = f16::from_f32(lows.iter().copied().fold(0.0, f32::max) / 63.0);
    let (d_inverse, dmin_inverse) = (inverse(d.to_f32()), inverse(dmin.to_f32()));
    let scales = steps.map(|step| ((step * d_inverse).round() as u8).min(63));
    let mins = lows.map(|low| ((low * dmin_inverse).round() as u8).min(63));
    head[..2].copy_from_slice(&d.to_le_bytes());
    head[2..4].copy_from_slice(&dmin.to_le_bytes());
    for index in 0..4 {
        head[4 + index] = scales[index] | scales[index + 4] >> 4 << 6;
        head[8 + index] = mins[index] | mins[index + 4] >> 4 << 6;
        head[12 + index] = scales[index + 4] & 0xF | (mins[index + 4] & 0xF) << 4;
    }
    let mut values = [0; 256];
    for (index, (value, x)) in values.iter_mut().zip(block).enumerate() {
        let step = d.to_f32() * f32::from(scales[index / 32]);
        let low = dmin.to_f32() * f32::from(mins[index / 32]);
        *value = (((x + low) * inverse(step)).round() as u8).min(top);
    }
    values
}

fn six_bits(block: &[f32], out: &mut [u8]) {
    let mut steps = [0.0; 16];
    for (group, values) in block.chunks_exact(16).enumerate() {
        steps[group] = -extreme(values) / 32.0;
    }
    let d = f16::from_f32(extreme(&steps).abs() / 127.0);
    let d_inverse = inverse(d.to_f32());
    let scales = steps.map(|step| (step * d_inverse).round().clamp(-127.0, 127.0) as i8);
    out.fill(0);
    for (index, x) in block.iter().enumerate() {
        let step = d.to_f32() * f32::from(scales[index / 16]);
        let value = ((x * inverse(step)).round() as i32 + 32).clamp(0, 63) as u8;
        let (part, within) = (index / 128, index % 128);
        out[part * 64 + within % 64] |= (value & 0xF) << (within / 64 * 4);
        out[128 + part * 32 + within % 32] |= (value >> 4) << (within / 32 * 2);
    }
    out[192..208].copy_from_slice(&scales.map(|scale| scale as u8));
    out[208..].copy_from_slice(&d.to_le_bytes());
}

fn store_nibbles_16(values: &[u8; 32], out: &mut [u8]) {
    for (index, out) in out.iter_mut().enumerate() {
        *out = values[index] & 0xF | (values[index + 16] & 0xF) << 4;
    }
}

fn store_high_bits_32(values: &[u8; 32], out: &mut [u8]) {
    let mut bits = 0;
    for (index, value) in values.iter().enumerate() {
        bits |= u32::from(value >> 4 & 1) << index;
    }
    out.copy_from_slice(&bits.to_le_bytes());
}

fn store_nibbles_32(values: &[u8; 256], out: &mut [u8]) {
    for (index, out) in out.iter_mut().enumerate() {
        let at = index / 32 * 64 + index % 32;
        *out = values[at] & 0xF | (values[at + 32] & 0xF) << 4;
    }
}
