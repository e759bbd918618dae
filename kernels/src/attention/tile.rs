//! Walks a task: block by block over the tokens of its parts, in steps of a few rows, then merges the parts in
//! order and writes the rows' outputs. The last thread to finish a part of a split tile merges all of them.
#![allow(unsafe_code, reason = "tasks write their own rows of one output and their own partial results")]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::element::Element;
use super::plan::{Plan, Task, Tile, partial_len};
use super::step::{Ahead, BLOCK_PAGES, Block, Rows, STEP_ROWS_MAX, Step};
use super::{Attention, BLOCK_TOKENS, PAGE_TOKENS, PART_TOKENS};
use crate::cpu::simd::{Enter, LANES, Operation, Simd, exp2, store_partial};
use crate::disjoint::DisjointMut;
use crate::memory::{Buffer, OutOfMemory};

/// What all tasks of a call share.
pub(super) struct Shared<'a> {
    pub(super) job: &'a Attention<'a>,
    pub(super) plan: &'a Plan,
    /// For each tile, the tasks that have not finished; empty when no tile is split.
    pub(super) pending: &'a [AtomicUsize],
    pub(super) partials: DisjointMut<'a, f32>,
    pub(super) out: DisjointMut<'a, f32>,
}

/// One thread's memory.
#[derive(Default)]
pub(super) struct Scratch {
    /// Sixteen partial sums of each row.
    sums: Buffer<f32>,
    /// The merged parts so far, and the part to be merged next, both as [`Partial`].
    results: [Buffer<f32>; 2],
}

impl Scratch {
    /// Grows to what a plan needs.
    pub(super) fn prepare(&mut self, job: &Attention, plan: &Plan) -> Result<(), OutOfMemory> {
        let (layout, rows) = (job.pages.layout(), plan.rows_max);
        self.sums.grow(rows * LANES)?;
        for result in &mut self.results {
            result.grow(partial_len(layout, rows))?;
        }
        Ok(())
    }
}

/// The result of one part for a tile's rows, or of the parts merged so far.
struct Partial<'a> {
    /// `[rows][value_width]`, not yet divided by the sums.
    outputs: &'a mut [[f32; LANES]],
    greatest: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<'a> Partial<'a> {
    fn new(memory: &'a mut [f32], rows: usize, vectors: usize) -> Partial<'a> {
        let (outputs, rest) = memory.split_at_mut(rows * vectors * LANES);
        let (greatest, rest) = rest.split_at_mut(rows);
        Partial { outputs: outputs.as_chunks_mut().0, greatest, sums: &mut rest[..rows] }
    }
}

/// Does one task.
pub(super) fn run<N: Element, E: Enter>(enter: E, shared: &Shared, task: &Task, scratch: &mut Scratch) {
    let tile = &shared.plan.tiles[task.tile];
    let layout = shared.job.pages.layout();
    let (rows, vectors) = (tile.positions * shared.plan.group, layout.value_width() / LANES);
    if tile.tasks == 1 {
        let [merged, next] = &mut scratch.results;
        let mut merged = Partial::new(merged, rows, vectors);
        walk::<N, E>(enter, shared, tile, task.parts.start, task.parts.end, &mut scratch.sums, &mut merged);
        for part in task.parts.start + 1..task.parts.end {
            let mut next = Partial::new(next, rows, vectors);
            walk::<N, E>(enter, shared, tile, part, task.parts.end, &mut scratch.sums, &mut next);
            enter.enter(Merge { into: &mut merged, part: &next, first: first_row(shared, tile, part) });
        }
        enter.enter(Write { shared, tile, from: &merged });
        return;
    }
    let part = task.parts.start;
    // SAFETY: this task alone writes to its part's place, and nobody reads it before `pending` is counted down.
    let memory = unsafe { partial_memory(shared, tile, part, rows) };
    walk::<N, E>(
        enter,
        shared,
        tile,
        part,
        task.parts.end,
        &mut scratch.sums,
        &mut Partial::new(memory, rows, vectors),
    );
    if shared.pending[task.tile].fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: all tasks of the tile have finished with their places; this is the last of them.
        let partial = |part| Partial::new(unsafe { partial_memory(shared, tile, part, rows) }, rows, vectors);
        let mut merged = partial(0);
        for part in 1..tile.parts() {
            enter.enter(Merge {
                into: &mut merged,
                part: &partial(part),
                first: first_row(shared, tile, part),
            });
        }
        enter.enter(Write { shared, tile, from: &merged });
    }
}

