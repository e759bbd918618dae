//! This machine's processor: weights packed into panels, threads, and buffers that only grow.
//!
//! What is computed in which order is fixed by the kernels, so that neither threads nor batches change a bit.

mod adapt;
mod pass;

pub(crate) use pass::{Buffers, CpuPass};

use lockgate_kernels::matmul::PackedMatrix;
use lockgate_kernels::rope::RopeTable;

use super::{Processor, Rotation};
use crate::model::{LoadProblem, StoredMatrix};

/// The processor.
pub(crate) struct Cpu;

impl Processor for Cpu {
    type Home = ();
    type Matrix = PackedMatrix;
    type Vector = Vec<f32>;
    type Rope = RopeTable;
    type Pass<'a> = CpuPass<'a>;

    fn matrix((): &(), stored: &StoredMatrix<'_>) -> Result<PackedMatrix, LoadProblem> {
        let matrix = PackedMatrix::new(stored.format, stored.rows, stored.columns);
        let mut matrix = matrix.map_err(|reason| stored.problem(reason))?;
        stored.fill(&mut matrix)?;
        Ok(matrix)
    }

    fn vector((): &(), values: Vec<f32>) -> Result<Vec<f32>, LoadProblem> {
        Ok(values)
    }

    fn rope((): &(), rotation: &Rotation) -> Result<RopeTable, LoadProblem> {
        let Rotation { pairing, frequencies, positions } = rotation;
        Ok(RopeTable::new(*pairing, frequencies, *positions, 1.0)?)
    }

    fn bytes(matrix: &PackedMatrix) -> u64 {
        matrix.bytes() as u64
    }
}
