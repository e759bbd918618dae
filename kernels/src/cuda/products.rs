//! Launchers of the matrix products of up to eight rows: `cuda/gemv.cu` and `cuda/gemv_float.cu`.

use super::driver::{Argument, DriverError};
use super::matrix::DeviceMatrix;
use super::memory::{Device, DeviceBuffer, optional};
use super::rows::DeviceRows;
use super::{Call, size};

/// Rows of activations that these kernels take at most.
pub const BATCH_MAX: usize = 8;

/// Matrices that one launch multiplies at most.
pub const JOBS_MAX: usize = 3;

/// One matrix to multiply by.
#[derive(Debug)]
pub struct Job<'a> {
    /// The weights.
    pub weights: &'a DeviceMatrix,
    /// Added to each output.
    pub bias: Option<&'a DeviceBuffer<f32>>,
    /// `[batch][rows]`.
    pub out: &'a mut DeviceBuffer<f32>,
}

/// The kernel that takes a batch, of four for 1, 2, 4 and 8 rows.
fn of_batch(kernels: [&'static str; 4], batch: usize) -> Result<Call, DriverError> {
    let index = match batch {
        0 | 1 => 0,
        2 => 1,
        3 | 4 => 2,
        _ => 3,
    };
    let call = Call { kernel: kernels[index] };
    call.require((1..=BATCH_MAX).contains(&batch), || format!("a batch of {batch}, not 1 to {BATCH_MAX}"))?;
    Ok(call)
}

/// Rows of weights that a block takes, for the kernel of a batch.
fn rows_per_block(batch: usize) -> usize {
    if batch > 2 { 16 } else { 8 }
}

/// Multiplies the first `batch` rows of `x` by every matrix; adds to what the outputs hold where `add` is true. Quantized
/// matrices, of any formats, take the 8-bit form, floats, of any formats, the single form; one launch does them all.
///
/// # Errors
/// Shapes or forms do not fit together, or the driver's.
pub fn gemv(
    device: &Device,
    batch: usize,
    x: &DeviceRows,
    add: bool,
    jobs: &mut [Job<'_>],
) -> Result<(), DriverError> {
    let floats = jobs.first().is_some_and(|job| !job.weights.format().is_planes());
    let kernels = match floats {
        true => ["gemv_float_1", "gemv_float_2", "gemv_float_4", "gemv_float_8"],
        false => ["gemv_1", "gemv_2", "gemv_4", "gemv_8"],
    };
    let call = of_batch(kernels, batch)?;
    call.require((1..=JOBS_MAX).contains(&jobs.len()), || format!("{} matrices at once", jobs.len()))?;
    call.require(batch <= x.rows(), || format!("{batch} rows of {}", x.rows()))?;
    for job in &*jobs {
        let (rows, cols) = (job.weights.rows(), job.weights.cols());
        call.require(cols == x.cols(), || format!("{cols} columns of weights, {} of activations", x.cols()))?;
        let fits = batch.checked_mul(rows).is_some_and(|needed| needed <= job.out.len());
        call.require(fits && job.bias.is_none_or(|bias| bias.len() == rows), || {
            format!("an output or bias does not have {rows} numbers a row")
        })?;
        call.require(job.weights.format().is_planes() != floats, || {
            "float and quantized matrices in one product".to_owned()
        })?;
    }
    let (cols, batch_size, add) = (size(x.cols())?, size(batch)?, Argument::U32(add.into()));
    let per_block = rows_per_block(batch);
    let matrix = |job: &Job<'_>| -> Result<[Argument; 5], DriverError> {
        Ok([
            job.weights.buffer().argument(),
            optional(job.bias),
            job.out.argument(),
            size(job.weights.rows())?,
            Argument::U32(job.weights.format().code()),
        ])
    };
    let mut arguments = match floats {
        true => vec![x.floats().ok_or_else(|| missing(&call, "single precision"))?.argument()],
        false => {
            let (values, scales) = x.eight_bits().ok_or_else(|| missing(&call, "8 bits"))?;
            vec![values.argument(), scales.argument()]
        }
    };
    arguments.extend([cols, batch_size, add]);
    for job in &*jobs {
        arguments.extend(matrix(job)?);
    }
    for _ in jobs.len()..JOBS_MAX {
        arguments.extend([
            Argument::Null,
            Argument::Null,
            Argument::Null,
            Argument::U32(0),
            Argument::U32(0),
        ]);
    }
    let blocks = jobs.iter().map(|job| job.weights.rows().div_ceil(per_block)).sum();
    call.launch(device, [blocks, 1, 1], 128, 0, arguments)
}

/// Writes silu(gate · x) · (up · x) for the first `batch` rows of `x` to `out`, `[batch][rows]`.
///
/// # Errors
/// Shapes or forms do not fit together, the matrices have different formats, or the driver's.
pub fn gemv_swiglu(
    device: &Device,
    batch: usize,
    x: &DeviceRows,
    gate: &DeviceMatrix,
    up: &DeviceMatrix,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let floats = !gate.format().is_planes();
    let kernels = match floats {
        true => ["gemv_float_swiglu_1", "gemv_float_swiglu_2", "gemv_float_swiglu_4", "gemv_float_swiglu_8"],
        false => ["gemv_swiglu_1", "gemv_swiglu_2", "gemv_swiglu_4", "gemv_swiglu_8"],
    };
    let call = of_batch(kernels, batch)?;
    let (rows, cols) = (gate.rows(), gate.cols());
    call.require(batch <= x.rows() && cols == x.cols(), || format!("{batch} rows of {cols} columns"))?;
    let alike = up.rows() == rows && up.cols() == cols && up.format() == gate.format();
    call.require(alike, || "gate and up differ in shape or format".to_owned())?;
    let fits = batch.checked_mul(rows).is_some_and(|needed| needed <= out.len());
    call.require(fits, || format!("the output does not have {batch} x {rows} numbers"))?;
    let mut arguments = match floats {
        true => vec![x.floats().ok_or_else(|| missing(&call, "single precision"))?.argument()],
        false => {
            let (values, scales) = x.eight_bits().ok_or_else(|| missing(&call, "8 bits"))?;
            vec![values.argument(), scales.argument()]
        }
    };
    arguments.extend([size(cols)?, size(batch)?, gate.buffer().argument(), up.buffer().argument()]);
    arguments.extend([out.argument(), size(rows)?, Argument::U32(gate.format().code())]);
    let blocks = rows.div_ceil(rows_per_block(batch) / 2);
    call.launch(device, [blocks, 1, 1], 128, 0, arguments)
}

fn missing(call: &Call, form: &str) -> DriverError {
    DriverError::failed(call.kernel, format!("the activations are not there in {form}"))
}