/// Where a split tile's part leaves its result.
///
/// # Safety
/// As for [`DisjointMut::part`].
#[allow(clippy::mut_from_ref, reason = "the memory is shared; the caller promises that this part is its own")]
unsafe fn partial_memory<'a>(shared: &'a Shared, tile: &Tile, part: usize, rows: usize) -> &'a mut [f32] {
    let length = partial_len(shared.job.pages.layout(), rows);
    let start = tile.partials + part * length;
    // SAFETY: the caller's promise.
    unsafe { shared.partials.part(start..start + length) }
}

/// The first of a tile's rows that sees a token of the part.
fn first_row(shared: &Shared, tile: &Tile, part: usize) -> usize {
    (part * PART_TOKENS).saturating_sub(tile.first_position) * shared.plan.group
}

/// The rows of the tile's steps, as even as they can be.
fn steps(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let steps = rows.div_ceil(STEP_ROWS_MAX);
    (0..steps).map(move |step| step * rows / steps..(step + 1) * rows / steps)
}

/// The range in queries and output of the heads that share the tile's key-value head, at one of its positions.
fn group_range(shared: &Shared, tile: &Tile, position: usize) -> std::ops::Range<usize> {
    let (group, head_dim) = (shared.plan.group, shared.job.pages.layout().head_dim);
    let start = ((tile.first_row + position) * shared.job.heads + tile.kv_head * group) * head_dim;
    start..start + group * head_dim
}

/// The query of one of the tile's rows.
fn query<'a>(shared: &Shared<'a>, tile: &Tile, row: usize) -> &'a [f32] {
    let (group, head_dim) = (shared.plan.group, shared.job.pages.layout().head_dim);
    let queries = &shared.job.queries[group_range(shared, tile, row / group)];
    &queries[row % group * head_dim..][..head_dim]
}

/// Takes the tile's rows through one part; pages are asked for ahead up to the end of part `parts_end - 1`.
fn walk<N: Element, E: Enter>(
    enter: E,
    shared: &Shared,
    tile: &Tile,
    part: usize,
    parts_end: usize,
    sums: &mut [f32],
    into: &mut Partial,
) {
    let rows = into.greatest.len();
    let (sums, _) = sums[..rows * LANES].as_chunks_mut();
    into.greatest.fill(f32::NEG_INFINITY);
    into.outputs.as_flattened_mut().fill(0.0);
    sums.as_flattened_mut().fill(0.0);
    let mut progress = Rows { greatest: into.greatest, sums, outputs: into.outputs };

    let tokens_end = tile.tokens().min((part + 1) * PART_TOKENS);
    let ahead_end = tile.tokens().min(parts_end * PART_TOKENS);
    for start in (part * PART_TOKENS..tokens_end).step_by(BLOCK_TOKENS) {
        let next = start + BLOCK_TOKENS;
        let ahead = (next < ahead_end).then(|| block::<N>(shared, tile, next).addresses());
        block_steps::<N, E>(enter, shared, tile, start, ahead, &mut progress);
    }
    enter.enter(CloseSums { from: sums, to: into.sums });
}

/// The tile's block that starts at a token.
fn block<'a, N: Element>(shared: &Shared<'a>, tile: &Tile, start: usize) -> Block<'a, N> {
    let pages = &shared.job.sequences[tile.sequence].pages[start / PAGE_TOKENS..];
    let (keys, values) = ([&[][..]; BLOCK_PAGES], [&[][..]; BLOCK_PAGES]);
    let (key_scales, value_scales) = ([&[][..]; BLOCK_PAGES], [&[][..]; BLOCK_PAGES]);
    let mut block = Block { keys, values, key_scales, value_scales };
    for (index, &page) in
        pages[..(tile.tokens() - start).div_ceil(PAGE_TOKENS).min(BLOCK_PAGES)].iter().enumerate()
    {
        let head = shared.job.pages.head(page, tile.kv_head);
        (block.keys[index], block.values[index]) = (head.keys, head.values);
        (block.key_scales[index], block.value_scales[index]) = (head.key_scales, head.value_scales);
    }
    block
}

