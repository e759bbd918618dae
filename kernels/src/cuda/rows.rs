//! Launchers of `cuda/rows.cu` and `cuda/embed.cu`, and [`DeviceRows`], the forms that rows of activations have there.

use half::bf16;

use super::driver::{Argument, DriverError};
use super::matrix::{DeviceMatrix, MatrixFormat};
use super::memory::{Device, DeviceBuffer, optional};
use super::{Call, size};

/// Which forms of a row a product will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// Single precision.
    pub floats: bool,
    /// 8 bits with a scale for every 32.
    pub eight_bits: bool,
    /// The upper half of a single.
    pub bf16: bool,
}

/// Rows of activations in any of three forms.
#[derive(Debug)]
pub struct DeviceRows {
    rows: usize,
    cols: usize,
    pub(crate) floats: Option<DeviceBuffer<f32>>,
    pub(crate) values: Option<DeviceBuffer<i8>>,
    /// Scale, and scale times the sum, of every 32 values.
    pub(crate) scales: Option<DeviceBuffer<f32>>,
    pub(crate) bf16: Option<DeviceBuffer<u16>>,
}

impl DeviceRows {
    /// Room for `rows` x `cols` in these forms.
    ///
    /// # Errors
    /// There is no memory, or 8 bits are wanted of a width that is not a multiple of 32.
    pub fn new(device: &Device, rows: usize, cols: usize, forms: Forms) -> Result<DeviceRows, DriverError> {
        if forms.eight_bits && !cols.is_multiple_of(32) {
            let problem = format!("{cols} columns are not whole groups of 32");
            return Err(DriverError::failed("rows in 8 bits", problem));
        }
        let length = rows.checked_mul(cols).ok_or(DriverError::OutOfMemory { bytes: usize::MAX })?;
        Ok(DeviceRows {
            rows,
            cols,
            floats: forms.floats.then(|| device.allocate(length)).transpose()?,
            values: forms.eight_bits.then(|| device.allocate(length)).transpose()?,
            scales: forms.eight_bits.then(|| device.allocate(length / 32 * 2)).transpose()?,
            bf16: forms.bf16.then(|| device.allocate(length)).transpose()?,
        })
    }

    /// The same, and every byte is zero.
    ///
    /// # Errors
    /// As [`DeviceRows::new`], or the driver's.
    pub fn zeros(device: &Device, rows: usize, cols: usize, forms: Forms) -> Result<DeviceRows, DriverError> {
        let mut made = DeviceRows::new(device, rows, cols, forms)?;
        let length = rows * cols;
        made.floats = forms.floats.then(|| device.zeros(length)).transpose()?;
        made.values = forms.eight_bits.then(|| device.zeros(length)).transpose()?;
        made.scales = forms.eight_bits.then(|| device.zeros(length / 32 * 2)).transpose()?;
        made.bf16 = forms.bf16.then(|| device.zeros(length)).transpose()?;
        Ok(made)
    }

    /// How many rows there is room for.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The width of a row.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The form in single precision.
    #[must_use]
    pub fn floats(&self) -> Option<&DeviceBuffer<f32>> {
        self.floats.as_ref()
    }

    /// The form in 8 bits: values, and (scale, scale times sum) of every 32.
    #[must_use]
    pub fn eight_bits(&self) -> Option<(&DeviceBuffer<i8>, &DeviceBuffer<f32>)> {
        self.values.as_ref().zip(self.scales.as_ref())
    }

    /// The form in bf16, as bits; [`bf16::from_bits`] makes numbers of them.
    #[must_use]
    pub fn bf16(&self) -> Option<&DeviceBuffer<u16>> {
        const _: () = assert!(size_of::<bf16>() == size_of::<u16>());
        self.bf16.as_ref()
    }

    fn arguments(&self) -> [Argument; 4] {
        [
            optional(self.floats.as_ref()),
            optional(self.values.as_ref()),
            optional(self.scales.as_ref()),
            optional(self.bf16.as_ref()),
        ]
    }
}

