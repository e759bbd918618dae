//! The decoder that Llama made the common one, for the families that differ from it in details:
//!
//! ```text
//! x = embedding[token]
//! for each layer:  x += attention(norm(x));  x += feed_forward(norm(x))
//! logits = output · norm(x)                      output is the embedding where the file has none
//! ```
//! Norms come first and are root-mean-square norms; attention has rotary positions and grouped query heads; the
//! feed-forward network is gated. A family with another block writes its own loop over the same pieces.

use lockgate_kernels::matmul::PackedMatrix;
use lockgate_kernels::rope::{Pairing, RopeTable};

use super::attention::SelfAttention;
use super::feed_forward::GatedFeedForward;
use super::pass::{Pass, PassError};
use super::{Network, rope};
use crate::model::{LoadProblem, Loader};

/// What a family chooses.
pub(crate) struct Details {
    /// Which elements of a head the family's files store as the pairs that are rotated.
    pub(crate) pairing: Pairing,
    /// Whether queries, keys and values have biases.
    pub(crate) biased: bool,
    /// Positions that the rope table must cover.
    pub(crate) positions: usize,
}

pub(crate) struct Decoder {
    embedding: PackedMatrix,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: Option<PackedMatrix>,
    rope: RopeTable,
    epsilon: f32,
}

struct Layer {
    attention_norm: Vec<f32>,
    attention: SelfAttention,
    feed_forward_norm: Vec<f32>,
    feed_forward: GatedFeedForward,
}

impl Decoder {
    pub(crate) fn load(loader: &mut Loader<'_>, details: &Details) -> Result<Self, LoadProblem> {
        let config = loader.config();
        let factors = rope::factors(loader)?;
        let rope = rope::table(&config.rope, details.pairing, factors.as_deref(), details.positions)?;
        let layers = (0..config.layers).map(|layer| {
            Ok(Layer {
                attention_norm: loader.vector(&format!("blk.{layer}.attn_norm.weight"), config.hidden)?,
                attention: SelfAttention::load(loader, layer, details.biased)?,
                feed_forward_norm: loader.vector(&format!("blk.{layer}.ffn_norm.weight"), config.hidden)?,
                feed_forward: GatedFeedForward::load(loader, layer)?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_, LoadProblem>>()?,
            embedding: loader.matrix("token_embd.weight", config.vocabulary, config.hidden)?,
            output_norm: loader.vector("output_norm.weight", config.hidden)?,
            output: loader.optional_matrix("output.weight", config.vocabulary, config.hidden)?,
            rope,
            epsilon: config.norm_epsilon,
        })
    }

    fn output(&self) -> &PackedMatrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

impl Network for Decoder {
    fn forward(&self, pass: &mut Pass<'_>) -> Result<(), PassError> {
        pass.embed(&self.embedding);
        for (index, layer) in self.layers.iter().enumerate() {
            pass.poll()?;
            pass.normalize(&layer.attention_norm, self.epsilon);
            layer.attention.forward(pass, &self.rope)?;
            if index + 1 == self.layers.len() {
                pass.keep_wanted();
            }
            pass.normalize(&layer.feed_forward_norm, self.epsilon);
            layer.feed_forward.forward(pass);
        }
        pass.normalize_output(&self.output_norm, self.epsilon);
        pass.project_logits(self.output());
        Ok(())
    }

    fn bytes_per_pass(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.attention.bytes() + layer.feed_forward.bytes());
        layers.sum::<u64>() + self.output().bytes() as u64
    }
}
