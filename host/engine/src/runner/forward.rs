//! What the runner needs of a model: one forward pass over a batch of sequences. A trait, so that the runner's
//! tests can script logits, faults and delays.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::scheduler::SequenceId;

/// A model with the cache of its sequences.
pub(crate) trait Forward: Send {
    /// Begins a sequence whose cache will hold at most `positions` tokens, computed with `adapter` if there is one.
    /// The runner has counted the blocks, so a refusal is a fault.
    fn open(&mut self, id: SequenceId, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault>;

    /// Forgets a sequence and frees its blocks. One that is not open is ignored.
    fn close(&mut self, id: SequenceId);

    /// Computes the batch in one pass. Asks `stop` between layers; once that says so the pass is given up and none
    /// of its tokens count.
    fn pass(&mut self, inputs: &[Input<'_>], stop: &dyn Fn() -> bool) -> Result<Pass<'_>, Fault>;

    /// How many passes were begun, by the model's own count.
    fn passes(&self) -> u64;
}

/// A run of consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input<'a> {
    /// Whose.
    pub(crate) sequence: SequenceId,
    /// Position of the first token; all before it were computed.
    pub(crate) start: usize,
    /// At least one.
    pub(crate) tokens: &'a [u32],
    /// Whether the logits after the last of them are wanted.
    pub(crate) wants_logits: bool,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pass<'a> {
    /// Computed: the logits of every input that wanted them, in the order of the inputs. A row has one a token of
    /// the vocabulary, maybe followed by unused ones.
    Complete(Vec<&'a [f32]>),
    /// Given up, because it was told to stop.
    Stopped,
}

/// A pass that could not be computed: never the request's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) String);