impl<N> Block<'_, N> {
    fn addresses(&self) -> Ahead<N> {
        Ahead {
            keys: self.keys.map(<[_]>::as_ptr),
            values: self.values.map(<[_]>::as_ptr),
            key_scales: self.key_scales.map(<[_]>::as_ptr),
            value_scales: self.value_scales.map(<[_]>::as_ptr),
        }
    }
}

/// Takes every row that sees some of a block through it.
fn block_steps<N: Element, E: Enter>(
    enter: E,
    shared: &Shared,
    tile: &Tile,
    start: usize,
    mut ahead: Option<Ahead<N>>,
    progress: &mut Rows,
) {
    let scale = shared.job.scale * std::f32::consts::LOG2_E;
    let vectors = progress.outputs.len() / progress.greatest.len();
    let block = &block::<N>(shared, tile, start);
    for step in steps(progress.greatest.len()) {
        let (mut valid, mut queries) = ([0; STEP_ROWS_MAX], [&[][..]; STEP_ROWS_MAX]);
        for (index, row) in step.clone().enumerate() {
            let seen = tile.first_position + row / shared.plan.group + 1;
            valid[index] = seen.saturating_sub(start).min(BLOCK_TOKENS);
            queries[index] = query(shared, tile, row);
        }
        if valid[step.len() - 1] == 0 {
            continue;
        }
        enter.enter(Step {
            queries: &queries[..step.len()],
            scale,
            block,
            ahead: ahead.take(),
            valid: &valid[..step.len()],
            rows: Rows {
                greatest: &mut progress.greatest[step.clone()],
                sums: &mut progress.sums[step.clone()],
                outputs: &mut progress.outputs[step.start * vectors..step.end * vectors],
            },
        });
    }
}

/// Adds up each row's sixteen partial sums.
struct CloseSums<'a> {
    from: &'a [[f32; LANES]],
    to: &'a mut [f32],
}

impl Operation for CloseSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (from, to) in self.from.iter().zip(self.to) {
            *to = simd.sum(simd.load(from));
        }
    }
}

/// Merges the next part into those before it, for the rows from `first` on.
struct Merge<'a, 'b, 'c> {
    into: &'a mut Partial<'b>,
    part: &'a Partial<'c>,
    first: usize,
}

impl Operation for Merge<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (into, part) = (self.into, self.part);
        let vectors = into.outputs.len() / into.greatest.len();
        for row in self.first..into.greatest.len() {
            let (old, new) = (into.greatest[row], part.greatest[row]);
            let greatest = if new > old { new } else { old };
            let old_scale = exp2(simd, simd.subtract(simd.splat(old), simd.splat(greatest)));
            let new_scale = exp2(simd, simd.subtract(simd.splat(new), simd.splat(greatest)));
            into.greatest[row] = greatest;
            let sum = simd.multiply(simd.splat(into.sums[row]), old_scale);
            store_partial(
                simd,
                simd.mul_add(simd.splat(part.sums[row]), new_scale, sum),
                &mut into.sums[row..row + 1],
            );
            let range = row * vectors..(row + 1) * vectors;
            for (into, part) in into.outputs[range.clone()].iter_mut().zip(&part.outputs[range]) {
                let old = simd.multiply(simd.load(into), old_scale);
                simd.store(simd.mul_add(simd.load(part), new_scale, old), into);
            }
        }
    }
}

/// Divides by the sums and writes the tile's rows to the output.
struct Write<'a, 'b> {
    shared: &'a Shared<'b>,
    tile: &'a Tile,
    from: &'a Partial<'a>,
}

impl Operation for Write<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (group, head_dim) = (self.shared.plan.group, self.shared.job.pages.layout().head_dim);
        let vectors = self.from.outputs.len() / self.from.greatest.len();
        for position in 0..self.tile.positions {
            // SAFETY: of all tasks, only the one that finishes this tile writes these heads of these rows.
            let out = unsafe { self.shared.out.part(group_range(self.shared, self.tile, position)) };
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let row = position * group + head;
                let sum = simd.splat(self.from.sums[row]);
                let outputs = &self.from.outputs[row * vectors..(row + 1) * vectors];
                for (output, out) in outputs.iter().zip(out.chunks_mut(LANES)) {
                    store_partial(simd, simd.divide(simd.load(output), sum), out);
                }
            }
        }
    }
}
