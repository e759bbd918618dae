//! Launchers of the matrix products of many rows: `cuda/gemm.cu` and `cuda/gemm_eight.cu`.

use super::driver::{Argument, DriverError, Product};
use super::matrix::{DeviceMatrix, MatrixFormat};
use super::memory::{Device, DeviceBuffer, optional};
use super::rows::DeviceRows;
use super::{Call, size};

/// Multiplies the first `rows` rows of `x` by a matrix of any format but f32; adds to what `out`, `[rows][outputs]`,
/// holds where `add` is true. Weights in bf16 are multiplied by the vendor's library where there is one and no bias, all
/// others by our own kernels: they are rounded to bf16, for which `x` is there in bf16; or they are not, for
/// formats that the device multiplies [in 8 bits](super::tuning::EightBitProducts), where `x` is there in 8 bits.
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
    let eight_bits = device.eight_bit_products().has(weights.format()) && x.eight_bits().is_some();
    let addend = if add { Addend::Output(bias) } else { Addend::Bias(bias) };
    gemm_with(eight_bits, device, rows, x, weights, addend, out)
}

/// What is added to a product.
pub(super) enum Addend<'a> {
    /// A bias, if there is one.
    Bias(Option<&'a DeviceBuffer<f32>>),
    /// What the output holds, and a bias, if there is one.
    Output(Option<&'a DeviceBuffer<f32>>),
}

/// The same by the kernel that is named, which must have one for the format.
pub(super) fn gemm_with(
    eight_bits: bool,
    device: &Device,
    rows: usize,
    x: &DeviceRows,
    weights: &DeviceMatrix,
    addend: Addend<'_>,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let kernel = match weights.format() {
        MatrixFormat::Planes(_) if eight_bits => "gemm_planes_s8",
        MatrixFormat::Planes(_) => "gemm_planes",
        MatrixFormat::Bf16 => "gemm_bf16",
        MatrixFormat::F16 => "gemm_f16",
        MatrixFormat::F32 => {
            return Err(DriverError::failed("gemm", "there is no kernel for weights in f32"));
        }
    };
    let (add, bias) = match addend {
        Addend::Bias(bias) => (false, bias),
        Addend::Output(bias) => (true, bias),
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
    if let (MatrixFormat::Bf16, None, Some(x)) = (weights.format(), bias, x.bf16())
        && rows > 0
    {
        let (x, weights, out) = (x.at(0), weights.buffer().at(0), out.at(0));
        let product = Product { x, weights, out, rows, outputs, columns: cols, add };
        if device.driver().multiply(&product)? {
            return Ok(());
        }
    }
    let missing = |form| DriverError::failed(kernel, format!("the activations are not there in {form}"));
    let mut arguments = match eight_bits {
        true => {
            let (values, scales) = x.eight_bits().ok_or_else(|| missing("8 bits"))?;
            vec![values.argument(), scales.argument()]
        }
        false => vec![x.bf16().ok_or_else(|| missing("bf16"))?.argument()],
    };
    arguments.extend([
        weights.buffer().argument(),
        optional(bias),
        out.argument(),
        size(rows)?,
        size(outputs)?,
        size(cols)?,
        Argument::U32(add.into()),
        Argument::U32(weights.format().code()),
    ]);
    // Two tiles of activations and two of weights: 64 rows of 72 numbers each; or of 80 numbers in 8 bits, with the scales
    // of two groups, two numbers a row of activations and three of weights.
    let shared_bytes = if eight_bits { 4 * 64 * 80 + 2 * 2 * 64 * (2 + 3) * 4 } else { 4 * 64 * 72 * 2 };
    call.launch(device, [outputs.div_ceil(64), rows.div_ceil(64), 1], 128, shared_bytes, arguments)
}
