//! One forward pass on the processor, and the buffers that it is computed in.

use lockgate_kernels::activation;
use lockgate_kernels::attention::{self, Attention, Workspace};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::matmul::{Activations, MatmulJob, PackedMatrix, matmul};
use lockgate_kernels::norm;
use lockgate_kernels::pool::ThreadPool;
use lockgate_kernels::rope::{self, RopeTable};

use super::Cpu;
use super::adapt::{Adapting, Scratch, project};
use crate::kv::LayerState;
use crate::processor::batch::rows_between;
use crate::processor::{AdaptedRows, Batch, Heads, Linear, Outputs, Pass, PassError};
use crate::sampler;

/// A pass on the processor.
pub(crate) struct CpuPass<'a> {
    pool: &'a ThreadPool,
    level: Level,
    layers: &'a mut [LayerState],
    buffers: &'a mut Buffers,
    outputs: &'a mut Outputs,
    batch: &'a Batch<'a>,
    /// The rows that adapters change, among those in the residual stream.
    adapted: &'a [AdaptedRows<'a>],
}

/// Buffers that passes reuse.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The residual stream, `[rows][hidden]`.
    residual: Vec<f32>,
    normalized: Buffer,
    product: Buffer,
    /// The inputs of the next products.
    inputs: Activations,
    adapters: Scratch,
    queries: Buffer,
    keys: Buffer,
    values: Buffer,
    attended: Buffer,
    attention: Workspace,
    gate: Buffer,
    up: Buffer,
    gated: Buffer,
    sampler: sampler::Scratch,
}

impl Buffers {
    /// The residual stream as the last pass left it.
    pub(crate) fn residual(&self) -> &[f32] {
        &self.residual
    }
}

/// A buffer that only grows. What it holds at first is left over from earlier.
#[derive(Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    pub(super) fn sized(&mut self, length: usize) -> &mut [f32] {
        if self.0.len() < length {
            self.0.resize(length, 0.0);
        }
        &mut self.0[..length]
    }
}

impl<'a> CpuPass<'a> {
    /// A pass over `batch` on these threads. `layers` are the states of the model's first layers.
    pub(crate) fn new(
        (pool, level): (&'a ThreadPool, Level),
        layers: &'a mut [LayerState],
        buffers: &'a mut Buffers,
        outputs: &'a mut Outputs,
        batch: &'a Batch<'a>,
    ) -> Self {
        Self { pool, level, layers, buffers, outputs, batch, adapted: batch.adapted }
    }

    /// What projections are computed with now.
    fn adapting(&self) -> Adapting<'a> {
        Adapting { pool: self.pool, level: self.level, adapted: self.adapted }
    }

    /// The rows in the residual stream: all, after [`Pass::keep_wanted`] the wanted ones, after
    /// [`Pass::normalize_output`] those whose logits are wanted.
    fn rows(&self) -> usize {
        self.buffers.residual.len() / self.batch.hidden
    }
}

