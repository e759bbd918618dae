//! The forward pass over a batch: checks the inputs, finds their places in the cache, has the network compute them,
//! and counts them as computed only when all is done.

use std::ops::Range;
use std::sync::Arc;

use lockgate_kernels::attention::{self, Slot};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::memory::OutOfMemory;
use lockgate_kernels::pool::ThreadPool;

use super::{Model, NoMemory};
use crate::kv::{Cache, OutOfBlocks, Sequence};
use crate::processor::cpu::{Buffers, CpuPass};
use crate::processor::cuda::{CudaPass, Extent};
use crate::processor::{AdaptedRows, Batch, Outputs, Pass, PassError};
use crate::sampler::{Choice, NoLogit, Rules};

/// Tokens that continue one sequence.
#[derive(Debug)]
pub struct Input<'a> {
    /// The sequence; the first token's position is [`Sequence::tokens`].
    pub sequence: &'a mut Sequence,
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// What is wanted after them.
    pub wanted: Wanted<'a>,
}

/// What is wanted of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// Nothing.
    None,
    /// The logits after the last token.
    Last,
    /// The token that these rules choose after the last one: its logits stay where they are computed.
    Choice(Rules<'a>),
    /// The logits after each token.
    All,
    /// The hidden state of each token behind the last norm: what logits are computed from.
    States,
}

impl Wanted<'_> {
    /// Rows of logits or states that come of `tokens` tokens.
    pub(crate) fn rows(self, tokens: usize) -> usize {
        match self {
            Self::None | Self::Choice(_) => 0,
            Self::Last => tokens.min(1),
            Self::All | Self::States => tokens,
        }
    }

    /// Rows of `tokens` tokens that are computed to the end.
    fn kept(self, tokens: usize) -> usize {
        match self {
            Self::Choice(_) => tokens.min(1),
            other => other.rows(tokens),
        }
    }
}

/// What was wanted of one pass.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    values: &'a [f32],
    choices: &'a [Result<Choice, NoLogit>],
    vocabulary: usize,
    states: &'a [f32],
    hidden: usize,
}

impl<'a> Logits<'a> {
    /// The rows, in the order of the inputs and their tokens: raw logits, one for each token of the vocabulary.
    pub fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.vocabulary)
    }

    /// The tokens that were chosen, in the order of the inputs that wanted one.
    pub fn choices(&self) -> &'a [Result<Choice, NoLogit>] {
        self.choices
    }

    /// The hidden states, in the order of the inputs and their tokens.
    pub fn states(&self) -> std::slice::ChunksExact<'a, f32> {
        self.states.chunks_exact(self.hidden)
    }

    /// Row `row` of the logits.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.vocabulary..][..self.vocabulary]
    }
}

/// Why there are no logits. The sequences are as they were, but may hold more blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// There is nothing to compute.
    #[error("an input has no tokens")]
    Empty,
    /// A token that the model does not have.
    #[error("token {token} does not exist; the vocabulary has {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// A sequence longer than the model was loaded for.
    #[error("a sequence of {tokens} tokens is longer than the context of {context}")]
    Context {
        /// Tokens that the sequence would have.
        tokens: usize,
        /// The context.
        context: usize,
    },
    /// A choice among more tokens than the model has logits for.
    #[error("it has fewer output rows than its tokenizer has tokens: {vocabulary}, not {tokens}")]
    Outputs {
        /// The tokens.
        tokens: usize,
        /// The logits.
        vocabulary: usize,
    },
    /// More than the card has buffers for.
    #[error(
        "a pass of {rows} tokens, {wanted} of them wanted, is more than the {rows_max} and {wanted_max} of the card's buffers"
    )]
    Pass {
        /// Tokens.
        rows: usize,
        /// Those from which something is wanted.
        wanted: usize,
        /// The most tokens.
        rows_max: usize,
        /// The most that may be wanted.
        wanted_max: usize,
    },
    /// The card failed. What it holds of sequences may be lost.
    #[error(transparent)]
    Device(#[from] DriverError),
    /// The cache is full.
    #[error(transparent)]
    Blocks(#[from] OutOfBlocks),
    /// The system is out of memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

impl From<NoMemory> for ForwardError {
    fn from(error: NoMemory) -> Self {
        match error {
            NoMemory::Here(error) => Self::Memory(error),
            NoMemory::Card(error) => Self::Device(error),
        }
    }
}

impl From<PassError> for ForwardError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Stopped => Self::Stopped,
            PassError::Memory(error) => Self::Memory(error),
            PassError::Device(error) => Self::Device(error),
        }
    }
}

