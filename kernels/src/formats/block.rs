//! One quantized block taken apart into plain integers: the only place that knows the bit layouts of stored blocks.
//! Packing and the naive references read blocks through it. Slow and obvious.

use half::{bf16, f16};

use super::Format;

/// The numbers of a block. Element i is `d * scale * (value - offset) - dmin * min`, with the scale and minimum of
/// i's group; formats of 32 elements have one group of scale 1, and `dmin` of min 1 (stored with its sign turned).
///
/// MXFP4's values are codes, of which each stands for twice a float of 4 bits ([`MXFP4_DOUBLED`]). Its scales, half a
/// power of two, are beyond half precision: `d` has the bits of their upper halves in single precision, which are all
/// that is not zero.
pub(crate) struct Block {
    pub(crate) values: [u8; 256],
    pub(crate) scales: [i8; 16],
    pub(crate) mins: [u8; 8],
    pub(crate) d: f16,
    pub(crate) dmin: f16,
}

/// What MXFP4's codes stand for, doubled so that all are whole.
pub(crate) const MXFP4_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// What an element's value stands for, before it is scaled.
pub(crate) const fn whole(format: Format, value: u8) -> i32 {
    match format {
        Format::Mxfp4 => MXFP4_DOUBLED[value as usize % 16] as i32,
        _ => value as i32 - offset(format),
    }
}

/// What an element's stored value is centred on; MXFP4's, once it is looked up.
pub(crate) const fn offset(format: Format) -> i32 {
    match format {
        Format::Q8_0 => 128,
        Format::Q4_0 => 8,
        Format::Q5_0 | Format::Mxfp4 => 16,
        Format::Q6K => 32,
        _ => 0,
    }
}

/// Elements that share one integer scale.
pub(crate) const fn group_len(format: Format) -> usize {
    if matches!(format, Format::Q6K) { 16 } else { 32 }
}

impl Block {
    pub(crate) fn new() -> Block {
        Block { values: [0; 256], scales: [1; 16], mins: [0; 8], d: f16::ZERO, dmin: f16::ZERO }
    }

    /// Reads a stored block of a quantized format.
    pub(crate) fn read(&mut self, format: Format, bytes: &[u8]) {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (self.scales, self.mins, self.dmin) = ([1; 16], [0; 8], f16::ZERO);
        match format {
            Format::Q8_0 => {
                self.d = half(0);
                for (value, byte) in self.values.iter_mut().zip(&bytes[2..34]) {
                    *value = byte ^ 0x80;
                }
            }
            Format::Q4_0 => {
                self.d = half(0);
                self.nibbles_16(&bytes[2..18]);
            }
            Format::Q4_1 => {
                self.d = half(0);
                self.minimum(half(2));
                self.nibbles_16(&bytes[4..20]);
            }
            Format::Q5_0 => {
                self.d = half(0);
                self.nibbles_16(&bytes[6..22]);
                self.high_bits_32(&bytes[2..6]);
            }
            Format::Q5_1 => {
                self.d = half(0);
                self.minimum(half(2));
                self.nibbles_16(&bytes[8..24]);
                self.high_bits_32(&bytes[4..8]);
            }
            Format::Mxfp4 => {
                // The least two are not normal numbers.
                let exponent = u16::from(bytes[0]);
                self.d = f16::from_bits(if exponent < 2 { 0x20 << exponent } else { (exponent - 1) << 7 });
                self.nibbles_16(&bytes[1..17]);
            }
            Format::Q4K => {
                (self.d, self.dmin) = (half(0), half(2));
                self.scales_6_bits(&bytes[4..16]);
                self.nibbles_32(&bytes[16..144]);
            }
            Format::Q5K => {
                (self.d, self.dmin) = (half(0), half(2));
                self.scales_6_bits(&bytes[4..16]);
                self.nibbles_32(&bytes[48..176]);
                for (group, values) in self.values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    for (value, byte) in values.iter_mut().zip(&bytes[16..48]) {
                        *value |= (byte >> group & 1) << 4;
                    }
                }
            }
            Format::Q6K => {
                self.d = half(208);
                for (scale, byte) in self.scales.iter_mut().zip(&bytes[192..208]) {
                    *scale = *byte as i8;
                }
                // Each half of 128 elements: 64 bytes of nibbles, low ones first, and 32 bytes of four 2-bit fields.
                for (part, values) in self.values.as_chunks_mut::<128>().0.iter_mut().enumerate() {
                    let (low, high) = (&bytes[part * 64..], &bytes[128 + part * 32..]);
                    for (quarter, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                        let low = &low[quarter % 2 * 32..][..32];
                        for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
                            *value = low >> (quarter / 2 * 4) & 0xF | (high >> (quarter * 2) & 3) << 4;
                        }
                    }
                }
            }
            Format::F32 | Format::F16 | Format::Bf16 => unreachable!("float formats have no blocks"),
        }
    }

    /// What `d` is.
    pub(crate) fn scale(&self, format: Format) -> f32 {
        match format {
            Format::Mxfp4 => bf16::from_bits(self.d.to_bits()).to_f32(),
            _ => self.d.to_f32(),
        }
    }

    /// The elements as floats; `out` is as long as a block.
    pub(crate) fn floats(&self, format: Format, out: &mut [f32]) {
        let group_len = group_len(format);
        let groups = out.chunks_exact_mut(group_len).zip(self.values.chunks_exact(group_len));
        for (group, (out, values)) in groups.enumerate() {
            let scale = self.scale(format) * f32::from(self.scales[group]);
            let minimum = self.mins.get(group).map_or(0.0, |&min| self.dmin.to_f32() * f32::from(min));
            for (out, value) in out.iter_mut().zip(values) {
                *out = scale * whole(format, *value) as f32 - minimum;
            }
        }
    }

    fn minimum(&mut self, minimum: f16) {
        (self.dmin, self.mins[0]) = (-minimum, 1);
    }

    /// Blocks of 32: byte i holds element i below element i + 16.
    fn nibbles_16(&mut self, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            (self.values[index], self.values[index + 16]) = (byte & 0xF, byte >> 4);
        }
    }

    /// Blocks of 32: bit i of a little-endian word is the fifth bit of element i.
    fn high_bits_32(&mut self, bytes: &[u8]) {
        for (index, value) in self.values[..32].iter_mut().enumerate() {
            *value |= (bytes[index / 8] >> (index % 8) & 1) << 4;
        }
    }

    /// Blocks of 256: each 32 bytes hold 32 elements below the next 32.
    fn nibbles_32(&mut self, bytes: &[u8]) {
        for (values, bytes) in self.values.as_chunks_mut::<64>().0.iter_mut().zip(bytes.as_chunks::<32>().0) {
            let (low, high) = values.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                (*low, *high) = (byte & 0xF, byte >> 4);
            }
        }
    }

    /// Eight scales and eight minimums of 6 bits in 12 bytes: the first four of each whole in the low bits of bytes
    /// 0..8, the last four as nibbles of bytes 8..12 with their upper bits on top of the first ones.
    fn scales_6_bits(&mut self, bytes: &[u8]) {
        for index in 0..4 {
            let (scale, min, rest) = (bytes[index], bytes[index + 4], bytes[index + 8]);
            self.scales[index] = (scale & 63) as i8;
            self.mins[index] = min & 63;
            self.scales[index + 4] = (rest & 0xF | scale >> 6 << 4) as i8;
            self.mins[index + 4] = rest >> 4 | min >> 6 << 4;
        }
    }
}
