//! Log-probabilities of the raw distribution, before any sampling parameter.

use super::exp::{sum, weigh};
use super::top::top;
use super::{NoLogit, Scratch, greatest};

/// What the model thought of one place of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the chosen token's probability.
    pub chosen: f32,
    /// The most likely tokens with theirs, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// What a token of probability zero reports: JSON has no infinity, and this is what clients know it by.
const IMPOSSIBLE: f64 = -9999.0;

/// The raw distribution at one place, as far as log-probabilities need it.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    logits: &'a [f32],
    normaliser: f64,
}

impl<'a> Distribution<'a> {
    /// The distribution of these logits, one a token of the vocabulary.
    ///
    /// # Errors
    /// [`NoLogit`] when the model gave no token any chance.
    pub fn of(logits: &'a [f32], scratch: &mut Scratch) -> Result<Self, NoLogit> {
        match greatest(logits) > f32::NEG_INFINITY {
            true => Ok(Self::normalised(logits, scratch)),
            false => Err(NoLogit),
        }
    }

    pub(super) fn normalised(logits: &'a [f32], scratch: &mut Scratch) -> Self {
        let best = greatest(logits).min(f32::MAX);
        scratch.values.clear();
        scratch.values.extend_from_slice(logits);
        weigh(&mut scratch.values, best, 1.0);
        Self { logits, normaliser: f64::from(best) + sum(&scratch.values).ln() }
    }

    /// Natural logarithm of a token's probability, from −9999 (impossible) to 0.
    #[must_use]
    pub fn log_probability(&self, token: u32) -> f64 {
        self.of_logit(self.logits.get(token as usize).copied().unwrap_or(f32::NAN))
    }

    fn of_logit(&self, logit: f32) -> f64 {
        let value = f64::from(logit) - self.normaliser;
        // Rounding must not report more than certainty.
        if value.is_nan() { IMPOSSIBLE } else { value.clamp(IMPOSSIBLE, 0.0) }
    }
}

/// The chosen token's natural log-probability and those of the `count` most likely tokens.
pub fn logprobs(logits: &[f32], chosen: u32, count: usize, scratch: &mut Scratch) -> Logprobs {
    let distribution = Distribution::normalised(logits, scratch);
    top(logits, count, &mut scratch.candidates);
    let logprob = |logit: f32| distribution.of_logit(logit) as f32;
    Logprobs {
        chosen: distribution.log_probability(chosen) as f32,
        top: scratch.candidates.iter().map(|candidate| (candidate.token, logprob(candidate.value))).collect(),
    }
}
