//! Matrix product of activations with quantized weights: `out[t][r] = sum over c of x[t][c] * weights[r][c]`.
//!
//! Weights are a [`PackedMatrix`], activations an [`Activations`]; [`matmul`] computes several products of the same
//! activations in one parallel region. The order of operations of an output is part of the contract, so that outputs
//! are the same bits for every batch, thread count and level; [`mod@reference`] states it as naive code.
//!
//! Quantized weights meet quantized activations: 8 bits with a scale for every 32 elements (formats with blocks of 32)
//! or every 256. Float formats meet the activations as they are. An input block that holds an infinity or a NaN makes
//! the outputs it reaches NaN.
//!
//! Start reading at `layout.rs`, then `quantized.rs`; `isa.rs` is what they are written in.

mod activations;
mod floats;
mod isa;
mod layout;
mod pack;
mod packed;
mod quantize;
mod quantized;
pub mod reference;
mod schedule;
mod source;

#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use packed::{PackError, PackedMatrix, PanelMut};

use isa::{Isa, Plain};
use schedule::Plan;

use crate::cpu::Level;
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
    let tokens = x.rows();
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(isa) = isa::Avx512::new(level) {
            return schedule::run::<_, { isa::Avx512::PANELS }>(isa, Plan::best(isa, tokens), pool, jobs, x);
        }
        if let Some(isa) = isa::Avx2::new(level) {
            return schedule::run::<_, { isa::Avx2::PANELS }>(isa, Plan::best(isa, tokens), pool, jobs, x);
        }
    }
    let _ = level;
    schedule::run::<_, { Plain::PANELS }>(Plain, Plan::best(Plain, tokens), pool, jobs, x);
}
