//! What adapters add to projections: `out[row] += B · (scale · (A · x[row]))` for the rows of each adapter.
//!
//! The rows of one adapter, wherever they are in the batch, are gathered and computed together; rows without one are
//! neither read nor written. A product has one order of operations, as every product of the kernels, is scaled between
//! its halves, and is added to the finished base product: so a row's bits depend neither on the batch nor on threads.

use std::ops::Range;

use lockgate_kernels::cpu::Level;
use lockgate_kernels::matmul::{Activations, MatmulJob, matmul};
use lockgate_kernels::norm;
use lockgate_kernels::pool::ThreadPool;

use super::linear::Linear;
use super::pass::Buffer;
use crate::adapter::{Adapter, LowRank};

/// The rows of a pass that one adapter changes.
pub(crate) struct AdaptedRows<'a> {
    adapter: &'a Adapter,
    /// In order, none adjacent to the next.
    ranges: Vec<Range<usize>>,
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

    fn rows(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}

/// What projections compute with, beside their inputs.
#[derive(Clone, Copy)]
pub(crate) struct Adapting<'a> {
    pub(crate) pool: &'a ThreadPool,
    pub(crate) level: Level,
    pub(crate) adapted: &'a [AdaptedRows<'a>],
}

/// Buffers that adapters' products reuse. Empty until a pass has an adapter.
#[derive(Default)]
pub(crate) struct Scratch {
    gathered: Vec<f32>,
    inputs: Activations,
    /// The products with A, one projection behind the other.
    low: Buffer,
    low_inputs: Activations,
    product: Buffer,
}

impl Scratch {
    /// Adds what an adapter makes of its rows of `x` to their rows of each projection's output.
    pub(crate) fn add<'o>(
        &mut self,
        pool: &ThreadPool,
        level: Level,
        group: &AdaptedRows<'_>,
        x: &Activations,
        outputs: &mut dyn Iterator<Item = (&'o Linear, &'o mut [f32])>,
    ) {
        let adapter = group.adapter;
        let pairs: Vec<(&LowRank, &mut [f32])> = outputs
            .filter_map(|(linear, out)| Some((adapter.low_rank(linear.layer, linear.module)?, out)))
            .collect();
        if pairs.is_empty() {
            return;
        }
        let rows = group.rows();
        self.gather(pool, level, group, x);
        let ranks = pairs.iter().map(|(pair, _)| pair.a.rows());
        let mut low = self.low.sized(rows * ranks.sum::<usize>());
        let mut jobs = Vec::with_capacity(pairs.len());
        for (pair, _) in &pairs {
            let (out, rest) = low.split_at_mut(rows * pair.a.rows());
            jobs.push(MatmulJob { weights: &pair.a, out });
            low = rest;
        }
        matmul(pool, level, &mut jobs, &mut self.inputs);
        for ((pair, out), MatmulJob { out: low, .. }) in pairs.into_iter().zip(jobs) {
            low.iter_mut().for_each(|value| *value *= pair.scale);
            self.low_inputs.set(pool, level, rows, pair.b.cols(), low);
            let width = pair.b.rows();
            let product = self.product.sized(rows * width);
            matmul(pool, level, &mut [MatmulJob { weights: &pair.b, out: product }], &mut self.low_inputs);
            let mut first = 0;
            for range in &group.ranges {
                let part = &product[first * width..(first + range.len()) * width];
                norm::add(pool, level, &mut out[range.start * width..range.end * width], part);
                first += range.len();
            }
        }
    }

    /// Makes the adapter's rows of `x` the inputs.
    fn gather(&mut self, pool: &ThreadPool, level: Level, group: &AdaptedRows<'_>, x: &Activations) {
        let (rows, columns) = (group.rows(), x.cols());
        let part = |range: &Range<usize>| &x.values()[range.start * columns..range.end * columns];
        let values = match &group.ranges[..] {
            [range] => part(range),
            ranges => {
                self.gathered.clear();
                ranges.iter().for_each(|range| self.gathered.extend_from_slice(part(range)));
                &self.gathered
            }
        };
        self.inputs.set(pool, level, rows, columns, values);
    }
}
