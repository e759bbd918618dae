//! Log-probabilities of the raw distribution, before any sampling parameter.

use super::exp::{sum, weigh};
use super::top::top;
use super::{Scratch, greatest};

/// What the model thought of one place of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the chosen token's probability.
    pub chosen: f32,
    /// The most likely tokens with theirs, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// What a token of probability zero reports: JSON has no infinity, and this is what clients know it by.
const IMPOSSIBLE: f32 = -9999.0;

/// The chosen token's natural log-probability and those of the `count` most likely tokens.
pub fn logprobs(logits: &[f32], chosen: u32, count: usize, scratch: &mut Scratch) -> Logprobs {
    let best = greatest(logits).min(f32::MAX);
    scratch.values.clear();
    scratch.values.extend_from_slice(logits);
    weigh(&mut scratch.values, best, 1.0);
    let normaliser = f64::from(best) + sum(&scratch.values).ln();
    let logprob = |logit: f32| -> f32 {
        let value = (f64::from(logit) - normaliser) as f32;
        // Rounding must not report more than certainty.
        if value.is_nan() { IMPOSSIBLE } else { value.clamp(IMPOSSIBLE, 0.0) }
    };
    top(logits, count, &mut scratch.candidates);
    Logprobs {
        chosen: logprob(logits.get(chosen as usize).copied().unwrap_or(f32::NAN)),
        top: scratch.candidates.iter().map(|candidate| (candidate.token, logprob(candidate.value))).collect(),
    }
}
