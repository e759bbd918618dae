//! Splits the products of one call among the threads and runs the kernels over panels and tiles of tokens.
//!
//! A task is a run of neighbouring panels of one matrix; threads take tasks in order, so each reads memory forwards.
//! A few tokens read the packed panels as they are. Many first take panels apart into the thread's scratch, which
//! every tile of tokens then reads.
#![allow(unsafe_code, reason = "hands panels, activations and outputs to kernels as pointers")]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::MatmulJob;
use super::activations::Activations;
use super::floats::{self, Columns, Float, FloatTile, Widen};
use super::isa::Isa;
use super::layout::PANEL_ROWS;
use super::packed::PackedMatrix;
use super::quantized::{Output, Tile};
use super::reference::CHAIN_LEN;
use super::source::{self, Packed, Quantized, Unpack, Unpacked};
use crate::formats::Format;
use crate::memory::Buffer;
use crate::pool::{Tasks, ThreadPool};

/// Tasks for each thread that a call is split into, more or less: enough to even out threads of different speed.
const TASKS_PER_THREAD: usize = 8;

/// A task reads no more than this where it reads packed panels, in bytes.
const TASK_BYTES_MAX: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Buffer<u8>> = RefCell::new(Buffer::default());
}

/// How tokens are cut into tiles, and whether panels are taken apart first. Results do not depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tokens of every tile but the last; one of the instruction set's sizes.
    pub(super) tile_tokens: usize,
    pub(super) unpack: bool,
}

impl Plan {
    /// The best for this instruction set.
    pub(super) fn best<I: Isa>(_: I, tokens: usize) -> Plan {
        match I::DIRECT.iter().find(|&&size| size >= tokens) {
            Some(&tile_tokens) => Plan { tile_tokens, unpack: false },
            None => Plan { tile_tokens: I::UNPACKED[I::UNPACKED.len() - 1], unpack: true },
        }
    }

    /// The tiles of some tokens.
    pub(super) fn tiles<I: Isa>(self, _: I, tokens: usize) -> impl Iterator<Item = TokenTile> {
        let sizes = if self.unpack { I::UNPACKED } else { I::DIRECT };
        (0..tokens).step_by(self.tile_tokens).map(move |first| {
            let tokens = self.tile_tokens.min(tokens - first);
            let size = sizes.iter().copied().find(|&size| size >= tokens).unwrap_or(self.tile_tokens);
            TokenTile { first, tokens, size }
        })
    }
}

/// Some neighbouring tokens.
#[derive(Clone, Copy)]
pub(super) struct TokenTile {
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// What the tile is padded to: one of the instruction set's sizes.
    pub(super) size: usize,
}

/// One product and its place among the tasks of the call.
struct Product<'a> {
    weights: &'a PackedMatrix,
    out: *mut f32,
    /// Panels of a task.
    panels_per_task: usize,
    tasks: usize,
}

// SAFETY: the output is written by whichever thread has the task, in columns that no other task writes.
unsafe impl Sync for Product<'_> {}

/// Computes checked products. `PANELS` is the instruction set's.
pub(super) fn run<I: Isa, const PANELS: usize>(
    isa: I,
    plan: Plan,
    pool: &ThreadPool,
    jobs: &mut [MatmulJob<'_>],
    x: &mut Activations,
) {
    if x.rows() == 0 {
        return;
    }
    for job in jobs.iter() {
        x.prepare(isa, pool, job.weights.format(), plan);
    }
    let bytes: usize = jobs.iter().map(|job| job.weights.bytes()).sum();
    let task_bytes = (bytes / (pool.threads() * TASKS_PER_THREAD)).min(TASK_BYTES_MAX);
    let products: Vec<Product> =
        jobs.iter_mut().map(|job| product::<PANELS>(job, plan, task_bytes)).collect();
    let tasks = Tasks::new(products.iter().map(|product| product.tasks).sum());
    let x = &*x;
    pool.run(&|_| {
        while let Some(mut task) = tasks.take() {
            for product in &products {
                if task < product.tasks {
                    let first = task * product.panels_per_task;
                    let panels = product.weights.rows().div_ceil(PANEL_ROWS);
                    let range = first..panels.min(first + product.panels_per_task);
                    panels_of::<I, PANELS>(isa, plan, product, range, x);
                    break;
                }
                task -= product.tasks;
            }
        }
    });
}

fn product<'a, const PANELS: usize>(
    job: &'a mut MatmulJob<'_>,
    plan: Plan,
    task_bytes: usize,
) -> Product<'a> {
    let panels = job.weights.rows().div_ceil(PANEL_ROWS);
    let panels_per_task =
        if plan.unpack { PANELS } else { (task_bytes / job.weights.panel_bytes()).clamp(1, panels) };
    let tasks = panels.div_ceil(panels_per_task);
    Product { weights: job.weights, out: job.out.as_mut_ptr(), panels_per_task, tasks }
}

