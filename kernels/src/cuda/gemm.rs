//! Launchers of the matrix products of many rows: `cuda/gemm.cu`.

use super::driver::{Argument, DriverError};
use super::matrix::{DeviceMatrix, MatrixFormat};
use super::memory::{Device, DeviceBuffer, optional};
use super::rows::DeviceRows;
use super::{Call, size};

/// Multiplies the first `rows` rows of `x`, in bf16, by a matrix of any format but f32; adds to what `out`,
/// `[rows][outputs]`, holds where `add` is true. Weights are rounded to bf16.
///
/// # Errors
/// Shapes or forms do not fit together, or the driver's.
pub fn gemm(
    device: &Device,
    rows: usize,
    x: &DeviceRows,
    weights: &DeviceMatrix,
    bias: Option<&DeviceBuffer<f32>>,
    add: bool,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let kernel = match weights.format() {
        MatrixFormat::Planes(_) => "gemm_planes",
        MatrixFormat::Bf16 => "gemm_bf16",
        MatrixFormat::F16 => "gemm_f16",
        MatrixFormat::F32 => {
            return Err(DriverError::failed("gemm", "there is no kernel for weights in f32"));
        }
    };
    let call = Call { kernel };
    let (outputs, cols) = (weights.rows(), weights.cols());
    call.require(rows <= x.rows() && cols == x.cols(), || {
        format!("{rows} rows of {cols} columns, of activations {} x {}", x.rows(), x.cols())
    })?;
    let fits = rows.checked_mul(outputs).is_some_and(|needed| needed <= out.len());
    call.require(fits && bias.is_none_or(|bias| bias.len() == outputs), || {
        format!("an output or bias does not have {outputs} numbers a row")
    })?;
    let activations = x.bf16();
    call.require(activations.is_some(), || "the activations are not there in bf16".to_owned())?;
    let arguments = vec![
        optional(activations),
        weights.buffer().argument(),
        optional(bias),
        out.argument(),
        size(rows)?,
        size(outputs)?,
        size(cols)?,
        Argument::U32(add.into()),
        Argument::U32(weights.format().code()),
    ];
    // Two tiles of activations and two of weights, 64 rows of 72 numbers each.
    let shared_bytes = 4 * 64 * 72 * 2;
    call.launch(device, [outputs.div_ceil(64), rows.div_ceil(64), 1], 128, shared_bytes, arguments)
}
