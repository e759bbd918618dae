//! The work that `bench` measures: prompts and single tokens of a batch of sequences, at a chosen depth.
//!
//! Owns which tokens are computed in which passes. Reads no clock: the caller times [`Bench::prefill`] and
//! [`Bench::decode`]. Tokens are chosen by a fixed rule, since what is computed does not depend on their meaning.

use std::sync::Arc;

use lockgate_kernels::cpu::Level;
use lockgate_kernels::pool::ThreadPool;

use crate::adapter::Adapter;
use crate::kv::{BLOCK_TOKENS, Cache, ForkError, Sequence};
use crate::model::{Compute, ForwardError, Input, Model, NoMemory, Wanted};
use crate::sampler::{Parameters, Sampler};

/// A model with a batch of sequences that only ever grow, until they are [rewound](Bench::rewind) or
/// [begun anew](Bench::begin).
#[derive(Debug)]
pub struct Bench<'m> {
    model: &'m Model,
    compute: Compute,
    cache: Cache,
    adapter: Option<Arc<Adapter>>,
    sequences: Vec<Sequence>,
    /// The next token of each sequence.
    next: Vec<u32>,
    /// Chooses the likeliest token.
    likeliest: Sampler,
}

/// Tokens of one pass over a prompt.
const STEP_TOKENS: usize = 512;

impl<'m> Bench<'m> {
    /// No sequences yet, and room for `blocks` blocks of the cache; all that come have `adapter` if there is one.
    ///
    /// # Errors
    /// There is no memory for the cache.
    pub fn new(
        model: &'m Model,
        pool: Arc<ThreadPool>,
        level: Level,
        blocks: usize,
        adapter: Option<Arc<Adapter>>,
    ) -> Result<Self, NoMemory> {
        let cache = model.cache_for(blocks.saturating_mul(BLOCK_TOKENS))?;
        let likeliest = Sampler::new(Parameters::likeliest(model.config().vocabulary), 0, &[]);
        let compute = Compute::new(pool, level);
        Ok(Self { model, compute, cache, adapter, sequences: Vec::new(), next: Vec::new(), likeliest })
    }

    /// Blocks of the cache that `batch` sequences of `tokens` tokens each take.
    #[must_use]
    pub fn blocks(batch: usize, tokens: usize) -> usize {
        batch.saturating_mul(tokens.div_ceil(BLOCK_TOKENS))
    }

    /// Begins anew with `batch` sequences, at least one, of `depth` tokens each. One is computed, as far as it is not there
    /// from before, and the others are copies of it, each in blocks of its own: how fast what follows is does not depend on
    /// what they hold.
    ///
    /// # Errors
    /// The context or the cache ends before.
    pub fn begin(&mut self, batch: usize, depth: usize) -> Result<(), ForwardError> {
        let vocabulary = self.model.config().vocabulary as u32;
        self.sequences.truncate(1);
        if self.sequences.is_empty() {
            self.sequences.push(self.cache.sequence_with(self.adapter.clone()));
        }
        self.rewind(depth);
        self.next = vec![0];
        self.prefill(depth - self.depth())?;
        for _ in 1..batch {
            let copy = self.cache.duplicate(&self.sequences[0]).map_err(|error| match error {
                ForkError::Blocks(error) => ForwardError::Blocks(error),
                ForkError::Device(error) => ForwardError::Device(error),
            })?;
            self.sequences.push(copy);
        }
        self.next = (0..self.sequences.len() as u32).map(|number| number % vocabulary).collect();
        Ok(())
    }

    /// Tokens in each sequence.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sequences.first().map_or(0, Sequence::tokens)
    }

    /// Computes `tokens` tokens of a prompt for every sequence, in passes of at most 512 tokens, with the logits
    /// after the last.
    ///
    /// # Errors
    /// The context or the cache ends before.
    pub fn prefill(&mut self, tokens: usize) -> Result<(), ForwardError> {
        for number in 0..self.sequences.len() {
            let mut left = tokens;
            while left > 0 {
                let chunk = left.min(STEP_TOKENS);
                left -= chunk;
                let prompt: Vec<u32> = (0..chunk).map(|_| self.step(number)).collect();
                let wanted = if left == 0 { Wanted::Last } else { Wanted::None };
                let sequence = &mut self.sequences[number];
                let mut input = [Input { sequence, tokens: &prompt, wanted }];
                self.compute.forward(self.model, &mut self.cache, &mut input, &|| false)?;
            }
        }
        Ok(())
    }

    /// Computes one token of every sequence in one pass. Each is the likeliest after the last, as in an answer.
    ///
    /// # Errors
    /// The context or the cache ends.
    pub fn decode(&mut self) -> Result<(), ForwardError> {
        let vocabulary = self.model.config().vocabulary;
        let mut inputs: Vec<Input<'_>> = self
            .sequences
            .iter_mut()
            .zip(&self.next)
            .map(|(sequence, token)| Input {
                sequence,
                tokens: std::slice::from_ref(token),
                wanted: Wanted::Choice(self.likeliest.rules(vocabulary, false)),
            })
            .collect();
        let found = self.compute.forward(self.model, &mut self.cache, &mut inputs, &|| false)?;
        // A model of random weights may have no usable logit.
        self.next = found.choices().iter().map(|choice| choice.map_or(0, |choice| choice.token)).collect();
        Ok(())
    }

    /// Forgets all tokens from the `tokens`th on in every sequence.
    pub fn rewind(&mut self, tokens: usize) {
        for sequence in &mut self.sequences {
            sequence.truncate(tokens);
        }
    }

    /// Passes computed so far.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.compute.passes()
    }

    /// The next token of a sequence's prompt: a walk through the vocabulary that does not repeat soon.
    fn step(&mut self, number: usize) -> u32 {
        let (token, vocabulary) = (&mut self.next[number], self.model.config().vocabulary as u64);
        *token = ((u64::from(*token) * 31 + 17) % vocabulary) as u32;
        *token
    }
}
