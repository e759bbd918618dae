//! How a measurement is cut into stages, and how many cache blocks it holds. Pure: numbers and tokens.
//!
//! A stage is a list of runs that are computed in any chunks, all before the next stage begins. Texts to embed are
//! packed into stages of about one forward pass. A choice has its prompt as the first stage; then the continuations
//! branch off, as many in a stage as the blocks allow: the first of each stage goes on in the prompt's own sequence,
//! which is rewound for it, the others in forks. So one continuation always fits where its answer would.

use crate::model::Wanted;
use crate::scheduler::{self, Limits};

/// A run of tokens in one sequence of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The sequence's number among those of this measurement.
    pub(super) part: u32,
    pub(super) begin: Begin,
    /// Position of the first token.
    pub(super) position: usize,
    /// All tokens of the prompt, text or continuation.
    pub(super) tokens: Vec<u32>,
    /// How many of them are computed: of a continuation, all but the last.
    pub(super) computed: usize,
    /// Which text or continuation this is, in the order of the question.
    pub(super) item: usize,
}

/// How a run's sequence begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Empty.
    Open,
    /// As a fork of part 0.
    Fork,
    /// As part 0 cut back to the run's position.
    Rewind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The logits after the last token score the first token of every continuation.
    Prompt,
    /// The logits after each token score the next one.
    Branches,
    /// The states of all tokens are averaged.
    Texts,
}

/// Runs of one kind, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) kind: Kind,
    pub(super) runs: Vec<Run>,
}

/// A piece of a run that lies in a chunk of its stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) run: &'a Run,
    /// Which of the run's tokens.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) wanted: Wanted<'static>,
}

impl Stage {
    /// As the scheduler knows it.
    pub(super) fn size(&self) -> scheduler::Stage {
        let tokens = self.runs.iter().map(|run| run.computed).sum();
        scheduler::Stage { tokens, scored: self.kind == Kind::Branches }
    }

    /// The pieces of the chunk of `count` tokens from the stage's `first` on.
    pub(super) fn pieces(&self, first: usize, count: usize) -> impl Iterator<Item = Piece<'_>> {
        let mut begin = 0;
        self.runs.iter().filter_map(move |run| {
            let from = first.max(begin) - begin;
            let to = (first + count).min(begin + run.computed).saturating_sub(begin);
            begin += run.computed;
            let count = to.checked_sub(from).filter(|&count| count > 0)?;
            let wanted = match self.kind {
                Kind::Prompt if to == run.computed => Wanted::Last,
                Kind::Prompt => Wanted::None,
                Kind::Branches => Wanted::All,
                Kind::Texts => Wanted::States,
            };
            Some(Piece { run, first: from, count, wanted })
        })
    }
}

/// The stages of a choice, and the blocks that it holds. A continuation of one token needs no computation of its own.
pub(super) fn choice(prompt: Vec<u32>, continuations: Vec<Vec<u32>>, limits: &Limits) -> (Vec<Stage>, usize) {
    let size = limits.block_tokens;
    let start = prompt.len();
    let budget = (limits.blocks / 4).max(start.div_ceil(size));
    let first = Run { part: 0, begin: Begin::Open, position: 0, computed: start, tokens: prompt, item: 0 };
    let mut stages = vec![Stage { kind: Kind::Prompt, runs: vec![first] }];
    let mut blocks_max = start.div_ceil(size);
    let mut held = 0;
    for (item, tokens) in continuations.into_iter().enumerate().filter(|(_, tokens)| tokens.len() > 1) {
        let computed = tokens.len() - 1;
        // A fork shares whole blocks and copies the rest.
        let forked = (start % size + computed).div_ceil(size);
        let open = stages.last_mut().filter(|stage| stage.kind == Kind::Branches && held + forked <= budget);
        let mut run = Run { part: 0, begin: Begin::Rewind, position: start, computed, tokens, item };
        match open {
            Some(stage) => {
                held += forked;
                // At most as many as there are continuations.
                (run.part, run.begin) = (stage.runs.len() as u32, Begin::Fork);
                stage.runs.push(run);
            }
            None => {
                held = (start + computed).div_ceil(size);
                stages.push(Stage { kind: Kind::Branches, runs: vec![run] });
            }
        }
        blocks_max = blocks_max.max(held);
    }
    (stages, blocks_max)
}

/// The stages of texts to embed, at least one, and the blocks that they hold.
pub(super) fn texts(texts: Vec<Vec<u32>>, limits: &Limits) -> (Vec<Stage>, usize) {
    let blocks = |tokens: &Vec<u32>| tokens.len().div_ceil(limits.block_tokens);
    let budget = texts.iter().map(blocks).max().unwrap_or(0).max(limits.blocks / 4);
    let mut stages: Vec<Stage> = Vec::new();
    let (mut held, mut count, mut blocks_max) = (0, 0, 0);
    for (item, tokens) in texts.into_iter().enumerate() {
        let (needs, computed) = (blocks(&tokens), tokens.len());
        let fits = held + needs <= budget && count + computed <= limits.step_tokens_max;
        if !fits || stages.is_empty() {
            (held, count) = (0, 0);
            stages.push(Stage { kind: Kind::Texts, runs: Vec::new() });
        }
        (held, count) = (held + needs, count + computed);
        blocks_max = blocks_max.max(held);
        if let Some(stage) = stages.last_mut() {
            // Far fewer than 2³² texts.
            let part = stage.runs.len() as u32;
            stage.runs.push(Run { part, begin: Begin::Open, position: 0, computed, tokens, item });
        }
    }
    (stages, blocks_max)
}

#[cfg(test)]
mod tests;
