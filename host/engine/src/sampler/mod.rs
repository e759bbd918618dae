//! Logits to a token, as the request's sampling parameters say.
//!
//! Order: logit bias; a hook's biases; repetition, presence and frequency penalties; a hook's mask; temperature; top-k;
//! top-p of what is left; min-p; one draw. Ties go to the smaller id. Randomness is a function of seed, choice and place in the answer
//! alone, so a seeded answer does not depend on batch, chunk or thread. A NaN counts as impossible. Owns the
//! state that this needs per sequence; does not own stop rules (`text`, `runner`) or when a token is due.
//! Start at [`Sampler::sample`]; [`logprobs`] and [`Distribution`] report on the raw distribution, before any parameter.

mod exp;
mod logprobs;
mod parameters;
mod random;
mod steer;
mod top;

pub use logprobs::{Distribution, Logprobs, logprobs};
pub use parameters::{InvalidParameter, Parameters};

use std::collections::HashMap;

use lockgate_api::Steering;
use thiserror::Error;

use random::uniform;
use top::{Candidate, top};

pub(crate) use steer::most_likely;

/// The model gave no token any chance: every logit is NaN or minus infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the model computed no usable logit")]
pub struct NoLogit;

/// Buffers that samplers of one thread share.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The adjusted logits, then the weights of all tokens.
    values: Vec<f32>,
    /// What a mask keeps.
    kept: Vec<(u32, f32)>,
    candidates: Vec<Candidate>,
}

/// The sampling state of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    parameters: Parameters,
    choice: u32,
    drawn: u64,
    /// How often each token was generated; tokens of the prompt that were not are here with zero. Kept only
    /// where a penalty needs it.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler for one choice of a request. `prompt` is what the repetition penalty counts as seen.
    pub fn new(parameters: Parameters, choice: u32, prompt: &[u32]) -> Self {
        let seen = match parameters.repetition_penalty == 1.0 {
            true => HashMap::new(),
            false => prompt.iter().map(|&token| (token, 0)).collect(),
        };
        Self { parameters, choice, drawn: 0, seen }
    }

    /// Draws the next token from its raw logits, one a token of the vocabulary, and remembers it.
    ///
    /// # Errors
    /// [`NoLogit`] when there is nothing to draw.
    pub fn sample(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32, NoLogit> {
        self.sample_steered(logits, None, scratch)
    }

    /// The same within what a hook said. Tokens beyond the vocabulary are passed over.
    ///
    /// # Errors
    /// [`NoLogit`] when there is nothing to draw, which a mask may have brought about.
    pub fn sample_steered(
        &mut self,
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
        let token = if self.parameters.temperature == 0.0 || self.parameters.top_k == 1 {
            scratch.values.iter().position(|&logit| logit == best).ok_or(NoLogit)? as u32
        } else {
            let point = uniform(self.parameters.seed, self.choice, self.drawn);
            self.draw(best, point, scratch)
        };
        self.drawn += 1;
        if self.parameters.penalises() {
            let times = self.seen.entry(token).or_default();
            *times = times.saturating_add(1);
        }
        Ok(token)
    }

    /// Writes the logits after bias and penalties, without NaN and infinity.
    fn adjust(&self, logits: &[f32], more: &[(u32, f32)], values: &mut Vec<f32>) {
        values.clear();
        let usable = |&logit: &f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
        values.extend(logits.iter().map(usable));
        let Parameters { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.parameters;
        for &(token, bias) in self.parameters.logit_bias.iter().chain(more) {
            if let Some(logit) = values.get_mut(token as usize) {
                *logit = (*logit + bias).min(f32::MAX);
            }
        }
        for (&token, &times) in &self.seen {
            let Some(logit) = values.get_mut(token as usize) else { continue };
            let repeated =
                if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            let present = if times > 0 { presence_penalty } else { 0.0 };
            *logit = (repeated - present - frequency_penalty * times as f32).min(f32::MAX);
        }
    }

    /// Draws by `point` in [0, 1) from the distribution that temperature, top-k, top-p and min-p leave.
    fn draw(&self, best: f32, point: f64, scratch: &mut Scratch) -> u32 {
        let Parameters { temperature, top_k, top_p, min_p, .. } = self.parameters;
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

/// The greatest value; minus infinity when there is none.
fn greatest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.into_iter().fold(rest, f32::max)
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

#[cfg(test)]
mod tests;
