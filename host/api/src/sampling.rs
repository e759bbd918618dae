//! How tokens are drawn and when an answer ends.
//!
//! `None` always means "the target's own default", never zero. Ranges are stated here and checked by
//! each front end, which can name its own field.

use serde::{Deserialize, Serialize};

/// Sampling parameters of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most likely token; at most 2.
    pub temperature: Option<f32>,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probabilities sum to this, in (0, 1].
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this share of the most likely one, in [0, 1].
    pub min_p: Option<f32>,
    /// Divides (positive) or multiplies (negative) the logits of tokens seen before; > 0, 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Subtracted once from the logit of a token generated before, −2 to 2.
    pub presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time that it was generated, −2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Added to these tokens' logits, −100 to 100, by token id. No token twice.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed, request and model give the same answer.
    pub seed: Option<u64>,
    /// The answer ends before any of these; none is empty.
    pub stop: Vec<String>,
    /// The most tokens generated, reasoning included; at least 1.
    pub max_tokens: Option<u32>,
}
