//! The inner loops for quantized weights: one tile of rows by tokens, all columns.
//!
//! ```text
//! for each block of columns
//!   for each group of it
//!     sum = -offset * sum of the group's activations               (where values are centred)
//!     for each step: sum += 4 weights x 4 activations              (integers, a lane a row, a register a token)
//!     total += group scale * sum                                   (blocks of 256; for blocks of 32 total = sum)
//!   out += float(total) * (d * activation scale)                   (and minimums, see `reference.rs`)
//! ```
//! Limits: a few tokens read each weight once and are bound by memory; many are bound by the dot products, of which
//! AVX2 does 32 in four instructions for 8 bits and in two for fewer, AVX-512 64 in one.
#![allow(clippy::needless_range_loop, reason = "arrays of registers are indexed alike, by token and panel")]
#![allow(unsafe_code, reason = "reads panels and activations through pointers")]

use std::mem::MaybeUninit;

use super::isa::{Isa, TileKernel};
use super::layout::PANEL_ROWS;
use super::source::{At, Quantized, Source};

/// The quantized activations of one tile of tokens, interleaved: of everything, one number for each token side by side.
#[derive(Clone, Copy)]
pub(super) struct QuantizedTile {
    /// 4 signed bytes of a step.
    pub(super) steps: *const i32,
    /// Of each group, minus the sums over its steps of bytes 0 and 1 (low half) and 2 and 3.
    pub(super) negated: *const i32,
    /// Blocks of 32, as floats: scale times sum. Blocks of 256: the sums of two neighbouring groups of 32.
    pub(super) sums: *const i32,
    /// Of each block.
    pub(super) scales: *const f32,
    pub(super) blocks: usize,
}

/// Where a tile's results go: token t's row r to `first + t * stride + r`, for tokens and rows below those numbers.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
    pub(super) tokens: usize,
    pub(super) rows: usize,
}

impl Output {
    /// Whether all rows of some panels and tokens are there.
    #[inline(always)]
    fn holds(&self, tokens: usize, panels: usize) -> bool {
        self.tokens >= tokens && self.rows >= panels * PANEL_ROWS
    }

    /// What the output holds; zero where it holds nothing.
    ///
    /// # Safety
    /// The elements of tokens below `tokens` and rows below `rows` must be readable.
    #[inline(always)]
    pub(super) unsafe fn load<I: Isa, const TOKENS: usize, const PANELS: usize>(
        self,
        isa: I,
    ) -> Each<I::Float, TOKENS, PANELS> {
        let mut some = [[[0.0; PANEL_ROWS]; PANELS]; TOKENS];
        let (mut from, mut stride) = (self.first.cast_const(), self.stride);
        if !self.holds(TOKENS, PANELS) {
            let all = some.as_mut_ptr().cast();
            // SAFETY: readable by the caller's promise; `some` has room for all.
            unsafe { copy_some(self, self.first, self.stride, all, PANELS * PANEL_ROWS) };
            (from, stride) = (all, PANELS * PANEL_ROWS);
        }
        let mut values = [[isa.zero_float(); PANELS]; TOKENS];
        for token in 0..TOKENS {
            for panel in 0..PANELS {
                // SAFETY: all tokens and rows are readable, in the output or in `some`.
                values[token][panel] =
                    unsafe { isa.load_floats(from.add(token * stride + panel * PANEL_ROWS)) };
            }
        }
        values
    }

    /// Writes what the output holds of the values.
    ///
    /// # Safety
    /// The elements of tokens below `tokens` and rows below `rows` must be writable, by this thread alone.
    #[inline(always)]
    pub(super) unsafe fn store<I: Isa, const TOKENS: usize, const PANELS: usize>(
        self,
        isa: I,
        values: &Each<I::Float, TOKENS, PANELS>,
    ) {
        let mut some = MaybeUninit::<[[[f32; PANEL_ROWS]; PANELS]; TOKENS]>::uninit();
        let all: *mut f32 = some.as_mut_ptr().cast();
        let whole = self.holds(TOKENS, PANELS);
        let (to, stride) = if whole { (self.first, self.stride) } else { (all, PANELS * PANEL_ROWS) };
        for token in 0..TOKENS {
            for panel in 0..PANELS {
                // SAFETY: all tokens and rows are writable, in the output or in `some`.
                unsafe { isa.store_floats(to.add(token * stride + panel * PANEL_ROWS), values[token][panel]) }
            }
        }
        if !whole {
            // SAFETY: writable by the caller's promise.
            unsafe { copy_some(self, all, PANELS * PANEL_ROWS, self.first, self.stride) }
        }
    }
}

