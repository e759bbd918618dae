//! The hyperparameters of a model, read from metadata, ranged and checked against each other.
//!
//! Owns the keys that all decoder families share. Whether tensors have the shapes that these numbers give is
//! checked where each tensor is loaded; what a family adds is in its own file under `arch`.

use std::ops::RangeInclusive;

use super::error::LoadProblem;
use crate::gguf::{Metadata, optional};

/// The hyperparameters of a decoder. All sizes are at least 1 and small enough that products of two never overflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The architecture, as the file names it.
    pub architecture: String,
    /// The model's own name, if it has one.
    pub name: Option<String>,
    /// Layers.
    pub layers: usize,
    /// The width of the residual stream.
    pub hidden: usize,
    /// The width inside the feed-forward network.
    pub feed_forward: usize,
    /// Query heads: a multiple of the key-value heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Rows of the embedding: token ids are below this.
    pub vocabulary: usize,
    /// The longest sequence, in tokens, that the model is made for.
    pub context: usize,
    /// The ε of the RMS norms.
    pub norm_epsilon: f32,
    /// Rotary positions.
    pub rope: RopeConfig,
}

/// Rotary position embeddings, as the metadata describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Elements of each head that are rotated, from the first on; even, at most the head's.
    pub dimensions: usize,
    /// The base θ of the frequencies.
    pub base: f32,
    /// All frequencies are divided by this (linear scaling); 1 without scaling.
    pub linear_factor: f32,
}

const LAYERS_MAX: u32 = 1_024;
const WIDTH_MAX: u32 = 1 << 20;
const HEADS_MAX: u32 = 4_096;
const HEAD_DIM_MAX: u32 = 1_024;
const CONTEXT_MAX: u32 = 1 << 24;

/// Keys that change what a decoder computes, and that none of the families here implements. Absent, zero or false
/// they mean nothing.
const MEANINGFUL: [&str; 12] = [
    "expert_count",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "rope.scaling.attn_factor",
    "use_parallel_residual",
    "pooling_type",
];

impl Config {
    /// Weights that every token is multiplied by: those of the layers' projections. The output's come on top where logits
    /// are wanted.
    #[must_use]
    pub fn layer_weights(&self) -> u64 {
        let attention = 2 * (self.heads + self.kv_heads) * self.head_dim;
        (self.layers * self.hidden * (attention + 3 * self.feed_forward)) as u64
    }

    /// Reads the hyperparameters of `architecture`; `vocabulary` is the number of rows of the embedding.
    ///
    /// # Errors
    /// A key is missing, of another type, out of range, or at odds with another; or the model needs something that
    /// no family here computes.
    pub fn read(metadata: &Metadata, architecture: &str, vocabulary: usize) -> Result<Self, LoadProblem> {
        let keys = Keys { metadata, architecture };
        keys.refuse_unknown_meaning()?;
        let heads = keys.size("attention.head_count", HEADS_MAX, None)?;
        let kv_heads = keys.size("attention.head_count_kv", HEADS_MAX, Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {heads} query heads");
            return Err(keys.problem("attention.head_count_kv", kv_heads, expected));
        }
        let hidden = keys.size("embedding_length", WIDTH_MAX, None)?;
        let head_dim = keys.head_dim(hidden, heads)?;
        let rotated = keys.size("rope.dimension_count", HEAD_DIM_MAX, Some(head_dim))?;
        if rotated > head_dim || !rotated.is_multiple_of(2) {
            let expected = format!("even and at most the {head_dim} of a head");
            return Err(keys.problem("rope.dimension_count", rotated, expected));
        }
        let context = keys.size("context_length", CONTEXT_MAX, None)?;
        // Within the window a sliding-window model attends like any other.
        let window = keys.size("attention.sliding_window", CONTEXT_MAX, Some(context))?;
        let config = Self {
            architecture: architecture.to_owned(),
            name: optional(metadata.string("general.name"))?.map(str::to_owned),
            layers: keys.size("block_count", LAYERS_MAX, None)?,
            hidden,
            feed_forward: keys.size("feed_forward_length", WIDTH_MAX, None)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary: check_vocabulary(&keys, vocabulary)?,
            context: context.min(window),
            norm_epsilon: keys.float("attention.layer_norm_rms_epsilon", None, 0.0..=1.0)?,
            rope: RopeConfig {
                dimensions: rotated,
                base: keys.float("rope.freq_base", Some(10_000.0), 1.0..=1e12)?,
                linear_factor: keys.rope_linear_factor()?,
            },
        };
        Ok(config)
    }
}

