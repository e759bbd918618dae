//! Continuous batching: which sequences compute how many tokens in the next forward pass.
//!
//! Owns: the admission queue and its limit, the running set, the step's token budget (decodes first, prefill in
//! chunks with the rest) and the count of KV blocks. Does not own tokens, logits, text, threads or a clock: it
//! is a plain data structure that a runner asks for a [`Step`] and tells what became of it.
//!
//! Policy. Admission is strictly first come, first served. A sequence is admitted when the blocks for its whole
//! prompt and longest possible answer are free, and keeps them until it ends: an admitted sequence can always
//! finish, nothing is ever evicted and no text is lost. The price is that a request that may use the whole
//! context reserves it. Among admitted sequences, prompts are computed in the order of admission.
//!
//! Work that generates nothing (likelihoods, embeddings) is [`Given`]: one place among the running, computed like a
//! prompt, stage by stage. Behind each stage it goes to the end of the line, so that a long one holds up others no
//! more than a prompt of a stage's length does.
//! Start at [`Scheduler::plan`].

mod pace;

pub use pace::{Departures, Pace};

use std::collections::VecDeque;

use thiserror::Error;

/// Tokens of one forward pass whose logits may be wanted beyond one a sequence. Few, since a row of logits is as long
/// as the vocabulary.
pub const SCORED_TOKENS_MAX: usize = 64;

/// Names one sequence of one scheduler. Later sequences have greater ids; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// What a scheduler may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that may wait beyond those that free places among the running ones could take.
    pub waiting_max: usize,
    /// Sequences that run at once; at least 1.
    pub running_max: usize,
    /// Tokens of one forward pass; more than `running_max`, so that prefill moves beside a full set of decodes.
    pub step_tokens_max: usize,
    /// KV blocks that there are.
    pub blocks: usize,
    /// Tokens of one block; at least 1.
    pub block_tokens: usize,
}

/// What a sequence may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of its prompt; at least 1.
    pub prompt_tokens: usize,
    /// The most tokens that it may generate; at least 1.
    pub output_tokens_max: usize,
}

impl Demand {
    /// Positions that the cache must hold. The last token generated is never an input, so it takes no place.
    pub fn positions(self) -> usize {
        self.prompt_tokens.saturating_add(self.output_tokens_max.saturating_sub(1))
    }

    fn load(self, block_tokens: usize) -> Load {
        Load {
            blocks: self.positions().div_ceil(block_tokens),
            known: self.prompt_tokens,
            kind: Kind::Grows(self),
        }
    }
}

/// Work whose tokens are all given: nothing is generated. What its tokens are, and how they share its blocks, is its
/// owner's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// What is computed first.
    pub stage: Stage,
    /// Blocks that it holds until it is removed.
    pub blocks: usize,
}

/// A part of given work, all of which is computed before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// At least 1.
    pub tokens: usize,
    /// Whether the logits after each of them are wanted. No step has more than [`SCORED_TOKENS_MAX`] of such tokens.
    pub scored: bool,
}

/// Why sequences were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Too many wait already; later there may be room.
    #[error("{waiting} answers wait already, the limit is {waiting_max}")]
    Full {
        /// Sequences that wait.
        waiting: usize,
        /// The limit.
        waiting_max: usize,
    },
    /// So many choices never fit, however idle the model is.
    #[error("{choices} choices of one request, the limit is {choices_max}")]
    TooManyChoices {
        /// Choices asked for.
        choices: usize,
        /// The most that could be taken.
        choices_max: usize,
    },
    /// The sequence needs more KV blocks than there are.
    #[error("prompt and answer need {needed} cache blocks, there are {blocks}")]
    TooLong {
        /// Blocks needed.
        needed: usize,
        /// Blocks in all.
        blocks: usize,
    },
}

/// One forward pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Sequences that run from this step on, oldest first. They hold their blocks now.
    pub admitted: Vec<SequenceId>,
    /// What to compute, decodes first. A sequence appears at most once.
    pub segments: Vec<Segment>,
}