/// Computes a task.
fn panels_of<I: Isa, const PANELS: usize>(
    isa: I,
    plan: Plan,
    product: &Product,
    panels: Range<usize>,
    x: &Activations,
) {
    match product.weights.format() {
        Format::F32 => float_panels::<I, floats::F32, PANELS>(isa, plan, product, panels, x),
        Format::F16 => float_panels::<I, floats::F16, PANELS>(isa, plan, product, panels, x),
        Format::Bf16 => float_panels::<I, floats::Bf16, PANELS>(isa, plan, product, panels, x),
        Format::Q8_0 => quantized_panels::<I, source::Q8_0, PANELS>(isa, plan, product, panels, x),
        Format::Q4_0 => quantized_panels::<I, source::Q4_0, PANELS>(isa, plan, product, panels, x),
        Format::Q4_1 => quantized_panels::<I, source::Q4_1, PANELS>(isa, plan, product, panels, x),
        Format::Q5_0 => quantized_panels::<I, source::Q5_0, PANELS>(isa, plan, product, panels, x),
        Format::Q5_1 => quantized_panels::<I, source::Q5_1, PANELS>(isa, plan, product, panels, x),
        Format::Mxfp4 => quantized_panels::<I, source::Mxfp4, PANELS>(isa, plan, product, panels, x),
        Format::Q4K => quantized_panels::<I, source::Q4K, PANELS>(isa, plan, product, panels, x),
        Format::Q5K => quantized_panels::<I, source::Q5K, PANELS>(isa, plan, product, panels, x),
        Format::Q6K => quantized_panels::<I, source::Q6K, PANELS>(isa, plan, product, panels, x),
    }
}

impl Product<'_> {
    /// Where the rows from `panel` on go.
    fn output(&self, panel: usize, tile: TokenTile) -> Output {
        let (stride, row) = (self.weights.rows(), panel * PANEL_ROWS);
        let first = self.out.wrapping_add(tile.first * stride + row);
        Output { first, stride, tokens: tile.tokens, rows: stride - row }
    }
}

fn quantized_panels<I: Isa, F: Quantized, const PANELS: usize>(
    isa: I,
    plan: Plan,
    product: &Product,
    panels: Range<usize>,
    x: &Activations,
) {
    let block_len = F::LAYOUT.block_len;
    let blocks = x.cols() / block_len;
    let panel_bytes = product.weights.panel_bytes();
    let direct = |panel: usize| {
        let weights = Packed::<F>::new(product.weights.panels_from(panel).as_ptr(), panel_bytes);
        for tile in plan.tiles(isa, x.rows()) {
            let (x, out) = (x.quantized(block_len, tile.first), product.output(panel, tile));
            isa.enter_direct(tile.size, Tile::<_, 1> { weights, x, out });
        }
    };
    if !plan.unpack {
        panels.for_each(direct);
        return;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut panel = panels.start;
        while panel + PANELS <= panels.end && scratch.grow(Unpacked::<F, PANELS>::bytes(blocks)).is_ok() {
            let from = Packed::<F>::new(product.weights.panels_from(panel).as_ptr(), panel_bytes);
            let weights = Unpacked::<F, PANELS>::new(scratch.as_mut_ptr());
            isa.enter(Unpack { from, to: weights, blocks });
            for tile in plan.tiles(isa, x.rows()) {
                let (x, out) = (x.quantized(block_len, tile.first), product.output(panel, tile));
                isa.enter_unpacked(tile.size, Tile { weights, x, out });
            }
            panel += PANELS;
        }
        // The odd panel at the end, and all where there is no memory for scratch.
        (panel..panels.end).for_each(direct);
    });
}

fn float_panels<I: Isa, F: Float, const PANELS: usize>(
    isa: I,
    plan: Plan,
    product: &Product,
    panels: Range<usize>,
    x: &Activations,
) {
    let panel_bytes = product.weights.panel_bytes();
    let columns = |panel: usize| Columns::<F> {
        first: product.weights.panels_from(panel).as_ptr(),
        panel_bytes,
        column_bytes: F::BYTES,
        format: PhantomData,
    };
    let direct = |panel: usize| {
        for tile in plan.tiles(isa, x.rows()) {
            let (weights, out) = (columns(panel), product.output(panel, tile));
            let (cols, x) = (x.cols(), x.floats(tile.first));
            isa.enter_direct(tile.size, FloatTile::<F, 1> { weights, cols, x, out, add: false });
        }
    };
    if !plan.unpack {
        panels.for_each(direct);
        return;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let column_bytes = PANELS * floats::F32::BYTES;
        let mut panel = panels.start;
        while panel + PANELS <= panels.end && scratch.grow(CHAIN_LEN * column_bytes).is_ok() {
            for column in (0..x.cols()).step_by(CHAIN_LEN) {
                let length = CHAIN_LEN.min(x.cols() - column);
                let to = scratch.as_mut_ptr().cast();
                isa.enter(Widen::<F, PANELS> { from: columns(panel), to, first: column, length });
                for tile in plan.tiles(isa, x.rows()) {
                    let weights = Columns::<floats::F32> {
                        first: scratch.as_ptr(),
                        panel_bytes: floats::F32::BYTES,
                        column_bytes,
                        format: PhantomData,
                    };
                    let x = x.floats(tile.first).wrapping_add(column * tile.size);
                    let (out, add) = (product.output(panel, tile), column > 0);
                    isa.enter_unpacked(
                        tile.size,
                        FloatTile::<_, PANELS> { weights, cols: length, x, out, add },
                    );
                }
            }
            panel += PANELS;
        }
        (panel..panels.end).for_each(direct);
    });
}