/// The embedding, the tokenizer and the file's own count must agree: a token id that one knows and another does not
/// would be read out of bounds elsewhere.
fn check_vocabulary(keys: &Keys<'_>, rows: usize) -> Result<usize, LoadProblem> {
    let expected = || format!("{rows}, the rows of the embedding");
    let declared = keys.size("vocab_size", u32::MAX, Some(rows))?;
    if declared != rows {
        return Err(keys.problem("vocab_size", declared, expected()));
    }
    let tokens =
        optional(keys.metadata.array_of_strings("tokenizer.ggml.tokens"))?.map_or(rows, <[String]>::len);
    if tokens != rows {
        let (key, found) = ("tokenizer.ggml.tokens".to_owned(), format!("of {tokens} tokens"));
        return Err(LoadProblem::Hyperparameter { key, found, expected: format!("of {}", expected()) });
    }
    Ok(rows)
}

/// Metadata as one architecture names it.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn problem(&self, key: &str, found: impl ToString, expected: impl Into<String>) -> LoadProblem {
        LoadProblem::Hyperparameter {
            key: self.name(key),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// A size from 1 to `max`; `default` stands for an absent key, and where there is none the key is required.
    fn size(&self, key: &str, max: u32, default: Option<usize>) -> Result<usize, LoadProblem> {
        let value = match (optional(self.metadata.u32(&self.name(key)))?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => return Ok(default),
            // Reads it again for the error that says what is missing.
            (None, None) => self.metadata.u32(&self.name(key))?,
        };
        if !(1..=max).contains(&value) {
            return Err(self.problem(key, value, format!("from 1 to {max}")));
        }
        Ok(value as usize)
    }

    fn float(
        &self,
        key: &str,
        default: Option<f32>,
        allowed: RangeInclusive<f32>,
    ) -> Result<f32, LoadProblem> {
        let value = match (optional(self.metadata.f32(&self.name(key)))?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => return Ok(default),
            (None, None) => self.metadata.f32(&self.name(key))?,
        };
        if !allowed.contains(&value) {
            return Err(self.problem(key, value, format!("from {} to {}", allowed.start(), allowed.end())));
        }
        Ok(value)
    }

    /// A head's size: declared, or the hidden size over the number of heads.
    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, LoadProblem> {
        const KEY: &str = "attention.key_length";
        let declared = self.metadata.contains(&self.name(KEY));
        if !declared && !hidden.is_multiple_of(heads) {
            let expected = format!("a multiple of the {heads} heads (or `{}` given)", self.name(KEY));
            return Err(self.problem("embedding_length", hidden, expected));
        }
        let head_dim = self.size(KEY, HEAD_DIM_MAX, Some(hidden / heads))?;
        if !head_dim.is_multiple_of(2) || head_dim > HEAD_DIM_MAX as usize {
            return Err(self.problem(KEY, head_dim, format!("even and at most {HEAD_DIM_MAX}")));
        }
        let value_dim = self.size("attention.value_length", HEAD_DIM_MAX, Some(head_dim))?;
        if value_dim != head_dim {
            let expected = format!("{head_dim}, as the keys' length");
            return Err(self.problem("attention.value_length", value_dim, expected));
        }
        Ok(head_dim)
    }

    fn rope_linear_factor(&self) -> Result<f32, LoadProblem> {
        const RANGE: std::ops::RangeInclusive<f32> = 1.0..=1e6;
        let declared = optional(self.metadata.string(&self.name("rope.scaling.type")))?;
        match declared {
            Some("none") => Ok(1.0),
            // A file that has a factor and no type means this one, as llama.cpp reads it; `scale_linear` is how files
            // spelled the factor before there were types.
            None | Some("linear") => {
                let old = "rope.scale_linear";
                let default = match declared {
                    Some(_) if !self.metadata.contains(&self.name(old)) => None,
                    _ => Some(self.float(old, Some(1.0), RANGE)?),
                };
                self.float("rope.scaling.factor", default, RANGE)
            }
            Some(other) => Err(LoadProblem::Unsupported {
                what: format!("rope scaling `{other}` (key `{}`)", self.name("rope.scaling.type")),
                instead: "choose a model without it, or with linear or llama3 scaling",
            }),
        }
    }

    /// Refuses what would silently change the answer: fail closed, not almost right.
    fn refuse_unknown_meaning(&self) -> Result<(), LoadProblem> {
        use crate::gguf::Value;
        for key in MEANINGFUL {
            let name = self.name(key);
            let means_nothing = match self.metadata.get(&name) {
                None | Some(Value::Bool(false)) => true,
                Some(Value::F32(value)) => {
                    // One is the identity of a factor and of nothing else here.
                    *value == 0.0 || (*value == 1.0 && (key.ends_with("_scale") || key.ends_with("_factor")))
                }
                Some(value) => value.integer() == Some(0),
            };
            if !means_nothing {
                return Err(LoadProblem::Unsupported {
                    what: format!("key `{name}` for this architecture"),
                    instead: "choose another model",
                });
            }
        }
        if optional(self.metadata.bool(&self.name("attention.causal")))? == Some(false) {
            return Err(LoadProblem::Unsupported {
                what: "attention that is not causal".to_owned(),
                instead: "choose a model that generates text",
            });
        }
        Ok(())
    }
}
