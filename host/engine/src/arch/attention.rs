//! Causal self-attention with grouped query heads and rotary positions:
//! `x += W_o · attend(rope(W_q · n), rope(W_k · n), W_v · n)` for the normalised rows n.

use crate::adapter::Module;
use crate::model::{LoadProblem, Loader};
use crate::processor::{Heads, Linear, Pass, PassError, Processor};

/// The attention of one layer.
pub(crate) struct SelfAttention<P: Processor> {
    query: Linear<P>,
    key: Linear<P>,
    value: Linear<P>,
    output: Linear<P>,
    heads: Heads,
}

impl<P: Processor> SelfAttention<P> {
    /// Loads the attention of layer `layer`; `biased` says whether queries, keys and values have biases.
    pub(crate) fn load(loader: &Loader<'_, P>, layer: usize, biased: bool) -> Result<Self, LoadProblem> {
        let config = loader.config();
        let (heads, kv_heads, head_dim) = (config.heads, config.kv_heads, config.head_dim);
        Ok(Self {
            query: loader.linear(layer, Module::Query, biased)?,
            key: loader.linear(layer, Module::Key, biased)?,
            value: loader.linear(layer, Module::Value, biased)?,
            output: loader.linear(layer, Module::Output, false)?,
            heads: Heads { layer, heads, kv_heads, head_dim },
        })
    }

    /// Adds the attention of the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut P::Pass<'_>, rope: &P::Rope) -> Result<(), PassError> {
        pass.project_heads(self.heads, [&self.query, &self.key, &self.value])?;
        pass.rotate_and_keep(self.heads, rope)?;
        pass.attend(self.heads)?;
        pass.add_projection(&self.output)
    }

    pub(crate) fn bytes(&self) -> u64 {
        [&self.query, &self.key, &self.value, &self.output]
            .map(|linear| P::bytes(&linear.weights))
            .iter()
            .sum()
    }
}
