//! What one pass computes, decided before it begins: plain data, the same for every processor.

use std::ops::Range;

use lockgate_kernels::attention::{Sequence, Slot};

use crate::adapter::Adapter;
use crate::sampler::{Choice, NoLogit, Rules};

/// The rows of a pass. A row is one token of one sequence; one entry a row in `tokens`, `positions` and `slots`.
pub(crate) struct Batch<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) positions: &'a [u32],
    pub(crate) slots: &'a [Slot],
    /// The sequences, in the order of their rows.
    pub(crate) sequences: &'a [Sequence<'a>],
    /// The rows from which something is wanted, logits or states, in order.
    pub(crate) wanted: &'a [usize],
    /// Those among `wanted` whose states behind the last norm are wanted, by their indices there, in order and apart.
    pub(crate) states: &'a [Range<usize>],
    /// What consumers want of logits: of these, by their places among the rows whose logits are computed and in order, the
    /// token that is chosen by these rules; of all others the logits themselves.
    pub(crate) choices: &'a [(usize, Rules<'a>)],
    /// The rows that adapters change.
    pub(crate) adapted: &'a [AdaptedRows<'a>],
    /// The same among the wanted rows.
    pub(crate) adapted_wanted: &'a [AdaptedRows<'a>],
    pub(crate) hidden: usize,
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// What a pass hands out.
#[derive(Default)]
pub(crate) struct Outputs {
    /// `[rows whose logits are wanted][vocabulary]`
    pub(crate) logits: Vec<f32>,
    /// One for each of the batch's choices.
    pub(crate) choices: Vec<Result<Choice, NoLogit>>,
    /// `[rows whose states are wanted][hidden]`
    pub(crate) states: Vec<f32>,
}

/// Of `rows` rows of logits, the runs of those from which nothing is chosen.
pub(super) fn rows_between(
    choices: &[(usize, Rules<'_>)],
    rows: usize,
) -> impl Iterator<Item = Range<usize>> {
    let ends = choices.iter().map(|(row, _)| *row).chain(std::iter::once(rows));
    let mut next = 0;
    ends.map(move |end| std::mem::replace(&mut next, end + 1)..end).filter(|run| !run.is_empty())
}

/// The rows of a pass that one adapter changes.
pub(crate) struct AdaptedRows<'a> {
    pub(crate) adapter: &'a Adapter,
    /// In order, none adjacent to the next.
    pub(crate) ranges: Vec<Range<usize>>,
}

impl<'a> AdaptedRows<'a> {
    /// Groups a pass's inputs by adapter: each is given with its number of rows.
    pub(crate) fn group(inputs: impl Iterator<Item = (Option<&'a Adapter>, usize)>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        let mut row = 0;
        for (adapter, rows) in inputs {
            let range = row..row + rows;
            row = range.end;
            let Some(adapter) = adapter.filter(|_| rows > 0) else { continue };
            let group = groups.iter_mut().find(|group| std::ptr::eq(group.adapter, adapter));
            match group {
                None => groups.push(Self { adapter, ranges: vec![range] }),
                Some(group) => match group.ranges.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => group.ranges.push(range),
                },
            }
        }
        groups
    }

    /// How many rows these are.
    pub(crate) fn rows(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}