/// Copies the tokens and rows that an output holds.
///
/// # Safety
/// They must be readable, and writable, with those strides between tokens.
#[cold]
#[inline(never)]
unsafe fn copy_some(output: Output, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // Tiles are at most this long; the rows beyond belong to the next ones.
    let rows = output.rows.min(from_stride).min(to_stride);
    for token in 0..output.tokens {
        // SAFETY: the caller's promise.
        unsafe { to.add(token * to_stride).copy_from_nonoverlapping(from.add(token * from_stride), rows) }
    }
}

/// One tile: `PANELS` panels of weights by as many tokens as it is entered with.
pub(super) struct Tile<S, const PANELS: usize> {
    pub(super) weights: S,
    pub(super) x: QuantizedTile,
    pub(super) out: Output,
}

/// Of each token and panel.
pub(super) type Each<T, const TOKENS: usize, const PANELS: usize> = [[T; PANELS]; TOKENS];

/// What a source's format says.
type F<I, S> = <S as Source<I>>::Format;

/// A kernel on any source; `Tile` implements [`TileKernel`] for the two sources.
macro_rules! tile_kernel {
    ($source:ty, $panels:expr, [$($parameters:tt)*]) => {
        impl<$($parameters)*> TileKernel for Tile<$source, { $panels }> {
            #[inline(always)]
            fn run<I: Isa, const TOKENS: usize>(self, isa: I) {
                // SAFETY: whoever made this kernel gave it panels and activations of `blocks` blocks, interleaved for
                // the tokens that it is entered with, and an output that holds all its rows and tokens.
                unsafe { tile::<I, $source, { $panels }, TOKENS>(isa, &self) }
            }
        }
    };
}
tile_kernel!(super::source::Packed<G>, 1, [G: Quantized]);
tile_kernel!(super::source::Unpacked<G, PANELS>, PANELS, [G: Quantized, const PANELS: usize]);

/// # Safety
/// As said above, in `run`.
#[inline(always)]
unsafe fn tile<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
) {
    let mut out = [[isa.zero_float(); PANELS]; TOKENS];
    for block in 0..tile.x.blocks {
        let mut totals = [[isa.zero(); PANELS]; TOKENS];
        // SAFETY: a block below the number of blocks.
        unsafe {
            add_products::<I, S, PANELS, TOKENS>(isa, tile, block, &mut totals);
            add_block::<I, S, PANELS, TOKENS>(isa, tile, block, &totals, &mut out);
        }
    }
    // SAFETY: the output holds the tokens and rows it says.
    unsafe { tile.out.store(isa, &out) }
}

/// Adds the integer products of a block: centred and, for formats with group scales, scaled.
///
/// # Safety
/// The block must exist.
#[inline(always)]
unsafe fn add_products<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    totals: &mut Each<I::Int, TOKENS, PANELS>,
) {
    // Unsigned values of 5 bits fill the short sums after half of a group of 32.
    let halfway = I::SHORT_SUMS && F::<I, S>::LAYOUT.bits == 5 && F::<I, S>::LAYOUT.offset == 0;
    for group in 0..F::<I, S>::GROUPS {
        tile.weights.prefetch(isa, block, group);
        let mut sums = [[isa.zero(); PANELS]; TOKENS];
        let mut planes = [isa.zero(); PANELS];
        // SAFETY: a group of this block.
        unsafe {
            centre::<I, S, PANELS, TOKENS>(isa, tile, block, group, &mut sums);
            for panel in 0..PANELS {
                planes[panel] = tile.weights.plane(isa, panel, block, group);
            }
        }
        for pair in 0..F::<I, S>::PAIRS {
            if halfway && pair == F::<I, S>::PAIRS / 2 {
                // SAFETY: a group of this block.
                unsafe { collect::<I, S, PANELS, TOKENS>(isa, tile, block, group, &sums, totals) };
                sums = [[isa.zero(); PANELS]; TOKENS];
            }
            let step = ((block * F::<I, S>::GROUPS + group) * F::<I, S>::PAIRS + pair) * 2;
            let mut weights = [[isa.zero(); 2]; PANELS];
            // SAFETY: a pair of steps of this group.
            unsafe {
                for panel in 0..PANELS {
                    let at = At { panel, block, group };
                    weights[panel] = tile.weights.pair(isa, at, pair, &mut planes[panel]);
                }
                two_steps::<I, S, PANELS, TOKENS>(isa, tile.x.steps.add(step * TOKENS), &weights, &mut sums);
            }
        }
        // SAFETY: a group of this block.
        unsafe { collect::<I, S, PANELS, TOKENS>(isa, tile, block, group, &sums, totals) };
    }
}

