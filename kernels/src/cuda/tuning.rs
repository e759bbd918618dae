//! Which of two kernels a card does a product of many rows with: for quantized weights of each format, by 8-bit products
//! or by bf16 ones. It is timed once when a card is first opened, never guessed; no result depends on it by more than
//! either kernel's rounding. Owns how it is timed, and what came of it.

use std::time::Instant;

use super::driver::DriverError;
use super::gemm::{Addend, gemm_with};
use super::matrix::{DeviceMatrix, MatrixFormat};
use super::memory::Device;
use super::planes::PlaneFormat;
use super::rows::{DeviceRows, Forms};

/// The formats whose products of many rows are done in 8 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EightBitProducts {
    formats: Vec<PlaneFormat>,
}

/// A product that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Rows of activations.
    pub rows: usize,
    /// Rows and columns of weights.
    pub width: usize,
    /// How often each kernel runs; the fastest counts.
    pub rounds: usize,
}

impl Trial {
    /// A prompt's part through a layer of some billion weights: under a millisecond a round on any card.
    pub const CARD: Trial = Trial { rows: 512, width: 4096, rounds: 5 };
}

impl EightBitProducts {
    /// These formats.
    #[must_use]
    pub fn of(formats: &[PlaneFormat]) -> EightBitProducts {
        EightBitProducts { formats: formats.to_vec() }
    }

    /// Those for which the device was faster so. It should have nothing else to do.
    ///
    /// # Errors
    /// There is no memory, or the driver's.
    pub fn measure(device: &Device, trial: Trial) -> Result<EightBitProducts, DriverError> {
        let Trial { rows, width, rounds } = trial;
        // What the numbers are does not matter to how long it takes.
        let x =
            DeviceRows::zeros(device, rows, width, Forms { floats: false, eight_bits: true, bf16: true })?;
        let mut out = device.zeros(rows * width)?;
        let mut formats = Vec::new();
        for format in PlaneFormat::ALL {
            let weights = DeviceMatrix::zeros(device, MatrixFormat::Planes(format), width, width)?;
            let mut least = [f64::INFINITY; 2];
            // In turns, so that a clock that changes favours neither; what comes first does not count.
            for round in 0..=rounds {
                for (eight_bits, least) in [false, true].into_iter().zip(&mut least) {
                    device.driver().synchronize()?;
                    let begin = Instant::now();
                    gemm_with(eight_bits, device, rows, &x, &weights, Addend::Bias(None), &mut out)?;
                    device.driver().synchronize()?;
                    if round > 0 {
                        *least = least.min(begin.elapsed().as_secs_f64());
                    }
                }
            }
            if least[1] < least[0] {
                formats.push(format);
            }
        }
        Ok(EightBitProducts { formats })
    }

    /// Whether this format is one of them.
    #[must_use]
    pub fn has(&self, format: MatrixFormat) -> bool {
        matches!(format, MatrixFormat::Planes(format) if self.formats.contains(&format))
    }

    /// Them.
    #[must_use]
    pub fn formats(&self) -> &[PlaneFormat] {
        &self.formats
    }
}