/// Computes passes: the threads, and the buffers that passes reuse.
pub struct Compute {
    pool: Arc<ThreadPool>,
    level: Level,
    buffers: Buffers,
    outputs: Outputs,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    slots: Vec<Slot>,
    wanted: Vec<usize>,
    states: Vec<Range<usize>>,
    passes: u64,
}

impl std::fmt::Debug for Compute {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Compute");
        debug
            .field("threads", &self.pool.threads())
            .field("level", &self.level)
            .field("passes", &self.passes);
        debug.finish_non_exhaustive()
    }
}

impl Compute {
    /// Computes on the threads of `pool` with the instructions of `level`. Neither changes a bit of the results.
    #[must_use]
    pub fn new(pool: Arc<ThreadPool>, level: Level) -> Self {
        Self {
            pool,
            level,
            buffers: Buffers::default(),
            outputs: Outputs::default(),
            tokens: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            wanted: Vec::new(),
            states: Vec::new(),
            passes: 0,
        }
    }

    /// How many passes were begun.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// Computes all inputs in one pass, and counts their tokens into their sequences. `stop` is polled between
    /// layers.
    ///
    /// # Errors
    /// An input is not of this model or does not fit, or the pass was stopped; no sequence has moved on then.
    ///
    /// # Panics
    /// When a sequence is not of this cache, or the cache or a sequence's adapter not of this model.
    pub fn forward(
        &mut self,
        model: &Model,
        cache: &mut Cache,
        inputs: &mut [Input<'_>],
        stop: &dyn Fn() -> bool,
    ) -> Result<Logits<'_>, ForwardError> {
        self.place(model, cache, inputs)?;
        self.passes += 1;
        let sequences: Vec<attention::Sequence<'_>> = inputs
            .iter()
            .map(|input| attention::Sequence {
                pages: input.sequence.pages(),
                first_position: input.sequence.tokens(),
                rows: input.tokens.len(),
            })
            .collect();
        let adapters = || inputs.iter().map(|input| (input.sequence.adapter().map(Arc::as_ref), input));
        let adapted = AdaptedRows::group(adapters().map(|(adapter, input)| (adapter, input.tokens.len())));
        let wanted = adapters().map(|(adapter, input)| (adapter, input.wanted.kept(input.tokens.len())));
        let adapted_wanted = AdaptedRows::group(wanted);
        let choices = choices(inputs);
        let batch = Batch {
            tokens: &self.tokens,
            positions: &self.positions,
            slots: &self.slots,
            sequences: &sequences,
            wanted: &self.wanted,
            states: &self.states,
            choices: &choices,
            adapted: &adapted,
            adapted_wanted: &adapted_wanted,
            hidden: model.config().hidden,
            stop,
        };
        let (layers, card) = cache.parts_mut();
        let mut handed_over = None;
        if let Some(network) = model.here() {
            let threads = (&*self.pool, self.level);
            let mut pass = CpuPass::new(threads, layers, &mut self.buffers, &mut self.outputs, &batch);
            network.forward(&mut pass)?;
            if model.card().is_none() {
                pass.choose()?;
            }
            handed_over = Some(self.buffers.residual());
        }
        if let (Some(network), Some(state)) = (model.card(), card) {
            let copies = adapted.iter().map(|rows| state.prepare(rows.adapter));
            let copies = copies.collect::<Result<Vec<_>, _>>()?;
            let heads = (model.config().heads, model.config().kv_heads);
            let pass = CudaPass::begin(state, heads, &mut self.outputs, &batch, &copies, handed_over);
            pass?.run(network)?;
        }
        for input in inputs {
            input.sequence.advance(input.tokens.len());
        }
        let (vocabulary, hidden) = (model.config().vocabulary, model.config().hidden);
        let Outputs { logits: values, choices, states } = &self.outputs;
        Ok(Logits { values, choices, vocabulary, states, hidden })
    }

