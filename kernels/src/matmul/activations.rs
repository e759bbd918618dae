//! [`Activations`]: the inputs of one or more products, kept with what the kernels derive from them. The derived
//! forms are interleaved by tiles of tokens, since a tile's inner loop takes one number of each token at a time.
#![allow(unsafe_code, reason = "tiles of tokens are derived on several threads, each writing its own part")]

use super::isa::{self, Isa};
use super::layout::STEP_COLS;
use super::quantize::{Copy, Interleave, Quantize, QuantizedMut};
use super::quantized::QuantizedTile;
use super::schedule::{Plan, TokenTile};
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
    /// The tiles that they are interleaved by; nothing when the form is not made.
    plan: Option<Plan>,
    values: Vec<f32>,
}

/// The inputs rounded to 8 bits, interleaved: see [`QuantizedTile`].
#[derive(Default)]
struct Quantized {
    /// The tiles that they are interleaved by; nothing when the form is not made.
    plan: Option<Plan>,
    steps: Vec<i32>,
    negated: Vec<i32>,
    sums: Vec<i32>,
    scales: Vec<f32>,
}

/// Numbers of each kind that a token has.
struct PerToken {
    steps: usize,
    negated: usize,
    sums: usize,
    scales: usize,
}

impl PerToken {
    /// For blocks of 32, or of 256.
    fn new(block_len: usize, cols: usize) -> PerToken {
        let (group, sum) = if block_len == 32 { (32, 32) } else { (16, 64) };
        PerToken {
            steps: cols / STEP_COLS,
            negated: cols / group,
            sums: cols / sum,
            scales: cols / block_len,
        }
    }
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
        (self.floats.plan, self.blocks_32.plan, self.blocks_256.plan) = (None, None, None);
        self.values.resize(values.len(), 0.0);
        if values.len() < PARALLEL_ELEMENTS {
            isa::enter(level, Copy { from: values, to: &mut self.values });
            return;
        }
        let part = values.len().div_ceil(pool.threads());
        let copy = DisjointMut::new(&mut self.values);
        pool.run(&|thread| {
            let range = (thread * part).min(values.len())..((thread + 1) * part).min(values.len());
            // SAFETY: the parts of different threads do not overlap.
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

    /// The inputs as they were set, row-major.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Makes the form that products with weights of `format` take, unless it is there.
    pub(super) fn prepare<I: Isa>(&mut self, isa: I, pool: &ThreadPool, format: Format, plan: Plan) {
        let rows = Rows { pool, plan, count: self.rows, cols: self.cols, values: &self.values };
        match format.block_len() {
            1 => self.floats.prepare(isa, &rows),
            32 => self.blocks_32.prepare::<I, 32, 32>(isa, &rows),
            _ => self.blocks_256.prepare::<I, 256, 16>(isa, &rows),
        }
    }

    /// The prepared floats of the tile that starts with token `first`.
    pub(super) fn floats(&self, first: usize) -> *const f32 {
        // A token alone is interleaved with nothing.
        let alone = self.floats.plan.is_some_and(|plan| plan.tile_tokens == 1);
        let values = if alone { &self.values } else { &self.floats.values };
        values[first * self.cols..].as_ptr()
    }

    /// The prepared blocks of `block_len` of the tile that starts with token `first`.
    pub(super) fn quantized(&self, block_len: usize, first: usize) -> QuantizedTile {
        let form = if block_len == 32 { &self.blocks_32 } else { &self.blocks_256 };
        let per_token = PerToken::new(block_len, self.cols);
        QuantizedTile {
            steps: form.steps[first * per_token.steps..].as_ptr(),
            negated: form.negated[first * per_token.negated..].as_ptr(),
            sums: form.sums[first * per_token.sums..].as_ptr(),
            scales: form.scales[first * per_token.scales..].as_ptr(),
            blocks: per_token.scales,
        }
    }
}

impl Floats {
    fn prepare<I: Isa>(&mut self, isa: I, rows: &Rows) {
        if self.plan == Some(rows.plan) {
            return;
        }
        self.plan = Some(rows.plan);
        if rows.plan.tile_tokens == 1 {
            return;
        }
        self.values.resize(rows.padded(isa) * rows.cols, 0.0);
        let interleaved = DisjointMut::new(&mut self.values);
        rows.for_each_tile(isa, &|tile, values| {
            let range = tile.first * rows.cols..(tile.first + tile.size) * rows.cols;
            // SAFETY: tiles do not overlap.
            let interleaved = unsafe { interleaved.part(range) };
            isa.enter(Interleave { values, cols: rows.cols, tokens: tile.size, interleaved });
        });
    }
}

impl Quantized {
    fn prepare<I: Isa, const BLOCK: usize, const GROUP: usize>(&mut self, isa: I, rows: &Rows) {
        if self.plan == Some(rows.plan) {
            return;
        }
        self.plan = Some(rows.plan);
        let (padded, per_token) = (rows.padded(isa), PerToken::new(BLOCK, rows.cols));
        self.steps.resize(padded * per_token.steps, 0);
        self.negated.resize(padded * per_token.negated, 0);
        self.sums.resize(padded * per_token.sums, 0);
        self.scales.resize(padded * per_token.scales, 0.0);
        let (steps, negated) = (DisjointMut::new(&mut self.steps), DisjointMut::new(&mut self.negated));
        let (sums, scales) = (DisjointMut::new(&mut self.sums), DisjointMut::new(&mut self.scales));
        rows.for_each_tile(isa, &|tile, values| {
            let range = |per_token: usize| tile.first * per_token..(tile.first + tile.size) * per_token;
            // SAFETY: tiles do not overlap.
            let to = unsafe {
                QuantizedMut {
                    steps: steps.part(range(per_token.steps)),
                    negated: negated.part(range(per_token.negated)),
                    sums: sums.part(range(per_token.sums)),
                    scales: scales.part(range(per_token.scales)),
                }
            };
            isa.enter(Quantize::<BLOCK, GROUP> { values, cols: rows.cols, tokens: tile.size, to });
        });
    }
}

/// The inputs, and how to go about them.
struct Rows<'a> {
    pool: &'a ThreadPool,
    plan: Plan,
    count: usize,
    cols: usize,
    values: &'a [f32],
}

impl Rows<'_> {
    /// Tokens when the last tile is padded.
    fn padded<I: Isa>(&self, isa: I) -> usize {
        self.plan.tiles(isa, self.count).last().map_or(0, |tile| tile.first + tile.size)
    }

    /// Calls `body` with each tile and its inputs, in parallel where it pays.
    fn for_each_tile<I: Isa>(&self, isa: I, body: &(dyn Fn(TokenTile, &[f32]) + Sync)) {
        let one = |tile: TokenTile| {
            body(tile, &self.values[tile.first * self.cols..(tile.first + tile.tokens) * self.cols]);
        };
        if self.values.len() < PARALLEL_ELEMENTS {
            self.plan.tiles(isa, self.count).for_each(one);
            return;
        }
        let tiles: Vec<TokenTile> = self.plan.tiles(isa, self.count).collect();
        self.pool.for_each(tiles.len(), &|_, task| one(tiles[task]));
    }
}
