//! Work that generates nothing: how likely given continuations are, and where texts lie.
//!
//! To the scheduler a measurement is one sequence of given tokens, computed stage by stage (`stages`); in the cache it
//! has several sequences. This maps the one to the other: chunks to inputs, rows to sums (`outcome`). It does not
//! decide what is computed when, and waits for nothing.

mod outcome;
mod stages;

use std::sync::Arc;

use lockgate_api::{BackendError, Chosen, Embedded};

use self::outcome::Outcome;
use self::stages::{Begin, Kind, Stage};
use super::forward::{Fault, Forward, Input, Part};
use super::reply::Writer;
use crate::adapter::Adapter;
use crate::sampler::Scratch;
use crate::scheduler::{self, Given, Limits, Segment, SequenceId};

/// How likely are these continuations of this prompt? All tokens are of the vocabulary, no list is empty, and the
/// prompt with each continuation fits the context.
#[derive(Clone, Debug)]
pub(crate) struct Choosing {
    /// What the model is computed with.
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) continuations: Vec<Vec<u32>>,
}

/// Where do these texts lie? As for [`Choosing`].
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) texts: Vec<Vec<u32>>,
}

/// A measurement in progress.
pub(super) struct Measuring {
    adapter: Option<Arc<Adapter>>,
    stages: Vec<Stage>,
    blocks: usize,
    /// The number of the stage that is being computed.
    current: usize,
    /// Tokens of the stages before it.
    before: usize,
    outcome: Outcome,
}

/// What follows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More of the same stage.
    Chunk,
    /// Another stage, whose sequences are open.
    Stage(scheduler::Stage),
    /// Nothing: all is computed.
    Over,
}

impl Measuring {
    pub(super) fn choosing(asked: Choosing, writer: Writer<Chosen>, limits: &Limits) -> Self {
        let Choosing { adapter, prompt, continuations } = asked;
        let outcome = Outcome::choice(prompt.len(), &continuations, writer);
        let (stages, blocks) = stages::choice(prompt, continuations, limits);
        Self { adapter, stages, blocks, current: 0, before: 0, outcome }
    }

    pub(super) fn embedding(asked: Embedding, writer: Writer<Embedded>, limits: &Limits) -> Self {
        let Embedding { adapter, texts } = asked;
        let outcome = Outcome::vectors(&texts, writer);
        let (stages, blocks) = stages::texts(texts, limits);
        Self { adapter, stages, blocks, current: 0, before: 0, outcome }
    }

    /// As the scheduler takes it.
    pub(super) fn given(&self) -> Given {
        Given { stage: self.stage().size(), blocks: self.blocks }
    }

    /// Opens the sequences of the current stage. On an error some of them may be open.
    pub(super) fn begin(&self, id: SequenceId, forward: &mut impl Forward) -> Result<(), Fault> {
        for run in &self.stage().runs {
            let part = Part { of: id, number: run.part };
            let positions = run.position + run.computed;
            match run.begin {
                Begin::Open => forward.open(part, positions, self.adapter.clone())?,
                Begin::Fork => forward.fork(id.into(), part, positions)?,
                Begin::Rewind => forward.rewind(part, run.position, positions)?,
            }
        }
        Ok(())
    }

    /// What a chunk computes.
    pub(super) fn inputs(&self, segment: &Segment) -> impl Iterator<Item = Input<'_>> {
        let of = segment.sequence;
        self.stage().pieces(segment.start - self.before, segment.tokens).map(move |piece| Input {
            part: Part { of, number: piece.run.part },
            start: piece.run.position + piece.first,
            tokens: &piece.run.tokens[piece.first..piece.first + piece.count],
            wanted: piece.wanted,
        })
    }

    /// Takes in the rows that a chunk's inputs wanted. `vocabulary` is the number of logits that count.
    pub(super) fn add<'a>(
        &mut self,
        segment: &Segment,
        mut rows: impl Iterator<Item = &'a [f32]>,
        vocabulary: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Fault> {
        let Self { stages, current, before, outcome, .. } = self;
        let stage = &stages[*current];
        for piece in stage.pieces(segment.start - *before, segment.tokens) {
            let count = piece.wanted.rows(piece.count);
            // The row of a prompt is its last token's.
            let first = piece.first + piece.count - count;
            for (index, row) in (first..).zip(rows.by_ref().take(count)) {
                outcome.add(stage.kind, piece.run, index, row, vocabulary, scratch)?;
            }
        }
        Ok(())
    }

    /// Goes on behind a chunk that was computed.
    pub(super) fn advance(&mut self, segment: &Segment, forward: &mut impl Forward) -> Result<Next, Fault> {
        let size = self.stage().size().tokens;
        if segment.start + segment.tokens < self.before + size {
            return Ok(Next::Chunk);
        }
        if self.current + 1 == self.stages.len() {
            return Ok(Next::Over);
        }
        // The prompt's sequence stays for its continuations.
        for run in self.stage().runs.iter().filter(|run| self.stage().kind == Kind::Texts || run.part > 0) {
            forward.close(Part { of: segment.sequence, number: run.part });
        }
        self.before += size;
        self.current += 1;
        self.begin(segment.sequence, forward)?;
        Ok(Next::Stage(self.stage().size()))
    }

    /// Closes whatever is open.
    pub(super) fn close(&self, id: SequenceId, forward: &mut impl Forward) {
        forward.close(id.into());
        for run in &self.stage().runs {
            forward.close(Part { of: id, number: run.part });
        }
    }

    /// Hands out the result of a measurement that is over.
    pub(super) fn finish(self) {
        self.outcome.finish();
    }

    pub(super) fn fail(self, error: BackendError) {
        self.outcome.fail(error);
    }

    pub(super) fn abandoned(&self) -> bool {
        self.outcome.abandoned()
    }

    /// There is one: a prompt, or a text.
    fn stage(&self) -> &Stage {
        &self.stages[self.current]
    }
}
