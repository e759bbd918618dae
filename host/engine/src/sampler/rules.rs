//! One choice: what it is made by, as plain data, and how it is made of a row of logits.
//!
//! A processor that has the logits elsewhere makes it there, by the same rules and the same random number. Owns no state
//! (`Sampler` does) and no randomness.

use std::collections::HashMap;
use std::sync::Arc;

use lockgate_api::Steering;

use super::logprobs::Distribution;
use super::parameters::Parameters;
use super::random::uniform;
use super::top::{Candidate, top};
use super::{NoLogit, Scratch, exp, greatest, steer};

/// What one token is chosen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules<'a> {
    pub(crate) parameters: &'a Parameters,
    /// How often each token was generated, or 0 for one of the prompt; empty where no penalty is on.
    pub(crate) seen: &'a HashMap<u32, u32>,
    /// The sequence's own, for as long as it is there.
    pub(crate) mark: &'a Arc<()>,
    pub(crate) choice: u32,
    /// How many tokens were chosen before.
    pub(crate) drawn: u64,
    /// How many of a row's logits count, from the first on.
    pub(crate) tokens: usize,
    /// Whether the token's log-probability is wanted.
    pub(crate) log_probability: bool,
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability, before any parameter, where that is wanted.
    pub log_probability: Option<f32>,
}

impl Rules<'_> {
    /// The draw, in [0, 1): of this token, or of one that comes `later`.
    pub(crate) fn point(&self, later: u64) -> f64 {
        uniform(self.parameters.seed, self.choice, self.drawn + later)
    }

    /// Chooses by a row of raw logits, which has at least as many as count.
    ///
    /// # Errors
    /// [`NoLogit`] when there is nothing to choose.
    pub fn choose(&self, row: &[f32], scratch: &mut Scratch) -> Result<Choice, NoLogit> {
        let logits = row.get(..self.tokens).ok_or(NoLogit)?;
        let token = self.token(logits, None, scratch)?;
        let logarithm = |token: u32| Distribution::normalised(logits, scratch).log_probability(token) as f32;
        Ok(Choice { token, log_probability: self.log_probability.then_some(token).map(logarithm) })
    }

    /// Chooses a token within what a hook said.
    pub(super) fn token(
        &self,
        logits: &[f32],
        steering: Option<&Steering>,
        scratch: &mut Scratch,
    ) -> Result<u32, NoLogit> {
        self.adjust(logits, steering.map_or(&[], |steering| &steering.biases), &mut scratch.values);
        if let Some(steering) = steering {
            steer::mask(&steering.mask, scratch);
        }
        let best = greatest(&scratch.values);
        if best == f32::NEG_INFINITY {
            return Err(NoLogit);
        }
        if self.parameters.temperature == 0.0 || self.parameters.top_k == 1 {
            return Ok(scratch.values.iter().position(|&logit| logit == best).ok_or(NoLogit)? as u32);
        }
        Ok(self.draw(best, self.point(0), scratch))
    }

    /// Writes the logits after bias and penalties, without NaN and infinity.
    fn adjust(&self, logits: &[f32], more: &[(u32, f32)], values: &mut Vec<f32>) {
        values.clear();
        let usable = |&logit: &f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
        values.extend(logits.iter().map(usable));
        let Parameters { repetition_penalty, presence_penalty, frequency_penalty, .. } = *self.parameters;
        for &(token, bias) in self.parameters.logit_bias.iter().chain(more) {
            if let Some(logit) = values.get_mut(token as usize) {
                *logit = (*logit + bias).min(f32::MAX);
            }
        }
        for (&token, &times) in self.seen {
            let Some(logit) = values.get_mut(token as usize) else { continue };
            let repeated =
                if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            let present = if times > 0 { presence_penalty } else { 0.0 };
            *logit = (repeated - present - frequency_penalty * times as f32).min(f32::MAX);
        }
    }

    /// Draws by `point` in [0, 1) from the distribution that temperature, top-k, top-p and min-p leave.
    fn draw(&self, best: f32, point: f64, scratch: &mut Scratch) -> u32 {
        let Parameters { temperature, top_k, top_p, min_p, .. } = *self.parameters;
        let Scratch { values, candidates, .. } = scratch;
        // A tiny temperature must not turn 0 · scale into a NaN.
        let scale = (1.0 / temperature).min(f32::MAX);
        let vocabulary = values.len();
        if top_k < vocabulary {
            top(values, top_k, candidates);
            exp::weights(candidates.iter_mut().map(|candidate| &mut candidate.value), best, scale);
            let total = candidates.iter().map(|candidate| f64::from(candidate.value)).sum();
            return draw_sorted(candidates, total, top_p, min_p, point);
        }
        exp::weigh(values, best, scale);
        if top_p >= 1.0 {
            return draw_unsorted(values, min_p, point);
        }
        let total = exp::sum(values);
        // The nucleus is usually small: look for it among ever more of the most likely tokens.
        let mut count = 64;
        loop {
            top(values, count, candidates);
            let mass: f64 = candidates.iter().map(|candidate| f64::from(candidate.value)).sum();
            if mass >= f64::from(top_p) * total || candidates.len() == vocabulary {
                return draw_sorted(candidates, total, top_p, min_p, point);
            }
            count = count.saturating_mul(8);
        }
    }
}

/// Draws among weights in descending order, the first of which is the greatest: keeps the shortest prefix of
/// mass `top_p` of `total`, and of it those of at least `min_p` of the first.
fn draw_sorted(candidates: &[Candidate], total: f64, top_p: f32, min_p: f32, point: f64) -> u32 {
    let floor = min_p * candidates[0].value;
    let wanted = f64::from(top_p) * total;
    let mut kept = 0;
    let mut mass = 0.0;
    for candidate in candidates {
        if kept > 0 && (mass >= wanted || candidate.value < floor) {
            break;
        }
        mass += f64::from(candidate.value);
        kept += 1;
    }
    let target = point * mass;
    let mut sum = 0.0;
    for candidate in &candidates[..kept] {
        sum += f64::from(candidate.value);
        if sum > target {
            return candidate.token;
        }
    }
    candidates[kept - 1].token
}

/// Draws among all weights, the greatest of which is 1, in the order of the vocabulary.
fn draw_unsorted(weights: &mut [f32], min_p: f32, point: f64) -> u32 {
    /// Weights that are summed before the sum is looked at.
    const BLOCK: usize = 256;
    if min_p > 0.0 {
        weights.iter_mut().for_each(|weight| *weight = if *weight < min_p { 0.0 } else { *weight });
    }
    let total: f64 = weights.chunks(BLOCK).map(exp::sum).sum();
    let target = point * total;
    let mut before = 0.0;
    let mut last = 0;
    for (index, block) in weights.chunks(BLOCK).enumerate() {
        let mass = exp::sum(block);
        if before + mass <= target {
            before += mass;
            continue;
        }
        let mut sum = before;
        for (offset, &weight) in block.iter().enumerate() {
            sum += f64::from(weight);
            if weight > 0.0 {
                last = index * BLOCK + offset;
                if sum > target {
                    return last as u32;
                }
            }
        }
        // Rounding left the target past the end of its block: its last possible token is as good as any.
        return last as u32;
    }
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(last) as u32
}
