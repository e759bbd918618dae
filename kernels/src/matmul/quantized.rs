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
#![allow(unsafe_code, reason = "reads panels and activations through pointers")]

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

/// Where a tile's results go: token t's row r to `first + t * stride + r`, for rows below `rows`.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
}

impl Output {
    /// What the rows of one panel hold; those that are not there, zero.
    ///
    /// # Safety
    /// As for [`Self::store`].
    #[inline(always)]
    pub(super) unsafe fn load<I: Isa>(self, isa: I, token: usize, panel: usize) -> I::Float {
        let first = panel * PANEL_ROWS;
        let from = self.first.wrapping_add(token * self.stride + first);
        if self.rows >= first + PANEL_ROWS {
            // SAFETY: all rows of this panel are readable.
            return unsafe { isa.load_floats(from) };
        }
        let mut all = [0.0; PANEL_ROWS];
        // SAFETY: those that are copied are readable, and `all` has sixteen elements.
        unsafe {
            all.as_mut_ptr().copy_from_nonoverlapping(from, self.rows.saturating_sub(first));
            isa.load_floats(all.as_ptr())
        }
    }

    /// Writes the rows of one panel.
    ///
    /// # Safety
    /// Those of its elements that are below `rows` must be writable, by this thread alone.
    #[inline(always)]
    pub(super) unsafe fn store<I: Isa>(self, isa: I, token: usize, panel: usize, values: I::Float) {
        let first = panel * PANEL_ROWS;
        let to = self.first.wrapping_add(token * self.stride + first);
        if self.rows >= first + PANEL_ROWS {
            // SAFETY: all rows of this panel are writable.
            unsafe { isa.store_floats(to, values) }
            return;
        }
        let mut all = [0.0; PANEL_ROWS];
        // SAFETY: `all` has sixteen elements, and those that are copied are writable.
        unsafe {
            isa.store_floats(all.as_mut_ptr(), values);
            to.copy_from_nonoverlapping(all.as_ptr(), self.rows.saturating_sub(first));
        }
    }
}

/// One tile: `PANELS` panels of weights by as many tokens as it is entered with.
pub(super) struct Tile<S, const PANELS: usize> {
    pub(super) weights: S,
    pub(super) x: QuantizedTile,
    pub(super) out: Output,
}

/// Of each token and panel.
type Each<T, const TOKENS: usize, const PANELS: usize> = [[T; PANELS]; TOKENS];

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
        // SAFETY: a block below the number of blocks.
        unsafe {
            let totals = block_totals::<I, S, PANELS, TOKENS>(isa, tile, block);
            add_block::<I, S, PANELS, TOKENS>(isa, tile, block, &totals, &mut out);
        }
    }
    for (token, panels) in out.into_iter().enumerate() {
        for (panel, values) in panels.into_iter().enumerate() {
            // SAFETY: the output holds every token and the rows it says.
            unsafe { tile.out.store(isa, token, panel, values) }
        }
    }
}

/// The integer products of a block: centred and, for formats with group scales, scaled.
///
/// # Safety
/// The block must exist.
#[inline(always)]
unsafe fn block_totals<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
) -> Each<I::Int, TOKENS, PANELS> {
    // Unsigned values of 5 bits fill the short sums after half of a group of 32.
    let halfway = I::SHORT_SUMS && F::<I, S>::LAYOUT.bits == 5 && F::<I, S>::LAYOUT.offset == 0;
    let mut totals = [[isa.zero(); PANELS]; TOKENS];
    for group in 0..F::<I, S>::GROUPS {
        tile.weights.prefetch(isa, block, group);
        // SAFETY: a group of this block.
        let mut sums = unsafe { start::<I, S, PANELS, TOKENS>(isa, tile, block, group) };
        let mut planes = [isa.zero(); PANELS];
        for (panel, plane) in planes.iter_mut().enumerate() {
            // SAFETY: a group of this block.
            *plane = unsafe { tile.weights.plane(isa, panel, block, group) };
        }
        for pair in 0..F::<I, S>::PAIRS {
            if halfway && pair == F::<I, S>::PAIRS / 2 {
                // SAFETY: a group of this block.
                unsafe { collect::<I, S, PANELS, TOKENS>(isa, tile, block, group, &sums, &mut totals) };
                sums = [[isa.zero(); PANELS]; TOKENS];
            }
            let mut weights = [[isa.zero(); 2]; PANELS];
            for (panel, weights) in weights.iter_mut().enumerate() {
                // SAFETY: a pair of this group.
                *weights =
                    unsafe { tile.weights.pair(isa, At { panel, block, group }, pair, &mut planes[panel]) };
            }
            let step = ((block * F::<I, S>::GROUPS + group) * F::<I, S>::PAIRS + pair) * 2;
            // SAFETY: two steps of this block, for each token.
            unsafe {
                two_steps::<I, S, PANELS, TOKENS>(isa, tile.x.steps.add(step * TOKENS), &weights, &mut sums)
            };
        }
        // SAFETY: a group of this block.
        unsafe { collect::<I, S, PANELS, TOKENS>(isa, tile, block, group, &sums, &mut totals) };
    }
    totals
}

