//! [`Activations`]: the inputs of one or more products, kept with what the kernels derive from them. The derived
//! forms are interleaved by tiles of tokens, since a tile's inner loop takes one number of each token at a time.
#![allow(unsafe_code, reason = "tiles of tokens are derived on several threads, each writing its own part")]

use super::isa::{self, Isa};
use super::quantize::{Copy, Interleave, Quantize, QuantizedMut};
use super::quantized::QuantizedTile;
use crate::cpu::Level;
use crate::disjoint::DisjointMut;
use crate::formats::Format;
use crate::pool::ThreadPool;

/// From this many elements on, work on activations is worth a crossing of the pool's barrier.
const PARALLEL_ELEMENTS: usize = 1 << 15;

/// A reusable buffer of `rows` x `cols` inputs. Their quantized forms are made when a product first needs them, once
/// for every [`Activations::set`].
#[derive(Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    floats: Floats,
    blocks_32: Quantized,
    blocks_256: Quantized,
}

/// The inputs, interleaved.
#[derive(Default)]
struct Floats {
    /// Tokens of a tile; zero when the form is not made.
    tile: usize,
    values: Vec<f32>,
}

/// The inputs rounded to 8 bits, interleaved: see [`QuantizedTile`].
#[derive(Default)]
struct Quantized {
    /// Tokens of a tile; zero when the form is not made.
    tile: usize,
    steps: Vec<i32>,
    negated: Vec<i32>,
    sums: Vec<i32>,
    scales: Vec<f32>,
}

impl Activations {
    /// An empty one: no rows.
    #[must_use]
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Replaces the contents by a copy of `values`, row-major.
    ///
    /// # Panics
    /// When `values` is not of `rows` x `cols` elements.
    pub fn set(&mut self, pool: &ThreadPool, level: Level, rows: usize, cols: usize, values: &[f32]) {
        assert_eq!(Some(values.len()), rows.checked_mul(cols), "activations must be rows x columns");
        (self.rows, self.cols) = (rows, cols);
        (self.floats.tile, self.blocks_32.tile, self.blocks_256.tile) = (0, 0, 0);
        self.values.resize(values.len(), 0.0);
        let parts = if values.len() < PARALLEL_ELEMENTS { 1 } else { pool.threads() };
        let part = values.len().div_ceil(parts).max(1);
        let copy = DisjointMut::new(&mut self.values);
        for_each(pool, parts, &|number| {
            let range = (number * part).min(values.len())..((number + 1) * part).min(values.len());
            // SAFETY: parts of different numbers do not overlap.
            let to = unsafe { copy.part(range.clone()) };
            isa::enter(level, Copy { from: &values[range], to });
        });
    }

    /// Tokens.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a token.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Makes the form that products with weights of `format` take, in tiles of `tile` tokens, unless it is there.
    pub(super) fn prepare<I: Isa>(&mut self, isa: I, pool: &ThreadPool, format: Format, tile: usize) {
        match format.block_len() {
            1 => self.floats.prepare(isa, pool, &self.values, self.cols, tile),
            32 => self.blocks_32.prepare::<I, 32, 32>(isa, pool, &self.values, self.cols, tile),
            _ => self.blocks_256.prepare::<I, 256, 16>(isa, pool, &self.values, self.cols, tile),
        }
    }

    /// The prepared floats of the tile that starts with token `first`.
    pub(super) fn floats(&self, first: usize) -> *const f32 {
        debug_assert!(self.floats.tile > 0 && first.is_multiple_of(self.floats.tile) && first < self.rows);
        // A token alone is interleaved with nothing.
        let values = if self.floats.tile == 1 { &self.values } else { &self.floats.values };
        values[first * self.cols..].as_ptr()
    }

    /// The prepared blocks of `block_len` of the tile that starts with token `first`.
    pub(super) fn quantized(&self, block_len: usize, first: usize) -> QuantizedTile {
        let form = if block_len == 32 { &self.blocks_32 } else { &self.blocks_256 };
        debug_assert!(form.tile > 0 && first.is_multiple_of(form.tile) && first < self.rows);
        QuantizedTile {
            steps: form.steps[first * (form.steps.len() / self.rows)..].as_ptr(),
            negated: form.negated[first * (form.negated.len() / self.rows)..].as_ptr(),
            sums: form.sums[first * (form.sums.len() / self.rows)..].as_ptr(),
            scales: form.scales[first * (form.scales.len() / self.rows)..].as_ptr(),
            blocks: self.cols / block_len,
        }
    }
}

impl Floats {
    fn prepare<I: Isa>(&mut self, isa: I, pool: &ThreadPool, values: &[f32], cols: usize, tile: usize) {
        if self.tile == tile {
            return;
        }
        self.tile = tile;
        if tile == 1 {
            return;
        }
        self.values.resize(values.len(), 0.0);
        let interleaved = DisjointMut::new(&mut self.values);
        for_each_tile(pool, values, cols, tile, &|first, values| {
            let start = first * cols;
            // SAFETY: tiles do not overlap.
            let interleaved = unsafe { interleaved.part(start..start + values.len()) };
            isa.enter(Interleave { values, cols, interleaved });
        });
    }
}

impl Quantized {
    fn prepare<I: Isa, const BLOCK: usize, const GROUP: usize>(
        &mut self,
        isa: I,
        pool: &ThreadPool,
        values: &[f32],
        cols: usize,
        tile: usize,
    ) {
        if self.tile == tile {
            return;
        }
        self.tile = tile;
        let rows = values.len() / cols;
        let per_row = [cols / 4, cols / GROUP, cols / if BLOCK == 32 { 32 } else { 64 }, cols / BLOCK];
        self.steps.resize(rows * per_row[0], 0);
        self.negated.resize(rows * per_row[1], 0);
        self.sums.resize(rows * per_row[2], 0);
        self.scales.resize(rows * per_row[3], 0.0);
        let (steps, negated) = (DisjointMut::new(&mut self.steps), DisjointMut::new(&mut self.negated));
        let (sums, scales) = (DisjointMut::new(&mut self.sums), DisjointMut::new(&mut self.scales));
        for_each_tile(pool, values, cols, tile, &|first, values| {
            let last = first + values.len() / cols;
            let range = |form: usize| first * per_row[form]..last * per_row[form];
            // SAFETY: tiles do not overlap.
            let to = unsafe {
                QuantizedMut {
                    steps: steps.part(range(0)),
                    negated: negated.part(range(1)),
                    sums: sums.part(range(2)),
                    scales: scales.part(range(3)),
                }
            };
            isa.enter(Quantize::<BLOCK, GROUP> { values, cols, to });
        });
    }
}

/// Calls `body` with each tile's first token and inputs, in parallel where it pays.
fn for_each_tile(
    pool: &ThreadPool,
    values: &[f32],
    cols: usize,
    tile: usize,
    body: &(dyn Fn(usize, &[f32]) + Sync),
) {
    let tiles = values.len().div_ceil(tile * cols);
    let one = |number: usize| {
        let start = number * tile * cols;
        body(number * tile, &values[start..values.len().min(start + tile * cols)]);
    };
    if values.len() < PARALLEL_ELEMENTS {
        (0..tiles).for_each(one);
    } else {
        for_each(pool, tiles, &one);
    }
}

fn for_each(pool: &ThreadPool, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
    if tasks == 1 {
        body(0);
    } else {
        pool.for_each(tasks, &|_, task| body(task));
    }
}
