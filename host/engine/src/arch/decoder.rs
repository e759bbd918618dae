//! The decoder that Llama made the common one, for the families that differ from it in details:
//!
//! ```text
//! x = embedding[token]
//! for each layer:  x += attention(norm(x));  x += feed_forward(norm(x))
//! logits = output · norm(x)                      output is the embedding where the file has none
//! ```
//! Norms come first and are root-mean-square norms; attention has rotary positions and grouped query heads; the
//! feed-forward network is gated. A family with another block writes its own loop over the same pieces.
//!
//! A decoder may be a part of one: the first layers of a model, or the last.

use lockgate_kernels::rope::Pairing;

use super::attention::SelfAttention;
use super::feed_forward::GatedFeedForward;
use super::{Network, rope};
use crate::model::{LoadProblem, Loader};
use crate::processor::{Pass, PassError, Processor};

const EMBEDDING: &str = "token_embd.weight";

/// What a family chooses.
pub(crate) struct Details {
    /// Which elements of a head the family's files store as the pairs that are rotated.
    pub(crate) pairing: Pairing,
    /// Whether queries, keys and values have biases.
    pub(crate) biased: bool,
    /// Positions that the rope table must cover.
    pub(crate) positions: usize,
}

pub(crate) struct Decoder<P: Processor> {
    /// Where the first layers are; the others go on from a residual that is there.
    embedding: Option<P::Matrix>,
    layers: Vec<Layer<P>>,
    /// Where the last layers are.
    head: Option<Head<P>>,
    rope: P::Rope,
    epsilon: f32,
}

struct Layer<P: Processor> {
    attention_norm: P::Vector,
    attention: SelfAttention<P>,
    feed_forward_norm: P::Vector,
    feed_forward: GatedFeedForward<P>,
}

/// From the residual to logits.
struct Head<P: Processor> {
    norm: P::Vector,
    /// None where it is the embedding.
    output: Option<P::Matrix>,
}

impl<P: Processor> Decoder<P> {
    pub(crate) fn load(loader: &Loader<'_, P>, details: &Details) -> Result<Self, LoadProblem> {
        let config = loader.config();
        let factors = rope::factors(loader)?;
        let rotation = rope::rotation(&config.rope, details.pairing, factors.as_deref(), details.positions);
        let layers = loader.layers().map(|layer| {
            Ok(Layer {
                attention_norm: loader.vector(&format!("blk.{layer}.attn_norm.weight"), config.hidden)?,
                attention: SelfAttention::load(loader, layer, details.biased)?,
                feed_forward_norm: loader.vector(&format!("blk.{layer}.ffn_norm.weight"), config.hidden)?,
                feed_forward: GatedFeedForward::load(loader, layer)?,
            })
        });
        Ok(Self {
            rope: loader.rope(&rotation)?,
            layers: layers.collect::<Result<_, LoadProblem>>()?,
            embedding: match loader.begins() {
                true => Some(loader.matrix(EMBEDDING, config.vocabulary, config.hidden)?),
                false => None,
            },
            head: match loader.ends() {
                true => Some(Head::load(loader)?),
                false => None,
            },
            epsilon: config.norm_epsilon,
        })
    }
}

impl<P: Processor> Head<P> {
    fn load(loader: &Loader<'_, P>) -> Result<Self, LoadProblem> {
        let config = loader.config();
        let norm = loader.vector("output_norm.weight", config.hidden)?;
        let mut output = loader.optional_matrix("output.weight", config.vocabulary, config.hidden)?;
        if output.is_none() && !loader.begins() {
            output = Some(loader.matrix(EMBEDDING, config.vocabulary, config.hidden)?);
        }
        Ok(Self { norm, output })
    }

    /// The matrix of logits. Where the head has none of its own it is with the embedding.
    fn output<'a>(&'a self, embedding: Option<&'a P::Matrix>) -> Option<&'a P::Matrix> {
        self.output.as_ref().or(embedding)
    }
}

impl<P: Processor> Network<P> for Decoder<P> {
    fn forward(&self, pass: &mut P::Pass<'_>) -> Result<(), PassError> {
        if let Some(embedding) = &self.embedding {
            pass.embed(embedding)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            pass.poll()?;
            pass.normalize(&layer.attention_norm, self.epsilon)?;
            layer.attention.forward(pass, &self.rope)?;
            if self.head.is_some() && index + 1 == self.layers.len() {
                pass.keep_wanted()?;
            }
            pass.normalize(&layer.feed_forward_norm, self.epsilon)?;
            layer.feed_forward.forward(pass)?;
        }
        let Some(head) = &self.head else { return Ok(()) };
        pass.normalize_output(&head.norm, self.epsilon)?;
        match head.output(self.embedding.as_ref()) {
            Some(output) => pass.project_logits(output),
            None => Ok(()),
        }
    }

    fn bytes_per_pass(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.attention.bytes() + layer.feed_forward.bytes());
        let output = self.head.as_ref().and_then(|head| head.output(self.embedding.as_ref()));
        layers.sum::<u64>() + output.map_or(0, P::bytes)
    }
}
