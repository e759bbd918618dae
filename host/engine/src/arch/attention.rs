//! Causal self-attention with grouped query heads and rotary positions:
//! `x += W_o · attend(rope(W_q · n), rope(W_k · n), W_v · n)` for the normalised rows n.

use lockgate_kernels::attention::{self, Attention};
use lockgate_kernels::rope::{self, RopeTable};

use super::linear::{Linear, project};
use super::pass::{Pass, PassError};
use crate::adapter::Module;
use crate::kv::LayerState;
use crate::model::{LoadProblem, Loader};

/// The attention of one layer.
pub(crate) struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    layer: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl SelfAttention {
    /// Loads the attention of layer `layer`; `biased` says whether queries, keys and values have biases.
    pub(crate) fn load(loader: &mut Loader<'_>, layer: usize, biased: bool) -> Result<Self, LoadProblem> {
        let config = loader.config();
        Ok(Self {
            query: Linear::load(loader, layer, Module::Query, biased)?,
            key: Linear::load(loader, layer, Module::Key, biased)?,
            value: Linear::load(loader, layer, Module::Value, biased)?,
            output: Linear::load(loader, layer, Module::Output, false)?,
            layer,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// Adds the attention of the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut Pass<'_>, table: &RopeTable) -> Result<(), PassError> {
        let (pool, level, rows) = (pass.pool, pass.level, pass.rows());
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        let adapting = pass.adapting();
        let buffers = &mut *pass.buffers;
        let queries = buffers.queries.sized(rows * heads * head_dim);
        let keys = buffers.keys.sized(rows * kv_heads * head_dim);
        let values = buffers.values.sized(rows * kv_heads * head_dim);
        let outputs = [(&self.query, &mut *queries), (&self.key, &mut *keys), (&self.value, &mut *values)];
        project(adapting, &mut buffers.adapters, &mut buffers.inputs, outputs);
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
        buffers.add_projection(adapting, &self.output);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        [&self.query, &self.key, &self.value, &self.output].map(Linear::bytes).iter().sum()
    }
}