impl Pass<Cpu> for CpuPass<'_> {
    fn poll(&self) -> Result<(), PassError> {
        if (self.batch.stop)() { Err(PassError::Stopped) } else { Ok(()) }
    }

    fn embed(&mut self, embedding: &PackedMatrix) -> Result<(), PassError> {
        let (residual, batch) = (&mut self.buffers.residual, self.batch);
        residual.resize(batch.tokens.len() * batch.hidden, 0.0);
        for (token, row) in batch.tokens.iter().zip(residual.chunks_exact_mut(batch.hidden)) {
            embedding.dequantize_row(*token as usize, row);
        }
        Ok(())
    }

    fn normalize(&mut self, weight: &Vec<f32>, epsilon: f32) -> Result<(), PassError> {
        let (rows, buffers) = (self.rows(), &mut *self.buffers);
        let normalized = buffers.normalized.sized(buffers.residual.len());
        norm::rms_norm(self.pool, self.level, &buffers.residual, weight, epsilon, normalized);
        buffers.inputs.set(self.pool, self.level, rows, self.batch.hidden, normalized);
        Ok(())
    }

    fn project_heads(&mut self, heads: Heads, projections: [&Linear<Cpu>; 3]) -> Result<(), PassError> {
        let (rows, adapting, buffers) = (self.rows(), self.adapting(), &mut *self.buffers);
        let Heads { heads, kv_heads, head_dim, .. } = heads;
        let queries = buffers.queries.sized(rows * heads * head_dim);
        let keys = buffers.keys.sized(rows * kv_heads * head_dim);
        let values = buffers.values.sized(rows * kv_heads * head_dim);
        let [query, key, value] = projections;
        let outputs = [(query, &mut *queries), (key, &mut *keys), (value, &mut *values)];
        project(adapting, &mut buffers.adapters, &mut buffers.inputs, outputs);
        Ok(())
    }

    fn rotate_and_keep(&mut self, heads: Heads, rope: &RopeTable) -> Result<(), PassError> {
        let (pool, level, rows, positions) = (self.pool, self.level, self.rows(), self.batch.positions);
        let Heads { layer, heads, kv_heads, head_dim } = heads;
        let buffers = &mut *self.buffers;
        let queries = buffers.queries.sized(rows * heads * head_dim);
        let keys = buffers.keys.sized(rows * kv_heads * head_dim);
        let values = buffers.values.sized(rows * kv_heads * head_dim);
        rope::apply(pool, level, rope, positions, heads, head_dim, queries);
        rope::apply(pool, level, rope, positions, kv_heads, head_dim, keys);
        let LayerState::Attention(pages) = &mut self.layers[layer];
        pages.append(pool, level, self.batch.slots, keys, values);
        Ok(())
    }

    fn attend(&mut self, heads: Heads) -> Result<(), PassError> {
        let (pool, level, rows) = (self.pool, self.level, self.rows());
        let Heads { layer, heads, head_dim, .. } = heads;
        let LayerState::Attention(pages) = &self.layers[layer];
        let buffers = &mut *self.buffers;
        let job = Attention {
            pages,
            heads,
            scale: 1.0 / (head_dim as f32).sqrt(),
            sequences: self.batch.sequences,
            queries: buffers.queries.sized(rows * heads * head_dim),
        };
        let attended = buffers.attended.sized(rows * heads * head_dim);
        attention::attend(pool, level, &job, &mut buffers.attention, attended)?;
        buffers.inputs.set(pool, level, rows, heads * head_dim, attended);
        Ok(())
    }

    fn project_gated(&mut self, gate: &Linear<Cpu>, up: &Linear<Cpu>) -> Result<(), PassError> {
        let (rows, inner, adapting) = (self.rows(), gate.outputs, self.adapting());
        let buffers = &mut *self.buffers;
        let gates = buffers.gate.sized(rows * inner);
        let ups = buffers.up.sized(rows * inner);
        let outputs = [(gate, &mut *gates), (up, &mut *ups)];
        project(adapting, &mut buffers.adapters, &mut buffers.inputs, outputs);
        let gated = buffers.gated.sized(rows * inner);
        activation::silu_mul(self.pool, self.level, gates, ups, gated);
        buffers.inputs.set(self.pool, self.level, rows, inner, gated);
        Ok(())
    }

    fn add_projection(&mut self, projection: &Linear<Cpu>) -> Result<(), PassError> {
        let (adapting, buffers) = (self.adapting(), &mut *self.buffers);
        let product = buffers.product.sized(buffers.residual.len());
        project(adapting, &mut buffers.adapters, &mut buffers.inputs, [(projection, &mut *product)]);
        norm::add(self.pool, self.level, &mut buffers.residual, product);
        Ok(())
    }

    fn keep_wanted(&mut self) -> Result<(), PassError> {
        let (batch, residual) = (self.batch, &mut self.buffers.residual);
        for (to, from) in batch.wanted.iter().enumerate() {
            let row = from * batch.hidden..(from + 1) * batch.hidden;
            residual.copy_within(row, to * batch.hidden);
        }
        residual.truncate(batch.wanted.len() * batch.hidden);
        self.adapted = batch.adapted_wanted;
        Ok(())
    }

    fn normalize_output(&mut self, weight: &Vec<f32>, epsilon: f32) -> Result<(), PassError> {
        self.outputs.states.clear();
        if self.batch.states.is_empty() {
            return self.normalize(weight, epsilon);
        }
        let (rows, hidden, buffers) = (self.rows(), self.batch.hidden, &mut *self.buffers);
        let normalized = buffers.normalized.sized(rows * hidden);
        norm::rms_norm(self.pool, self.level, &buffers.residual, weight, epsilon, normalized);
        for states in self.batch.states {
            self.outputs.states.extend_from_slice(&normalized[states.start * hidden..states.end * hidden]);
        }
        let (mut kept, mut done) = (0, 0);
        for states in self.batch.states.iter().cloned().chain(std::iter::once(rows..rows)) {
            normalized.copy_within(done * hidden..states.start * hidden, kept * hidden);
            kept += states.start - done;
            done = states.end;
        }
        buffers.residual.truncate(kept * hidden);
        buffers.inputs.set(self.pool, self.level, kept, hidden, &normalized[..kept * hidden]);
        Ok(())
    }

    fn project_logits(&mut self, output: &PackedMatrix) -> Result<(), PassError> {
        let length = self.rows() * output.rows();
        self.outputs.logits.resize(length, 0.0);
        let mut jobs = [MatmulJob { weights: output, out: &mut self.outputs.logits }];
        matmul(self.pool, self.level, &mut jobs, &mut self.buffers.inputs);
        Ok(())
    }

    fn choose(&mut self) -> Result<(), PassError> {
        let (rows, choices) = (self.rows(), self.batch.choices);
        let Outputs { logits, choices: chosen, .. } = &mut *self.outputs;
        chosen.clear();
        if choices.is_empty() {
            return Ok(());
        }
        let vocabulary = logits.len() / rows;
        let of = |row: usize| row * vocabulary..(row + 1) * vocabulary;
        let scratch = &mut self.buffers.sampler;
        chosen.extend(choices.iter().map(|(row, rules)| rules.choose(&logits[of(*row)], scratch)));
        // The rows between those from which something was chosen close up.
        let mut kept = 0;
        for row in rows_between(choices, rows).flatten() {
            logits.copy_within(of(row), kept * vocabulary);
            kept += 1;
        }
        logits.truncate(kept * vocabulary);
        Ok(())
    }
}