    /// Checks the inputs, reserves their blocks, and writes down where each of their tokens belongs.
    fn place(&mut self, model: &Model, cache: &Cache, inputs: &mut [Input<'_>]) -> Result<(), ForwardError> {
        let (vocabulary, context) = (model.config().vocabulary, model.plan().context);
        assert_eq!(cache.layers(), model.config().layers, "the cache must be the model's");
        for list in [&mut self.tokens, &mut self.positions] {
            list.clear();
        }
        self.slots.clear();
        self.wanted.clear();
        self.states.clear();
        if inputs.is_empty() {
            return Err(ForwardError::Empty);
        }
        for input in inputs {
            assert!(cache.owns(input.sequence), "a sequence is computed in the cache that made it");
            let fits = input.sequence.adapter().is_none_or(|adapter| adapter.fits(model.config()));
            assert!(fits, "an adapter is used with the model that it was loaded for");
            let start = input.sequence.tokens();
            let tokens = start.saturating_add(input.tokens.len());
            if input.tokens.is_empty() {
                return Err(ForwardError::Empty);
            }
            if let Some(token) = input.tokens.iter().copied().find(|token| *token as usize >= vocabulary) {
                return Err(ForwardError::Token { token, vocabulary });
            }
            if tokens > context {
                return Err(ForwardError::Context { tokens, context });
            }
            input.sequence.reserve(tokens)?;
            let first_row = self.tokens.len();
            self.tokens.extend_from_slice(input.tokens);
            // The context is far below 32 bits.
            self.positions.extend((start..tokens).map(|position| position as u32));
            self.slots.extend((start..tokens).filter_map(|position| input.sequence.slot(position)));
            match input.wanted {
                Wanted::None => {}
                Wanted::Choice(Rules { tokens, .. }) if tokens > vocabulary => {
                    return Err(ForwardError::Outputs { tokens, vocabulary });
                }
                Wanted::Last | Wanted::Choice(_) => self.wanted.push(self.tokens.len() - 1),
                Wanted::All => self.wanted.extend(first_row..self.tokens.len()),
                Wanted::States => {
                    let first = self.wanted.len();
                    self.wanted.extend(first_row..self.tokens.len());
                    self.states.push(first..self.wanted.len());
                }
            }
        }
        match cache.extent() {
            Some(Extent { rows: rows_max, wanted: wanted_max, .. })
                if self.tokens.len() > rows_max || self.wanted.len() > wanted_max =>
            {
                let (rows, wanted) = (self.tokens.len(), self.wanted.len());
                Err(ForwardError::Pass { rows, wanted, rows_max, wanted_max })
            }
            _ => Ok(()),
        }
    }
}

/// The choices that are wanted, by their places among the rows whose logits are computed.
fn choices<'a>(inputs: &[Input<'a>]) -> Vec<(usize, Rules<'a>)> {
    let mut row = 0;
    let mut choices = Vec::new();
    for input in inputs {
        match input.wanted {
            Wanted::Choice(rules) => choices.push((row, rules)),
            Wanted::States => continue,
            Wanted::None | Wanted::Last | Wanted::All => {}
        }
        row += input.wanted.kept(input.tokens.len());
    }
    choices
}
