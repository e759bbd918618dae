//! What adapters add to projections: `out[row] += B · (scale · (A · x[row]))` for the rows of each adapter.
//!
//! The rows of one adapter, wherever they are in the batch, are gathered and computed together; rows without one are
//! neither read nor written. A product has one order of operations, as every product of the kernels, is scaled between
//! its halves, and is added to the finished base product: so a row's bits depend neither on the batch nor on threads.

use std::num::NonZeroUsize;
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

/// Multiplications below which an adapter's products stay on the calling thread: for the few of a single token, waking
/// the others and waiting for them takes longer.
const MULTIPLICATIONS_MIN: usize = 1 << 18;

/// Buffers that adapters' products reuse. Empty until a pass has an adapter.
pub(crate) struct Scratch {
    /// The calling thread alone.
    alone: ThreadPool,
    gathered: Vec<f32>,
    inputs: Activations,
    /// The products with A, one projection behind the other.
    low: Buffer,
    low_inputs: Activations,
    product: Buffer,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            alone: ThreadPool::new(NonZeroUsize::MIN),
            gathered: Vec::new(),
            inputs: Activations::new(),
            low: Buffer::default(),
            low_inputs: Activations::new(),
            product: Buffer::default(),
        }
    }
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
        let Self { alone, gathered, inputs, low, low_inputs, product } = self;
        let rows = group.rows();
        let multiplications =
            pairs.iter().map(|(pair, _)| rows * pair.a.rows() * (pair.a.cols() + pair.b.rows()));
        let pool = if multiplications.sum::<usize>() < MULTIPLICATIONS_MIN { alone } else { pool };
        inputs.set(pool, level, rows, x.cols(), gather(group, x, gathered));
        let ranks = pairs.iter().map(|(pair, _)| pair.a.rows());
        let mut low = low.sized(rows * ranks.sum::<usize>());
        let mut jobs = Vec::with_capacity(pairs.len());
        for (pair, _) in &pairs {
            let (out, rest) = low.split_at_mut(rows * pair.a.rows());
            jobs.push(MatmulJob { weights: &pair.a, out });
            low = rest;
        }
        matmul(pool, level, &mut jobs, inputs);
        for ((pair, out), MatmulJob { out: low, .. }) in pairs.into_iter().zip(jobs) {
            low.iter_mut().for_each(|value| *value *= pair.scale);
            low_inputs.set(pool, level, rows, pair.b.cols(), low);
            let width = pair.b.rows();
            let product = product.sized(rows * width);
            matmul(pool, level, &mut [MatmulJob { weights: &pair.b, out: product }], low_inputs);
            let mut first = 0;
            for range in &group.ranges {
                let part = &product[first * width..(first + range.len()) * width];
                norm::add(pool, level, &mut out[range.start * width..range.end * width], part);
                first += range.len();
            }
        }
    }
}

/// The adapter's rows of `x`, one behind the other; in `gathered` where they are apart.
fn gather<'x>(group: &AdaptedRows<'_>, x: &'x Activations, gathered: &'x mut Vec<f32>) -> &'x [f32] {
    let columns = x.cols();
    let part = |range: &Range<usize>| &x.values()[range.start * columns..range.end * columns];
    match &group.ranges[..] {
        [range] => part(range),
        ranges => {
            gathered.clear();
            ranges.iter().for_each(|range| gathered.extend_from_slice(part(range)));
            gathered
        }
    }
}
