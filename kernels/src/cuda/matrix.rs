//! [`DeviceMatrix`]: weights on the device, in the layout that its kernels read.

use super::driver::DriverError;
use super::memory::{Device, DeviceBuffer};
use super::planes::{self, PlaneFormat};
use super::random;
use crate::formats::Format;
use crate::random::RandomWeights;

/// How a device matrix stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixFormat {
    /// Quantized, in planes.
    Planes(PlaneFormat),
    /// Half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Single precision.
    F32,
}

impl MatrixFormat {
    /// How a stored format lies on the device.
    #[must_use]
    pub fn of(format: Format) -> MatrixFormat {
        match (PlaneFormat::of(format), format) {
            (Some(planes), _) => MatrixFormat::Planes(planes),
            (None, Format::F16) => MatrixFormat::F16,
            (None, Format::Bf16) => MatrixFormat::Bf16,
            (None, _) => MatrixFormat::F32,
        }
    }

    /// The bytes of a matrix on the device; nothing for shapes that no kernel takes: rows must be whole blocks, or
    /// whole vectors of 8 floats.
    #[must_use]
    pub fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        let floats = |bytes: usize| {
            let fits = rows > 0 && cols > 0 && cols.is_multiple_of(8);
            if fits { rows.checked_mul(cols)?.checked_mul(bytes) } else { None }
        };
        match self {
            MatrixFormat::Planes(format) => planes::bytes(format, rows, cols),
            MatrixFormat::F16 | MatrixFormat::Bf16 => floats(2),
            MatrixFormat::F32 => floats(4),
        }
    }

    /// Its number among float formats, or among planes.
    pub(crate) fn code(self) -> u32 {
        match self {
            MatrixFormat::Planes(format) => format.code(),
            MatrixFormat::F16 => 0,
            MatrixFormat::Bf16 => 1,
            MatrixFormat::F32 => 2,
        }
    }

    /// Whether it is quantized.
    pub(crate) fn is_planes(self) -> bool {
        matches!(self, MatrixFormat::Planes(_))
    }
}

/// A matrix of weights on the device.
#[derive(Debug)]
pub struct DeviceMatrix {
    format: MatrixFormat,
    rows: usize,
    cols: usize,
    bytes: DeviceBuffer<u8>,
}

impl DeviceMatrix {
    /// Repacks stored rows, one after another, and copies them to the device.
    ///
    /// # Errors
    /// The bytes are not of that shape, no kernel takes it, or there is no memory.
    pub fn upload(
        device: &Device,
        format: MatrixFormat,
        rows: usize,
        cols: usize,
        stored: &[u8],
    ) -> Result<DeviceMatrix, DriverError> {
        let refuse = |problem: &str| {
            DriverError::failed("upload", format!("a {rows} x {cols} matrix of {format:?}: {problem}"))
        };
        let bytes = format.bytes(rows, cols).ok_or_else(|| refuse("no kernel takes this shape"))?;
        // The product of a shape that has bytes as planes does not overflow.
        let expected = match format {
            MatrixFormat::Planes(format) => rows * (cols / format.block_len()) * format.block_bytes(),
            MatrixFormat::F16 | MatrixFormat::Bf16 | MatrixFormat::F32 => bytes,
        };
        if stored.len() != expected {
            return Err(refuse(&format!("has {expected} stored bytes, not {}", stored.len())));
        }
        let bytes = match format {
            MatrixFormat::Planes(format) => device.upload(&planes::pack(format, rows, cols, stored))?,
            _ => device.upload(stored)?,
        };
        Ok(DeviceMatrix { format, rows, cols, bytes })
    }

    /// A matrix of random weights, which the device makes: the same as an upload of what [`RandomWeights::read`] gives in
    /// the format that is stored so there.
    ///
    /// # Errors
    /// No model is stored in such a format, no kernel takes the shape, or there is no memory.
    pub fn random(
        device: &Device,
        format: MatrixFormat,
        rows: usize,
        cols: usize,
        weights: RandomWeights,
    ) -> Result<DeviceMatrix, DriverError> {
        // Between planes there are zeros.
        let mut matrix = DeviceMatrix::zeros(device, format, rows, cols)?;
        random::fill(device, format, [rows, cols], weights, &mut matrix.bytes)?;
        Ok(matrix)
    }

    /// A matrix whose bytes are all zero.
    ///
    /// # Errors
    /// No kernel takes the shape, or there is no memory.
    pub fn zeros(
        device: &Device,
        format: MatrixFormat,
        rows: usize,
        cols: usize,
    ) -> Result<DeviceMatrix, DriverError> {
        let problem =
            || DriverError::failed("zeros", format!("no kernel takes {rows} x {cols} of {format:?}"));
        let bytes = device.zeros(format.bytes(rows, cols).ok_or_else(problem)?)?;
        Ok(DeviceMatrix { format, rows, cols, bytes })
    }

    /// How it stores its numbers.
    #[must_use]
    pub fn format(&self) -> MatrixFormat {
        self.format
    }

    /// Its rows: outputs of a product.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Its columns: inputs of a product.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    /// Its bytes, as they lie there.
    ///
    /// # Errors
    /// The driver's.
    pub fn to_vec(&self) -> Result<Vec<u8>, DriverError> {
        self.bytes.to_vec()
    }

    /// Its numbers.
    pub(crate) fn buffer(&self) -> &DeviceBuffer<u8> {
        &self.bytes
    }
}