/// Starts the sums of a group from minus what its values are centred on.
///
/// # Safety
/// The group must exist.
#[inline(always)]
unsafe fn centre<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    group: usize,
    sums: &mut Each<I::Int, TOKENS, PANELS>,
) {
    if F::<I, S>::LAYOUT.offset == 0 {
        return;
    }
    for token in 0..TOKENS {
        let at = (block * F::<I, S>::GROUPS + group) * TOKENS + token;
        // SAFETY: activations have a sum for every group and token.
        let negated = unsafe { isa.splat(tile.x.negated.add(at)) };
        let start = if F::<I, S>::WIDE {
            isa.centre_wide(negated)
        } else {
            isa.centre(negated, F::<I, S>::LAYOUT.offset)
        };
        for panel in 0..PANELS {
            sums[token][panel] = start;
        }
    }
}

/// # Safety
/// `x` must hold two steps of each token.
#[inline(always)]
unsafe fn two_steps<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    x: *const i32,
    weights: &[[I::Int; 2]; PANELS],
    sums: &mut Each<I::Int, TOKENS, PANELS>,
) {
    for step in 0..2 {
        for token in 0..TOKENS {
            // SAFETY: the caller's promise.
            let x = unsafe { isa.splat(x.add(step * TOKENS + token)) };
            for panel in 0..PANELS {
                let (sum, weights) = (sums[token][panel], weights[panel][step]);
                let sum =
                    if F::<I, S>::WIDE { isa.dot_wide(sum, weights, x) } else { isa.dot(sum, weights, x) };
                sums[token][panel] = isa.pin(sum);
            }
        }
    }
}

/// Moves the sums of a group, or of half a group, to the block's totals.
///
/// # Safety
/// The group must exist.
#[inline(always)]
unsafe fn collect<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    group: usize,
    sums: &Each<I::Int, TOKENS, PANELS>,
    totals: &mut Each<I::Int, TOKENS, PANELS>,
) {
    for panel in 0..PANELS {
        if F::<I, S>::SCALED_GROUPS {
            // SAFETY: a group of this block.
            let scales = unsafe { tile.weights.scales(isa, panel, block, group) };
            for token in 0..TOKENS {
                totals[token][panel] = isa.add_scaled(totals[token][panel], sums[token][panel], scales);
            }
        } else {
            for token in 0..TOKENS {
                let sum = sums[token][panel];
                let sum = if F::<I, S>::WIDE { sum } else { isa.total(sum) };
                totals[token][panel] = isa.add(totals[token][panel], sum);
            }
        }
    }
}

/// Adds a block's products to the outputs.
///
/// # Safety
/// The block must exist.
#[inline(always)]
unsafe fn add_block<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    totals: &Each<I::Int, TOKENS, PANELS>,
    out: &mut Each<I::Float, TOKENS, PANELS>,
) {
    let x_scales = tile.x.scales.wrapping_add(block * TOKENS);
    for panel in 0..PANELS {
        // SAFETY: the block exists, and activations have a scale for it and every token.
        unsafe {
            let d = tile.weights.d(isa, panel, block);
            if F::<I, S>::SCALED_GROUPS && F::<I, S>::LAYOUT.minimums {
                let mut minimums = [isa.zero(); TOKENS];
                add_minimums::<I, S, PANELS, TOKENS>(isa, tile, block, panel, &mut minimums);
                let dmin = tile.weights.dmin(isa, panel, block);
                for token in 0..TOKENS {
                    let product = isa.multiply(d, isa.to_float(totals[token][panel]));
                    let part = isa.multiply_subtract(dmin, isa.to_float(minimums[token]), product);
                    out[token][panel] =
                        isa.multiply_add(part, isa.splat_float(x_scales.add(token)), out[token][panel]);
                }
                continue;
            }
            for token in 0..TOKENS {
                let scale = isa.multiply(d, isa.splat_float(x_scales.add(token)));
                let product = isa.to_float(totals[token][panel]);
                out[token][panel] = isa.multiply_add(product, scale, out[token][panel]);
            }
            if F::<I, S>::LAYOUT.minimums {
                let dmin = tile.weights.dmin(isa, panel, block);
                let x_sums: *const f32 = tile.x.sums.add(block * TOKENS).cast();
                for token in 0..TOKENS {
                    let x_sum = isa.splat_float(x_sums.add(token));
                    out[token][panel] = isa.multiply_add(dmin, x_sum, out[token][panel]);
                }
            }
        }
    }
}

/// Adds the products of the group minimums of a block of 256 and the sums of the activations.
///
/// # Safety
/// The block must exist.
#[inline(always)]
unsafe fn add_minimums<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    panel: usize,
    minimums: &mut [I::Int; TOKENS],
) {
    let pairs = F::<I, S>::GROUPS / 2;
    for pair in 0..pairs {
        // SAFETY: a pair of groups of this block; activations have a sum for it and every token.
        unsafe {
            let weights = tile.weights.minimums(isa, panel, block, pair);
            for token in 0..TOKENS {
                let sums = isa.splat(tile.x.sums.add((block * pairs + pair) * TOKENS + token));
                minimums[token] = isa.add_pairs(minimums[token], weights, sums);
            }
        }
    }
}
