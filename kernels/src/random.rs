//! Random weights as a rule: the same numbers wherever they are made, in any order and in parts of any size.
//!
//! Owns the generator and, as the naive reference of `cuda/random.cu`, the stored bytes that follow from a
//! [`RandomWeights`]: every unit (a block, or 32 numbers of a float format) comes from a generator of its own, which the
//! unit's number begins. Which matrices a model has, and of what size their weights are, is the caller's business.

use half::{bf16, f16};

use crate::formats::Format;

/// A small generator of numbers that need to look random, not to be unpredictable (SplitMix64): its nth word depends on
/// its seed and n alone.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that begins here.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// From −1 to 1.
    pub fn symmetric(&mut self) -> f32 {
        // The upper 24 bits, as many as a float keeps.
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn fill(&mut self, out: &mut [u8]) {
        let (words, rest) = out.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Spreads what little differs between two numbers over all their bits.
#[must_use]
pub fn scramble(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// A matrix of random weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomWeights {
    /// About the standard deviation of the weights, around zero.
    pub deviation: f32,
    /// The same seed gives the same weights in a format.
    pub seed: u64,
}

/// A stored block of the largest format, Q6_K.
const UNIT_BYTES_MAX: usize = 210;

impl RandomWeights {
    /// Fills `target` with the stored bytes of the matrix, whose rows lie one after another, from byte `start` on.
    pub fn read(self, format: Format, start: u64, mut target: &mut [u8]) {
        let unit_bytes = format.block_bytes() * (unit_len(format) / format.block_len());
        let mut number = start / unit_bytes as u64;
        let mut skip = (start % unit_bytes as u64) as usize;
        while !target.is_empty() {
            let random = Random(scramble(self.seed.wrapping_add(number)));
            let count = (unit_bytes - skip).min(target.len());
            let (now, later) = target.split_at_mut(count);
            if count == unit_bytes {
                self.fill_unit(format, random, now);
            } else {
                let mut unit = [0; UNIT_BYTES_MAX];
                self.fill_unit(format, random, &mut unit[..unit_bytes]);
                now.copy_from_slice(&unit[skip..skip + count]);
            }
            (target, number, skip) = (later, number + 1, 0);
        }
    }

    fn fill_unit(self, format: Format, mut random: Random, out: &mut [u8]) {
        let mut number = || random.symmetric() * self.deviation * 3f32.sqrt();
        match format {
            Format::F32 => {
                out.as_chunks_mut().0.iter_mut().for_each(|bytes| *bytes = number().to_le_bytes());
            }
            Format::F16 => {
                let half = |number| f16::from_f32(number).to_le_bytes();
                out.as_chunks_mut().0.iter_mut().for_each(|bytes| *bytes = half(number()));
            }
            Format::Bf16 => {
                let half = |number| bf16::from_f32(number).to_le_bytes();
                out.as_chunks_mut().0.iter_mut().for_each(|bytes| *bytes = half(number()));
            }
            _ => {
                random.fill(out);
                if format == Format::Mxfp4 {
                    let Powers { exponent, greater } = self.powers();
                    out[0] = exponent + u8::from(u16::from(out[0]) < greater);
                    return;
                }
                let Scales { scale, minimum } = self.scales(format);
                let at = if format == Format::Q6K { 208 } else { 0 };
                out[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                if let Some(minimum) = minimum {
                    out[at + 2..at + 4].copy_from_slice(&minimum.to_le_bytes());
                }
            }
        }
    }

    /// The power of two that stands in each block of MXFP4.
    pub(crate) fn powers(self) -> Powers {
        // Of the floats of 4 bits that random codes are.
        let scale = self.deviation / 2.926;
        let exponent = scale.log2().floor().clamp(-126.0, 126.0);
        // As many blocks have twice the scale as make it what it should be on the whole.
        let share = ((scale / exponent.exp2()).powi(2) - 1.0) / 3.0;
        Powers { exponent: (exponent + 127.0) as u8, greater: (share * 256.0).round() as u16 }
    }

    /// What stands in every block of another quantized format, so that random bytes below it deviate as they should.
    pub(crate) fn scales(self, format: Format) -> Scales {
        // What one step of the random bytes deviates by, and where the minimum must stand for a mean of zero. Six-bit
        // scales and minima are random as well.
        let (step_deviation, minimum) = match format {
            Format::Q8_0 => (73.9, None),
            Format::Q4_0 => (4.61, None),
            Format::Q4_1 => (4.61, Some(-7.5)),
            Format::Q5_0 => (9.23, None),
            Format::Q5_1 => (9.23, Some(-15.5)),
            Format::Q4K => (258.0, Some(7.5)),
            Format::Q5K => (527.0, Some(15.5)),
            Format::Q6K => (1_366.0, None),
            Format::Mxfp4 | Format::F32 | Format::F16 | Format::Bf16 => (1.0, None),
        };
        let scale = self.deviation / step_deviation;
        let half = |value: f32| f16::from_f32(value);
        Scales { scale: half(scale), minimum: minimum.map(|minimum| half(scale * minimum)) }
    }
}

/// What blocks of MXFP4 have: a power of two by its exponent plus 127, or the one after it where the random byte in its
/// place is below `greater`.
pub(crate) struct Powers {
    pub(crate) exponent: u8,
    pub(crate) greater: u16,
}

/// The scale of a stored block, and its minimum in formats that have one.
pub(crate) struct Scales {
    pub(crate) scale: f16,
    pub(crate) minimum: Option<f16>,
}

/// Elements that are made together: a block, and several where a block is a single number.
fn unit_len(format: Format) -> usize {
    format.block_len().max(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::dequantize_row;

    #[test]
    fn parts_are_those_of_the_whole() {
        for format in Format::ALL {
            let weights = RandomWeights { deviation: 0.1, seed: 3 };
            let mut whole = vec![0; 16 * format.block_bytes() * (unit_len(format) / format.block_len())];
            weights.read(format, 0, &mut whole);
            for (start, length) in [(0, 1), (1, 2), (33, 211), (whole.len() - 5, 5), (7, 0)] {
                let mut part = vec![0; length];
                weights.read(format, start as u64, &mut part);
                assert_eq!(part, whole[start..start + length], "{format:?} from {start}");
            }
        }
    }

    #[test]
    fn they_deviate_from_zero_as_they_should() {
        for format in Format::ALL {
            let mut stored = vec![0; format.row_bytes(1 << 15).expect("whole blocks")];
            RandomWeights { deviation: 0.5, seed: 11 }.read(format, 0, &mut stored);
            let mut values = vec![0.0; 1 << 15];
            dequantize_row(format, &stored, &mut values);
            let mean =
                |of: &dyn Fn(f32) -> f32| values.iter().map(|v| of(*v)).sum::<f32>() / (1 << 15) as f32;
            // Values that count from -8 to 7 have half a step less than zero in the middle.
            let (middle, deviation) = (mean(&|value| value), mean(&|value| value * value).sqrt());
            assert!(
                middle.abs() < 0.08 && (deviation - 0.5).abs() < 0.06,
                "{format:?}: {middle} ± {deviation}"
            );
        }
    }
}
