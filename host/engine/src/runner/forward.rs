//! What the runner needs of a model: one forward pass over a batch of sequences. A trait, so that the runner's
//! tests can script logits, faults and delays.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::model::Wanted;
use crate::sampler::{Choice, NoLogit};
use crate::scheduler::SequenceId;

/// A model with the cache of its sequences.
pub(crate) trait Forward: Send {
    /// Begins a sequence whose cache will hold at most `positions` tokens, computed with `adapter` if there is one.
    /// The runner has counted the blocks, so a refusal is a fault.
    fn open(&mut self, part: Part, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault>;

    /// Begins a sequence at the end of `from`, as if it had computed all of it itself.
    fn fork(&mut self, from: Part, to: Part, positions: usize) -> Result<(), Fault>;

    /// Has a sequence forget all tokens from the `tokens`th on, and makes room for `positions` in all. None of its
    /// forks began beyond `tokens`.
    fn rewind(&mut self, part: Part, tokens: usize, positions: usize) -> Result<(), Fault>;

    /// Forgets a sequence and frees its blocks. One that is not open is ignored.
    fn close(&mut self, part: Part);

    /// Computes the batch in one pass. Asks `stop` between layers; once that says so the pass is given up and none
    /// of its tokens count.
    fn pass(&mut self, inputs: &[Input<'_>], stop: &dyn Fn() -> bool) -> Result<Pass<'_>, Fault>;

    /// How many passes were begun, by the model's own count.
    fn passes(&self) -> u64;
}

/// Names a sequence of the model's cache. An answer is one, its part 0; other work may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    /// What the scheduler knows it by.
    pub(crate) of: SequenceId,
    pub(crate) number: u32,
}

impl From<SequenceId> for Part {
    /// The first part, which an answer has alone.
    fn from(of: SequenceId) -> Self {
        Self { of, number: 0 }
    }
}

/// A run of consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Input<'a> {
    /// Whose.
    pub(crate) part: Part,
    /// Position of the first token; all before it were computed.
    pub(crate) start: usize,
    /// At least one.
    pub(crate) tokens: &'a [u32],
    /// What is wanted of them.
    pub(crate) wanted: Wanted<'a>,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pass<'a> {
    /// Computed.
    Complete {
        /// The rows that the inputs wanted, in the order of the inputs and their tokens. A row of logits has one a token of
        /// the vocabulary, maybe followed by unused ones.
        rows: Vec<&'a [f32]>,
        /// The tokens of those that wanted a choice, in the order of the inputs.
        choices: &'a [Result<Choice, NoLogit>],
    },
    /// Given up, because it was told to stop.
    Stopped,
}

/// A pass that could not be computed: never the request's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) String);