/// Adds `delta` to the first `rows` rows of `x` where it is given, and writes their RMS norms to `out`.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn rms_norm(
    device: &Device,
    rows: usize,
    x: &mut DeviceBuffer<f32>,
    delta: Option<&DeviceBuffer<f32>>,
    weight: &DeviceBuffer<f32>,
    epsilon: f32,
    out: &mut DeviceRows,
) -> Result<(), DriverError> {
    let call = Call { kernel: "rms_norm" };
    let cols = weight.len();
    call.require(cols > 0 && out.cols == cols, || format!("a weight of {cols} for rows of {}", out.cols))?;
    let fits = |length: usize| rows.checked_mul(cols).is_some_and(|needed| needed <= length);
    let enough = rows <= out.rows && fits(x.len()) && delta.is_none_or(|delta| fits(delta.len()));
    call.require(enough, || format!("there is no room for {rows} rows of {cols}"))?;
    let mut arguments =
        vec![x.argument(), optional(delta), weight.argument(), size(cols)?, Argument::F32(epsilon)];
    arguments.extend(out.arguments());
    call.launch(device, [rows, 1, 1], 256, 0, arguments)
}

/// Writes silu(gate) · up of the first `rows` rows to `out`, or just `gate` where there is no `up`.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn activate(
    device: &Device,
    rows: usize,
    gate: &DeviceBuffer<f32>,
    up: Option<&DeviceBuffer<f32>>,
    out: &mut DeviceRows,
) -> Result<(), DriverError> {
    let call = Call { kernel: "activate" };
    let cols = out.cols;
    let fits = |length: usize| rows.checked_mul(cols).is_some_and(|needed| needed <= length);
    let enough = rows <= out.rows && fits(gate.len()) && up.is_none_or(|up| fits(up.len()));
    call.require(enough, || format!("there is no room for {rows} rows of {cols}"))?;
    let mut arguments = vec![gate.argument(), optional(up), size(cols)?];
    arguments.extend(out.arguments());
    call.launch(device, [cols.div_ceil(128), rows, 1], 128, 0, arguments)
}

/// Writes the rows of `table` that the first `rows` tokens name to `out`; NaN for a token that it does not have.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn embed(
    device: &Device,
    rows: usize,
    table: &DeviceMatrix,
    tokens: &DeviceBuffer<u32>,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let planes = matches!(table.format(), MatrixFormat::Planes(_));
    let call = Call { kernel: if planes { "embed_planes" } else { "embed_numbers" } };
    let cols = table.cols();
    let enough = rows <= tokens.len() && rows.checked_mul(cols).is_some_and(|needed| needed <= out.len());
    call.require(enough, || format!("there is no room for {rows} rows of {cols}"))?;
    let arguments = vec![
        table.buffer().argument(),
        size(table.rows())?,
        size(cols)?,
        Argument::U32(table.format().code()),
        tokens.argument(),
        out.argument(),
    ];
    let threads = if planes { cols / 32 } else { cols };
    call.launch(device, [threads.div_ceil(128), rows, 1], 128, 0, arguments)
}

/// Writes the rows of `table`, `[][cols]`, that the first `rows` indices name to `out`; NaN for a row that it does not
/// have.
///
/// # Errors
/// Shapes do not fit together, or the driver's.
pub fn gather(
    device: &Device,
    rows: usize,
    cols: usize,
    table: &DeviceBuffer<f32>,
    indices: &DeviceBuffer<u32>,
    out: &mut DeviceBuffer<f32>,
) -> Result<(), DriverError> {
    let call = Call { kernel: "embed_numbers" };
    let fits = rows.checked_mul(cols).is_some_and(|needed| needed <= out.len());
    call.require(cols > 0 && rows <= indices.len() && fits, || {
        format!("there is no room for {rows} rows of {cols}")
    })?;
    let arguments = vec![
        table.argument(),
        size(table.len() / cols)?,
        size(cols)?,
        Argument::U32(MatrixFormat::F32.code()),
        indices.argument(),
        out.argument(),
    ];
    call.launch(device, [cols.div_ceil(128), rows, 1], 128, 0, arguments)
}