/// What the sums of a group start from.
///
/// # Safety
/// The group must exist.
#[inline(always)]
unsafe fn start<I: Isa, S: Source<I>, const PANELS: usize, const TOKENS: usize>(
    isa: I,
    tile: &Tile<S, PANELS>,
    block: usize,
    group: usize,
) -> Each<I::Int, TOKENS, PANELS> {
    let mut sums = [[isa.zero(); PANELS]; TOKENS];
    if F::<I, S>::LAYOUT.offset == 0 {
        return sums;
    }
    for (token, sums) in sums.iter_mut().enumerate() {
        // SAFETY: activations have a sum for every group and token.
        let negated =
            unsafe { isa.splat(tile.x.negated.add((block * F::<I, S>::GROUPS + group) * TOKENS + token)) };
        let start = if F::<I, S>::WIDE {
            isa.centre_wide(negated)
        } else {
            isa.centre(negated, F::<I, S>::LAYOUT.offset)
        };
        *sums = [start; PANELS];
    }
    sums
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
        for (token, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let x = unsafe { isa.splat(x.add(step * TOKENS + token)) };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let next = if F::<I, S>::WIDE {
                    isa.dot_wide(*sum, weights[step], x)
                } else {
                    isa.dot(*sum, weights[step], x)
                };
                *sum = isa.pin(next);
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
            for (totals, sums) in totals.iter_mut().zip(sums) {
                totals[panel] = isa.add_scaled(totals[panel], sums[panel], scales);
            }
        } else {
            for (totals, sums) in totals.iter_mut().zip(sums) {
                let sum = if F::<I, S>::WIDE { sums[panel] } else { isa.total(sums[panel]) };
                totals[panel] = isa.add(totals[panel], sum);
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
    let x_scale = |token| {
        // SAFETY: activations have a scale for every block and token.
        unsafe { isa.splat_float(tile.x.scales.add(block * TOKENS + token)) }
    };
    for panel in 0..PANELS {
        // SAFETY: the block exists.
        let d = unsafe { tile.weights.d(isa, panel, block) };
        if !F::<I, S>::LAYOUT.minimums {
            for (token, out) in out.iter_mut().enumerate() {
                let scale = isa.multiply(d, x_scale(token));
                out[panel] = isa.multiply_add(isa.to_float(totals[token][panel]), scale, out[panel]);
            }
            continue;
        }
        // SAFETY: the block exists.
        let dmin = unsafe { tile.weights.dmin(isa, panel, block) };
        if !F::<I, S>::SCALED_GROUPS {
            for (token, out) in out.iter_mut().enumerate() {
                let scale = isa.multiply(d, x_scale(token));
                let sum = isa.multiply_add(isa.to_float(totals[token][panel]), scale, out[panel]);
                // SAFETY: activations have a sum for every block and token.
                let x_sum = unsafe { isa.splat_float(tile.x.sums.add(block * TOKENS + token).cast()) };
                out[panel] = isa.multiply_add(dmin, x_sum, sum);
            }
            continue;
        }
        let mut minimums = [isa.zero(); TOKENS];
        for pair in 0..F::<I, S>::GROUPS / 2 {
            // SAFETY: a pair of groups of this block.
            let weights = unsafe { tile.weights.minimums(isa, panel, block, pair) };
            for (token, minimum) in minimums.iter_mut().enumerate() {
                let at = (block * F::<I, S>::GROUPS / 2 + pair) * TOKENS + token;
                // SAFETY: activations have a sum for every pair of groups and token.
                *minimum = isa.add_pairs(*minimum, weights, unsafe { isa.splat(tile.x.sums.add(at)) });
            }
        }
        for (token, out) in out.iter_mut().enumerate() {
            let product = isa.multiply(d, isa.to_float(totals[token][panel]));
            let part = isa.multiply_subtract(dmin, isa.to_float(minimums[token]), product);
            out[panel] = isa.multiply_add(part, x_scale(token), out[panel]);
        }
    }
}
