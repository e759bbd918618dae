//! Launchers of `cuda/random.cu`: random weights that a device makes itself, by the rule of [`crate::random`].

use super::driver::{Argument, DriverError};
use super::matrix::MatrixFormat;
use super::memory::{Device, DeviceBuffer};
use super::{Call, size};
use crate::formats::Format;
use crate::random::{Powers, RandomWeights, Scales};

const THREADS: usize = 128;
/// Numbers that a thread makes.
const NUMBERS: usize = 8;

/// Writes all of a matrix of `rows` x `cols` to `bytes`, which has its length and holds zeros.
///
/// # Errors
/// No model is stored in such a format, or the driver's.
pub(super) fn fill(
    device: &Device,
    format: MatrixFormat,
    [rows, cols]: [usize; 2],
    weights: RandomWeights,
    bytes: &mut DeviceBuffer<u8>,
) -> Result<(), DriverError> {
    let kernel = if format.is_planes() { "random_planes" } else { "random_numbers" };
    let call = Call { kernel };
    call.require(format.bytes(rows, cols) == Some(bytes.len()), || {
        format!("{} bytes are no {rows} x {cols} matrix of {format:?}", bytes.len())
    })?;
    let RandomWeights { deviation, seed } = weights;
    let (code, seed) = (Argument::U32(format.code()), Argument::U64(seed));
    let (threads, arguments) = match format {
        MatrixFormat::Planes(planes) => {
            let stored = planes.stored();
            let (scale, minimum) = match stored {
                Format::Mxfp4 => {
                    let Powers { exponent, greater } = weights.powers();
                    (u16::from(exponent), greater)
                }
                _ => {
                    let Scales { scale, minimum } = weights.scales(stored);
                    (scale.to_bits(), minimum.unwrap_or_default().to_bits())
                }
            };
            let [scale, minimum] = [scale, minimum].map(|bits| Argument::U32(bits.into()));
            // Of 32 columns each; the product of a shape that has bytes does not overflow.
            let groups = rows * (cols / 32);
            (groups, vec![bytes.argument(), size(rows)?, size(cols)?, code, seed, scale, minimum])
        }
        MatrixFormat::F16 | MatrixFormat::Bf16 => {
            let count = rows * cols;
            let numbers =
                vec![bytes.argument(), Argument::U64(count as u64), code, seed, Argument::F32(deviation)];
            (count / NUMBERS, numbers)
        }
        MatrixFormat::F32 => return Err(no_rule(&call, format)),
    };
    call.launch(device, [threads.div_ceil(THREADS), 1, 1], THREADS as u32, 0, arguments)
}

fn no_rule(call: &Call, format: MatrixFormat) -> DriverError {
    DriverError::failed(call.kernel, format!("random weights are not made in {format:?}"))
}
