//! Matrix product of activations with quantized weights: `out[t][r] = sum over c of x[t][c] * weights[r][c]`.
//!
//! Weights are a [`PackedMatrix`], activations an [`Activations`]; [`matmul`] computes several products of the same
//! activations in one parallel region. The order of operations of an output is part of the contract, so that outputs
//! are the same bits for every batch, thread count and level; `matmul/reference.rs` states it as naive code.
//!
//! Quantized weights meet quantized activations: 8 bits with a scale for every 32 elements (formats with blocks of 32)
//! or every 256. Float formats meet the activations as they are. An input block that holds an infinity or a NaN makes
//! the outputs it reaches NaN.

mod activations;
mod packed;
pub mod reference;

#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use packed::{PackError, PackedMatrix, PanelMut};

use crate::cpu::Level;
use crate::disjoint::DisjointMut;
use crate::pool::ThreadPool;

/// One product of a call.
pub struct MatmulJob<'a> {
    /// The matrix, of as many columns as the activations.
    pub weights: &'a PackedMatrix,
    /// Row-major, a row for each row of the activations, a column for each row of the weights. Overwritten.
    pub out: &'a mut [f32],
}

/// Computes all products as one parallel region. Formats and row counts of the jobs may differ.
///
/// # Panics
/// When a job's columns are not the activations' or its output is not of exactly the product's size; nothing has been
/// computed then.
pub fn matmul(pool: &ThreadPool, level: Level, jobs: &mut [MatmulJob<'_>], x: &mut Activations) {
    for job in jobs.iter() {
        assert_eq!(job.weights.cols(), x.cols(), "the weights' columns must be the activations'");
        let size = x.rows().checked_mul(job.weights.rows());
        assert_eq!(Some(job.out.len()), size, "the output must hold activations' rows x weights' rows");
    }
    let _ = level;
    for job in jobs.iter_mut() {
        let rows = job.weights.rows();
        let out = DisjointMut::new(job.out);
        pool.for_each(rows, &|_, row| {
            for (token, x) in x.values().chunks_exact(x.cols().max(1)).enumerate() {
                let at = token * rows + row;
                let value = reference::dot(job.weights.format(), job.weights.row(row), x);
                #[allow(unsafe_code, reason = "each task writes one column of the output")]
                // SAFETY: one task a weight row, and each writes only that row's column.
                unsafe {
                    out.part(at..at + 1)[0] = value;
                }
            }
        });
    }
}