impl Step {
    /// Tokens to compute.
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens).sum()
    }

    /// Tokens of prompts among them.
    pub fn prefill_tokens(&self) -> usize {
        self.segments.iter().filter(|segment| segment.prefill).map(|segment| segment.tokens).sum()
    }
}

/// A run of consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose.
    pub sequence: SequenceId,
    /// Position of the first token.
    pub start: usize,
    /// How many; at least 1.
    pub tokens: usize,
    /// Whether these are tokens of the prompt.
    pub prefill: bool,
    /// Whether the last of them is the last that is known: its logits choose the next token, or a stage is complete.
    pub wants_logits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    blocks: usize,
    /// Tokens of prompt and answer so far, or of the stages so far.
    known: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Grows(Demand),
    Given { scored: bool },
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: SequenceId,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    id: SequenceId,
    load: Load,
    /// Tokens that were computed.
    computed: usize,
}

impl Running {
    fn decodes(&self) -> bool {
        matches!(self.load.kind, Kind::Grows(demand) if self.computed >= demand.prompt_tokens)
    }

    fn scored(&self) -> bool {
        matches!(self.load.kind, Kind::Given { scored: true })
    }

    fn left(&self) -> usize {
        self.load.known - self.computed
    }
}

/// The queue, the running set and the block count of one model.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    waiting: VecDeque<Waiting>,
    /// In the order of admission, but for given work that has gone to the end behind a stage.
    running: Vec<Running>,
    blocks_free: usize,
    next_id: u64,
}

impl Scheduler {
    /// An empty scheduler.
    ///
    /// # Panics
    /// If the limits contradict their documentation: they are the host's own, not a user's.
    pub fn new(limits: Limits) -> Self {
        assert!(limits.running_max >= 1, "at least one sequence runs");
        assert!(
            limits.step_tokens_max > limits.running_max,
            "prefill must move beside a full set of decodes"
        );
        assert!(limits.block_tokens >= 1, "a block holds a token");
        Self { limits, waiting: VecDeque::new(), running: Vec::new(), blocks_free: limits.blocks, next_id: 0 }
    }

