//! Logits to a token, as the request's sampling parameters say.
//!
//! Order: logit bias; a hook's biases; repetition, presence and frequency penalties; a hook's mask; temperature; top-k;
//! top-p of what is left; min-p; one draw. Ties go to the smaller id. Randomness is a function of seed, choice and place in the answer
//! alone, so a seeded answer does not depend on batch, chunk or thread. A NaN counts as impossible. Owns the
//! state that this needs per sequence; does not own stop rules (`text`, `runner`) or when a token is due.
//! Start at [`Sampler::sample`], or, where logits are not at hand, at [`Sampler::rules`]; [`logprobs`] and [`Distribution`] report on the raw distribution, before any parameter.

mod exp;
mod logprobs;
mod parameters;
mod random;
mod rules;
mod steer;
mod top;

pub use logprobs::{Distribution, Logprobs, logprobs};
pub use parameters::{InvalidParameter, Parameters};
pub use rules::{Choice, Rules};

use std::collections::HashMap;
use std::sync::Arc;

use lockgate_api::Steering;
use thiserror::Error;

use top::Candidate;

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
#[derive(Debug)]
pub struct Sampler {
    parameters: Parameters,
    choice: u32,
    drawn: u64,
    /// How often each token was generated; tokens of the prompt that were not are here with zero. Kept only
    /// where a penalty needs it.
    seen: HashMap<u32, u32>,
    /// Tells this sequence from all others, wherever what it has seen is kept too.
    mark: Arc<()>,
}

impl Sampler {
    /// A sampler for one choice of a request. `prompt` is what the repetition penalty counts as seen.
    pub fn new(parameters: Parameters, choice: u32, prompt: &[u32]) -> Self {
        let seen = match parameters.repetition_penalty == 1.0 {
            true => HashMap::new(),
            false => prompt.iter().map(|&token| (token, 0)).collect(),
        };
        Self { parameters, choice, drawn: 0, seen, mark: Arc::new(()) }
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
        let token = self.rules(logits.len(), false).token(logits, steering, scratch)?;
        self.take(token);
        Ok(token)
    }

    /// What the next token is chosen by, wherever that is done: among the first `tokens` logits of a row, and whether the
    /// chosen token's log-probability is wanted. Whoever chooses says so by [`Self::take`].
    #[must_use]
    pub fn rules(&self, tokens: usize, log_probability: bool) -> Rules<'_> {
        let Self { parameters, choice, drawn, seen, mark } = self;
        Rules { parameters, seen, mark, choice: *choice, drawn: *drawn, tokens, log_probability }
    }

    /// Remembers the token that was chosen.
    pub fn take(&mut self, token: u32) {
        self.drawn += 1;
        if self.parameters.penalises() {
            let times = self.seen.entry(token).or_default();
            *times = times.saturating_add(1);
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

#[cfg(test)]
mod tests;
