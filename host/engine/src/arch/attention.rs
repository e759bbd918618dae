//! Causal self-attention with grouped query heads and rotary positions:
//! `x += W_o · attend(rope(W_q · n), rope(W_k · n), W_v · n)` for the normalised rows n.

use lockgate_kernels::attention::{self, Attention};
use lockgate_kernels::matmul::{MatmulJob, PackedMatrix, matmul};
use lockgate_kernels::norm;
use lockgate_kernels::rope::{self, RopeTable};

use super::linear::Linear;
use super::pass::{Pass, PassError};
use crate::kv::LayerState;
use crate::model::{LoadProblem, Loader};

/// The attention of one layer.
pub(crate) struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: PackedMatrix,
    layer: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl SelfAttention {
    /// Loads the attention of layer `layer`; `biased` says whether queries, keys and values have biases.
    pub(crate) fn load(loader: &mut Loader<'_>, layer: usize, biased: bool) -> Result<Self, LoadProblem> {
        let config = loader.config();
        let (heads, kv_heads, head_dim) = (config.heads, config.kv_heads, config.head_dim);
        let (hidden, queries, keys) = (config.hidden, heads * head_dim, kv_heads * head_dim);
        let name = |part: &str| format!("blk.{layer}.attn_{part}");
        Ok(Self {
            query: Linear::load(loader, &name("q"), [queries, hidden], biased)?,
            key: Linear::load(loader, &name("k"), [keys, hidden], biased)?,
            value: Linear::load(loader, &name("v"), [keys, hidden], biased)?,
            output: loader.matrix(&name("output.weight"), hidden, queries)?,
            layer,
            heads,
            kv_heads,
            head_dim,
        })
    }

    /// Adds the attention of the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut Pass<'_>, table: &RopeTable) -> Result<(), PassError> {
        let (pool, level, rows) = (pass.pool, pass.level, pass.rows());
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        let buffers = &mut *pass.buffers;
        let queries = buffers.queries.sized(rows * heads * head_dim);
        let keys = buffers.keys.sized(rows * kv_heads * head_dim);
        let values = buffers.values.sized(rows * kv_heads * head_dim);
        let mut jobs = [
            MatmulJob { weights: &self.query.weights, out: queries },
            MatmulJob { weights: &self.key.weights, out: keys },
            MatmulJob { weights: &self.value.weights, out: values },
        ];
        matmul(pool, level, &mut jobs, &mut buffers.inputs);
        for (projection, out) in [(&self.query, &mut *queries), (&self.key, keys), (&self.value, values)] {
            if let Some(bias) = &projection.bias {
                norm::add_row(pool, level, out, bias);
            }
        }
        rope::apply(pool, level, table, pass.positions, heads, head_dim, queries);
        rope::apply(pool, level, table, pass.positions, kv_heads, head_dim, keys);

        let LayerState::Attention(pages) = pass.cache.layer_mut(self.layer);
        pages.append(pool, level, pass.slots, keys, values);
        let job = Attention {
            pages,
            heads,
            scale: 1.0 / (head_dim as f32).sqrt(),
            sequences: pass.sequences,
            queries,
        };
        let attended = buffers.attended.sized(rows * heads * head_dim);
        attention::attend(pool, level, &job, &mut buffers.attention, attended)?;

        buffers.inputs.set(pool, level, rows, heads * head_dim, attended);
        buffers.add_product(pool, level, &self.output);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        let matrices = [&self.query.weights, &self.key.weights, &self.value.weights, &self.output];
        matrices.map(|matrix| matrix.bytes() as u64).iter().sum()
    }
}
