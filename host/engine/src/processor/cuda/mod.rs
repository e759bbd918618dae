//! A graphics card, through whatever driver its [`Device`] has: a card's own, or a test's that runs the kernels on the
//! processor or only takes down what it is asked for.
//!
//! Owns a model's weights in the card's memory, repacked into planes; its pages of the cache and the buffers of a pass
//! ([`State`]), all of them made when the model is loaded; and what each operation launches (`pass`), decodes at one
//! stroke (`graphs`), and how tokens are chosen there (`choices`). A pass allocates nothing and waits once, for what it hands out;
//! before that it sends what the next decode looks up. Does not choose a card
//! (`backend::device`).

mod adapters;
mod buffers;
mod choices;
mod graphs;
mod pass;
mod plan;
mod ruler;
mod state;

pub use plan::{CardChoice, CardPlan, GpuLayers};

pub(crate) use choices::{choice, draw};
pub(crate) use pass::CudaPass;
pub(crate) use plan::{CardLoad, Extent, is_there};
pub(crate) use state::{State, kv_shape};

use half::bf16;
use lockgate_kernels::cuda::attention::DeviceRope;
use lockgate_kernels::cuda::matrix::{DeviceMatrix, MatrixFormat};
use lockgate_kernels::cuda::memory::{Device, DeviceBuffer};
use lockgate_kernels::formats::Format;

use super::{Processor, Rotation};
use crate::model::{LoadProblem, StoredMatrix};

/// A card.
pub(crate) struct Cuda;

impl Processor for Cuda {
    type Home = Device;
    type Matrix = DeviceMatrix;
    type Vector = DeviceBuffer<f32>;
    type Rope = DeviceRope;
    type Pass<'a> = CudaPass<'a>;

    fn matrix(device: &Device, stored: &StoredMatrix<'_>) -> Result<DeviceMatrix, LoadProblem> {
        let format = format_there(stored.format);
        if let Some(weights) = stored.rule() {
            let matrix = DeviceMatrix::random(device, format, stored.rows, stored.columns, weights)?;
            stored.made();
            return Ok(matrix);
        }
        let bytes = stored.read()?;
        let bytes = if stored.format == Format::F32 { rounded(&bytes) } else { bytes };
        Ok(DeviceMatrix::upload(device, format, stored.rows, stored.columns, &bytes)?)
    }

    fn vector(device: &Device, values: Vec<f32>) -> Result<DeviceBuffer<f32>, LoadProblem> {
        Ok(device.upload(&values)?)
    }

    fn rope(device: &Device, rotation: &Rotation) -> Result<DeviceRope, LoadProblem> {
        let Rotation { pairing, frequencies, positions } = rotation;
        let mut table = Vec::with_capacity(positions * 2 * frequencies.len());
        for position in 0..*positions {
            let angles = || frequencies.iter().map(|frequency| position as f64 * frequency);
            table.extend(angles().map(|angle| angle.cos() as f32));
            table.extend(angles().map(|angle| angle.sin() as f32));
        }
        Ok(DeviceRope { pairing: *pairing, pairs: frequencies.len(), table: device.upload(&table)? })
    }

    fn bytes(matrix: &DeviceMatrix) -> u64 {
        matrix.bytes() as u64
    }
}

/// How a stored format lies on a card. Single precision has no product of many rows there and is rounded.
fn format_there(format: Format) -> MatrixFormat {
    match format {
        Format::F32 => MatrixFormat::Bf16,
        other => MatrixFormat::of(other),
    }
}

fn rounded(singles: &[u8]) -> Vec<u8> {
    let numbers = singles.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    numbers.flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect()
}
