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

/// Sampling parameters that take the place of a request's own for one attempt. The ranges are those of [`Sampling`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// In the place of [`Sampling::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// In the place of [`Sampling::top_p`]. 0 is the smallest share, as in OpenAI's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// In the place of [`Sampling::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// In the place of [`Sampling::seed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The most tokens generated, where the request allows more or does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

impl Overrides {
    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first value that is out of its range, in words.
    pub fn problem(&self) -> Option<String> {
        let outside = |value: Option<f32>, most: f32| value.filter(|value| !(0.0..=most).contains(value));
        if let Some(value) = outside(self.temperature, 2.0) {
            return Some(format!("a temperature of {value}, where 0 to 2 is allowed"));
        }
        if let Some(value) = outside(self.top_p, 1.0) {
            return Some(format!("a top-p of {value}, where 0 to 1 is allowed"));
        }
        (self.max_tokens == Some(0)).then(|| "an answer of at most 0 tokens".to_owned())
    }

    /// The sampling of an attempt on a request that wants `sampling`. A limit of tokens is never raised.
    pub fn apply(&self, sampling: &Sampling) -> Sampling {
        let shortest = [sampling.max_tokens, self.max_tokens].into_iter().flatten().min();
        Sampling {
            temperature: self.temperature.or(sampling.temperature),
            top_p: self.top_p.map(|share| share.max(f32::MIN_POSITIVE)).or(sampling.top_p),
            top_k: self.top_k.or(sampling.top_k),
            seed: self.seed.or(sampling.seed),
            max_tokens: shortest,
            ..sampling.clone()
        }
    }
}

#[cfg(test)]
mod tests;