    /// Takes `choices` sequences of the same demand into the queue, all or none.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn submit(&mut self, demand: Demand, choices: usize) -> Result<Vec<SequenceId>, Refused> {
        self.enqueue(demand.load(self.limits.block_tokens), choices)
    }

    /// Takes given work into the queue.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn submit_given(&mut self, given: Given) -> Result<SequenceId, Refused> {
        let Given { stage: Stage { tokens, scored }, blocks } = given;
        let ids = self.enqueue(Load { blocks, known: tokens, kind: Kind::Given { scored } }, 1)?;
        Ok(ids[0])
    }

    fn enqueue(&mut self, load: Load, choices: usize) -> Result<Vec<SequenceId>, Refused> {
        let Limits { waiting_max, running_max, blocks, .. } = self.limits;
        if load.blocks > blocks {
            return Err(Refused::TooLong { needed: load.blocks, blocks });
        }
        let choices_max = waiting_max.saturating_add(running_max);
        if choices > choices_max {
            return Err(Refused::TooManyChoices { choices, choices_max });
        }
        let places = waiting_max.saturating_add(running_max - self.running.len());
        if self.waiting.len().saturating_add(choices) > places {
            return Err(Refused::Full { waiting: self.waiting.len(), waiting_max });
        }
        let ids: Vec<SequenceId> = (self.next_id..).take(choices).map(SequenceId).collect();
        self.next_id += choices as u64;
        self.waiting.extend(ids.iter().map(|&id| Waiting { id, load }));
        Ok(ids)
    }

    /// Admits what fits and chooses the next forward pass. `prefill_tokens_max` bounds the prompt tokens of a
    /// step that also decodes, so that one long prompt does not stall every answer; it counts as at least 1.
    /// Without decodes the whole budget goes to prompts. A sequence whose next token is not chosen yet has no part.
    /// Empty only when nothing waits, and nothing runs but such sequences.
    pub fn plan(&mut self, prefill_tokens_max: usize) -> Step {
        let admitted = self.admit();
        let mut segments = Vec::with_capacity(self.running.len());
        for sequence in self.running.iter().filter(|sequence| sequence.decodes() && sequence.left() > 0) {
            segments.push(Segment {
                sequence: sequence.id,
                start: sequence.computed,
                tokens: sequence.left(),
                prefill: false,
                wants_logits: true,
            });
        }
        let mut budget = self.limits.step_tokens_max - segments.len();
        if !segments.is_empty() {
            budget = budget.min(prefill_tokens_max.max(1));
        }
        let mut scored = SCORED_TOKENS_MAX;
        for sequence in self.running.iter().filter(|sequence| !sequence.decodes()) {
            let mut tokens = budget.min(sequence.left());
            if sequence.scored() {
                tokens = tokens.min(scored);
                scored -= tokens;
            }
            if tokens == 0 {
                continue;
            }
            budget -= tokens;
            segments.push(Segment {
                sequence: sequence.id,
                start: sequence.computed,
                tokens,
                prefill: true,
                wants_logits: tokens == sequence.left(),
            });
        }
        Step { admitted, segments }
    }

    /// Notes that a step of [`Self::plan`] was computed. Sequences that were removed since then are skipped. Of
    /// a step that was abandoned nothing is noted: its tokens are planned again.
    pub fn computed(&mut self, step: &Step) {
        for segment in &step.segments {
            if let Some(sequence) = self.find(segment.sequence) {
                sequence.computed = segment.start + segment.tokens;
            }
        }
    }

    /// Notes that a sequence whose known tokens are all computed has generated one more, which the next step
    /// computes. Returns whether it may: at its limit the sequence must be removed instead.
    #[must_use]
    pub fn extend(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.find(id) else { return false };
        debug_assert_eq!(sequence.left(), 0, "logits come from the last known token");
        match sequence.load.kind {
            Kind::Grows(demand) if sequence.load.known < demand.positions() => {
                sequence.load.known += 1;
                true
            }
            _ => false,
        }
    }

    /// Gives running work whose stages so far are computed its next one, behind everything else that runs. Returns
    /// whether it was there.
    pub fn go_on(&mut self, id: SequenceId, stage: Stage) -> bool {
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else { return false };
        let mut sequence = self.running.remove(index);
        debug_assert_eq!(sequence.left(), 0, "one stage after the other");
        sequence.load.known += stage.tokens;
        sequence.load.kind = Kind::Given { scored: stage.scored };
        self.running.push(sequence);
        true
    }

    /// Removes a sequence, waiting or running, and frees its blocks. Returns whether it was there.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            self.blocks_free += self.running.remove(index).load.blocks;
            return true;
        }
        let index = self.waiting.iter().position(|sequence| sequence.id == id);
        index.is_some_and(|index| self.waiting.remove(index).is_some())
    }

    /// Whether a sequence runs; false for one that waits or is gone.
    pub fn runs(&self, id: SequenceId) -> bool {
        self.running.iter().any(|sequence| sequence.id == id)
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Blocks that nobody holds.
    pub fn blocks_free(&self) -> usize {
        self.blocks_free
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn admit(&mut self) -> Vec<SequenceId> {
        let mut admitted = Vec::new();
        while self.running.len() < self.limits.running_max
            && let Some(&Waiting { id, load }) = self.waiting.front()
        {
            if load.blocks > self.blocks_free {
                break;
            }
            self.waiting.pop_front();
            self.blocks_free -= load.blocks;
            self.running.push(Running { id, load, computed: 0 });
            admitted.push(id);
        }
        admitted
    }

    fn find(&mut self, id: SequenceId) -> Option<&mut Running> {
        self.running.iter_mut().find(|sequence| sequence.id == id)
    }
}

#[cfg(test)]
mod tests;
