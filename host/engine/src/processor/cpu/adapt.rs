//! Projections, and what adapters add to them: `out[row] += B · (scale · (A · x[row]))` for the rows of each adapter.
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

use super::Cpu;
use super::pass::Buffer;
use crate::adapter::LowRank;
use crate::processor::{AdaptedRows, Linear};

/// What projections compute with, beside their inputs.
#[derive(Clone, Copy)]
pub(super) struct Adapting<'a> {
    pub(super) pool: &'a ThreadPool,
    pub(super) level: Level,
    pub(super) adapted: &'a [AdaptedRows<'a>],
}

/// Computes several projections of the same inputs, each into its output.
pub(super) fn project<const N: usize>(
    adapting: Adapting<'_>,
    scratch: &mut Scratch,
    x: &mut Activations,
    outputs: [(&Linear<Cpu>, &mut [f32]); N],
) {
    let Adapting { pool, level, adapted } = adapting;
    let linears = outputs.each_ref().map(|(linear, _)| *linear);
    let mut jobs = outputs.map(|(linear, out)| MatmulJob { weights: &linear.weights, out });
    matmul(pool, level, &mut jobs, x);
    for rows in adapted {
        let mut outputs = linears.iter().zip(&mut jobs).map(|(linear, job)| (*linear, &mut *job.out));
        scratch.add(pool, level, rows, x, &mut outputs);
    }
    for (linear, job) in linears.iter().zip(jobs) {
        if let Some(bias) = &linear.bias {
            norm::add_row(pool, level, job.out, bias);
        }
    }
}

/// Multiplications below which an adapter's products stay on the calling thread: for the few of a single token, waking
/// the others and waiting for them takes longer.
const MULTIPLICATIONS_MIN: usize = 1 << 18;

/// Buffers that adapters' products reuse. Empty until a pass has an adapter.
pub(super) struct Scratch {
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
    fn add<'o>(
        &mut self,
        pool: &ThreadPool,
        level: Level,
        group: &AdaptedRows<'_>,
        x: &Activations,
        outputs: &mut dyn Iterator<Item = (&'o Linear<Cpu>, &'o mut [f32])>,
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
