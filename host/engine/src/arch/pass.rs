//! One forward pass: the rows that are being computed, and the buffers that they are computed in.
//!
//! A row is one token of one sequence. All sequences of a batch, prompts and single tokens alike, are rows of the
//! same matrices, so that each weight is read once a pass. Which rows there are is decided before a pass begins.

use std::ops::Range;

use lockgate_kernels::attention::{Sequence, Slot, Workspace};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::matmul::{Activations, MatmulJob, PackedMatrix, matmul};
use lockgate_kernels::memory::OutOfMemory;
use lockgate_kernels::norm;
use lockgate_kernels::pool::ThreadPool;

use super::adapt::{AdaptedRows, Adapting, Scratch};
use super::linear::{Linear, project};
use crate::kv::Cache;

/// Why a pass ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassError {
    /// It was told to stop.
    Stopped,
    /// There was no memory for the attention's scratch.
    Memory(OutOfMemory),
}

impl From<OutOfMemory> for PassError {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

/// What a network computes a pass with. One entry a row in `tokens`, `positions` and `slots`.
pub(crate) struct Pass<'a> {
    pub(crate) pool: &'a ThreadPool,
    pub(crate) level: Level,
    pub(crate) cache: &'a mut Cache,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) tokens: &'a [u32],
    pub(crate) positions: &'a [u32],
    pub(crate) slots: &'a [Slot],
    /// The sequences, in the order of their rows.
    pub(crate) sequences: &'a [Sequence<'a>],
    /// The rows from which something is wanted, logits or states, in order.
    pub(crate) wanted: &'a [usize],
    /// Those among `wanted` whose states behind the last norm are wanted, by their indices there, in order and apart.
    pub(crate) states: &'a [Range<usize>],
    /// The rows that adapters change, among those in the residual stream.
    pub(crate) adapted: &'a [AdaptedRows<'a>],
    /// The same among the wanted rows.
    pub(crate) adapted_wanted: &'a [AdaptedRows<'a>],
    pub(crate) hidden: usize,
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// Buffers that passes reuse.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The residual stream, `[rows][hidden]`.
    residual: Vec<f32>,
    normalized: Buffer,
    product: Buffer,
    /// The inputs of the next products.
    pub(crate) inputs: Activations,
    pub(crate) adapters: Scratch,
    pub(crate) queries: Buffer,
    pub(crate) keys: Buffer,
    pub(crate) values: Buffer,
    pub(crate) attended: Buffer,
    pub(crate) attention: Workspace,
    pub(crate) gate: Buffer,
    pub(crate) up: Buffer,
    pub(crate) gated: Buffer,
    /// `[rows whose logits are wanted][vocabulary]`
    pub(crate) logits: Vec<f32>,
    /// `[rows whose states are wanted][hidden]`
    pub(crate) states: Vec<f32>,
}

/// A buffer that only grows. What it holds at first is left over from earlier.
#[derive(Default)]
pub(crate) struct Buffer(Vec<f32>);

impl Buffer {
    pub(crate) fn sized(&mut self, length: usize) -> &mut [f32] {
        if self.0.len() < length {
            self.0.resize(length, 0.0);
        }
        &mut self.0[..length]
    }
}

impl Buffers {
    /// Adds a projection of the inputs to the residual.
    pub(crate) fn add_projection(&mut self, adapting: Adapting<'_>, linear: &Linear) {
        let product = self.product.sized(self.residual.len());
        project(adapting, &mut self.adapters, &mut self.inputs, [(linear, &mut *product)]);
        norm::add(adapting.pool, adapting.level, &mut self.residual, product);
    }
}

impl<'a> Pass<'a> {
    /// What projections are computed with now.
    pub(crate) fn adapting(&self) -> Adapting<'a> {
        Adapting { pool: self.pool, level: self.level, adapted: self.adapted }
    }

    /// The rows in the residual stream: all, after [`Self::keep_wanted`] the wanted ones, after
    /// [`Self::normalize_output`] those whose logits are wanted.
    pub(crate) fn rows(&self) -> usize {
        self.buffers.residual.len() / self.hidden
    }

    /// Fails when the pass has been told to stop.
    pub(crate) fn poll(&self) -> Result<(), PassError> {
        if (self.stop)() { Err(PassError::Stopped) } else { Ok(()) }
    }

    /// Begins the residual stream with the tokens' rows of `embedding`.
    pub(crate) fn embed(&mut self, embedding: &PackedMatrix) {
        let residual = &mut self.buffers.residual;
        residual.resize(self.tokens.len() * self.hidden, 0.0);
        for (token, row) in self.tokens.iter().zip(residual.chunks_exact_mut(self.hidden)) {
            embedding.dequantize_row(*token as usize, row);
        }
    }

    /// Makes the normalised residual the input of the next products.
    pub(crate) fn normalize(&mut self, weight: &[f32], epsilon: f32) {
        let (rows, buffers) = (self.rows(), &mut *self.buffers);
        let normalized = buffers.normalized.sized(buffers.residual.len());
        norm::rms_norm(self.pool, self.level, &buffers.residual, weight, epsilon, normalized);
        buffers.inputs.set(self.pool, self.level, rows, self.hidden, normalized);
    }

    /// The last norm. The states that are wanted are set aside; the rows whose logits are wanted become the input of
    /// [`Self::project_logits`].
    pub(crate) fn normalize_output(&mut self, weight: &[f32], epsilon: f32) {
        self.buffers.states.clear();
        if self.states.is_empty() {
            return self.normalize(weight, epsilon);
        }
        let (rows, hidden, buffers) = (self.rows(), self.hidden, &mut *self.buffers);
        let normalized = buffers.normalized.sized(rows * hidden);
        norm::rms_norm(self.pool, self.level, &buffers.residual, weight, epsilon, normalized);
        for states in self.states {
            buffers.states.extend_from_slice(&normalized[states.start * hidden..states.end * hidden]);
        }
        let (mut kept, mut done) = (0, 0);
        for states in self.states.iter().cloned().chain(std::iter::once(rows..rows)) {
            normalized.copy_within(done * hidden..states.start * hidden, kept * hidden);
            kept += states.start - done;
            done = states.end;
        }
        buffers.residual.truncate(kept * hidden);
        buffers.inputs.set(self.pool, self.level, kept, hidden, &normalized[..kept * hidden]);
    }

    /// Drops the rows from which nothing is wanted: behind the last attention nobody looks at them any more.
    pub(crate) fn keep_wanted(&mut self) {
        for (to, from) in self.wanted.iter().enumerate() {
            let row = from * self.hidden..(from + 1) * self.hidden;
            self.buffers.residual.copy_within(row, to * self.hidden);
        }
        self.buffers.residual.truncate(self.wanted.len() * self.hidden);
        self.adapted = self.adapted_wanted;
    }

    /// Turns the inputs into logits.
    pub(crate) fn project_logits(&mut self, output: &PackedMatrix) {
        let length = self.rows() * output.rows();
        let buffers = &mut *self.buffers;
        buffers.logits.resize(length, 0.0);
        let mut jobs = [MatmulJob { weights: output, out: &mut buffers.logits }];
        matmul(self.pool, self.level, &mut jobs, &mut buffers.inputs);
    }
}
