//! The inner loops for float weights: one tile of rows by tokens. Activations are used as they are.
//!
//! ```text
//! for each 256 columns
//!   chain = 0
//!   for each column: chain = weight * activation + chain          (fused; a lane a row, a register a token)
//!   out += chain
//! ```
//! The chains keep rounding errors small, and those of one output are independent, so that a lone token can work on
//! two of them at a time.
#![allow(clippy::needless_range_loop, reason = "arrays of registers are indexed alike, by token and panel")]
#![allow(unsafe_code, reason = "reads panels and activations through pointers")]

use std::marker::PhantomData;

use super::isa::{Isa, Kernel, TileKernel};
use super::layout::PANEL_ROWS;
use super::quantized::Output;
use super::reference::CHAIN_LEN;

/// How far ahead of its use a packed panel is fetched, in bytes: beyond the second of two chains.
const PREFETCH_BYTES: usize = 16384;

/// A float format as a type.
pub(super) trait Float: Copy + Send + Sync {
    /// Of one column of a panel.
    const BYTES: usize;

    /// The weights of one column.
    ///
    /// # Safety
    /// `from` must hold [`Self::BYTES`] readable bytes.
    unsafe fn load<I: Isa>(isa: I, from: *const u8) -> I::Float;
}

/// [`crate::formats::Format::F32`], also what unpacked panels hold.
#[derive(Clone, Copy)]
pub(super) struct F32;
/// [`crate::formats::Format::F16`].
#[derive(Clone, Copy)]
pub(super) struct F16;
/// [`crate::formats::Format::Bf16`].
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Float for F32 {
    const BYTES: usize = 4 * PANEL_ROWS;
    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, from: *const u8) -> I::Float {
        // SAFETY: the caller's promise.
        unsafe { isa.load_floats(from.cast()) }
    }
}
impl Float for F16 {
    const BYTES: usize = 2 * PANEL_ROWS;
    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, from: *const u8) -> I::Float {
        // SAFETY: the caller's promise.
        unsafe { isa.load_halves(from) }
    }
}
impl Float for Bf16 {
    const BYTES: usize = 2 * PANEL_ROWS;
    #[inline(always)]
    unsafe fn load<I: Isa>(isa: I, from: *const u8) -> I::Float {
        // SAFETY: the caller's promise.
        unsafe { isa.load_upper_halves(from) }
    }
}

/// One tile: `PANELS` panels of weights by as many tokens as it is entered with.
pub(super) struct FloatTile<F, const PANELS: usize> {
    pub(super) weights: Columns<F>,
    pub(super) cols: usize,
    /// Of each column, one float for each token.
    pub(super) x: *const f32,
    pub(super) out: Output,
    /// Whether to add to what the output holds.
    pub(super) add: bool,
}

/// The columns of panels, each of 16 rows.
pub(super) struct Columns<F> {
    pub(super) first: *const u8,
    /// From a panel to the next, in bytes.
    pub(super) panel_bytes: usize,
    /// From a column to the next, in bytes.
    pub(super) column_bytes: usize,
    pub(super) format: PhantomData<F>,
}

impl<F: Float> Columns<F> {
    #[inline(always)]
    fn at(&self, column: usize, panel: usize) -> *const u8 {
        self.first.wrapping_add(column * self.column_bytes + panel * self.panel_bytes)
    }
}

impl<F: Float, const PANELS: usize> TileKernel for FloatTile<F, PANELS> {
    #[inline(always)]
    fn run<I: Isa, const TOKENS: usize>(self, isa: I) {
        // SAFETY: whoever made this kernel gave it panels and activations of `cols` columns, interleaved for the tokens
        // that it is entered with, and an output that holds all its rows and tokens.
        unsafe { self.tile::<I, TOKENS>(isa) }
    }
}

impl<F: Float, const PANELS: usize> FloatTile<F, PANELS> {
    /// # Safety
    /// As said above, in `run`.
    #[inline(always)]
    unsafe fn tile<I: Isa, const TOKENS: usize>(&self, isa: I) {
        let mut sums = [[isa.zero_float(); PANELS]; TOKENS];
        if self.add {
            // SAFETY: the output holds the tokens and rows it says.
            sums = unsafe { self.out.load(isa) };
        }
        let mut column = 0;
        while column < self.cols {
            let left = self.cols - column;
            // SAFETY: columns below the number of columns.
            unsafe {
                if TOKENS * PANELS <= 2 && left >= 2 * CHAIN_LEN {
                    self.chains::<I, 2, TOKENS>(isa, column, CHAIN_LEN, &mut sums);
                    column += 2 * CHAIN_LEN;
                } else {
                    self.chains::<I, 1, TOKENS>(isa, column, left.min(CHAIN_LEN), &mut sums);
                    column += left.min(CHAIN_LEN);
                }
            }
        }
        // SAFETY: the output holds the tokens and rows it says.
        unsafe { self.out.store(isa, &sums) }
    }

    /// Adds `CHAINS` chains of `length` columns from column `first` on.
    ///
    /// # Safety
    /// The columns must exist.
    #[inline(always)]
    unsafe fn chains<I: Isa, const CHAINS: usize, const TOKENS: usize>(
        &self,
        isa: I,
        first: usize,
        length: usize,
        sums: &mut [[I::Float; PANELS]; TOKENS],
    ) {
        let mut chains = [[[isa.zero_float(); PANELS]; TOKENS]; CHAINS];
        for column in first..first + length {
            for chain in 0..CHAINS {
                let column = column + chain * CHAIN_LEN;
                let mut weights = [isa.zero_float(); PANELS];
                for panel in 0..PANELS {
                    let at = self.weights.at(column, panel);
                    isa.prefetch(at.wrapping_add(PREFETCH_BYTES));
                    // SAFETY: a column of that panel.
                    weights[panel] = unsafe { F::load(isa, at) };
                }
                for token in 0..TOKENS {
                    // SAFETY: activations have a number for every column and token.
                    let x = unsafe { isa.splat_float(self.x.add(column * TOKENS + token)) };
                    for panel in 0..PANELS {
                        let sum = chains[chain][token][panel];
                        chains[chain][token][panel] = isa.multiply_add(weights[panel], x, sum);
                    }
                }
            }
        }
        for chain in 0..CHAINS {
            for token in 0..TOKENS {
                for panel in 0..PANELS {
                    sums[token][panel] = isa.add_float(sums[token][panel], chains[chain][token][panel]);
                }
            }
        }
    }
}

/// Converts one chain of columns of panels to single precision: of each column, the panels side by side.
pub(super) struct Widen<F, const PANELS: usize> {
    pub(super) from: Columns<F>,
    pub(super) to: *mut f32,
    pub(super) first: usize,
    pub(super) length: usize,
}

impl<F: Float, const PANELS: usize> Kernel for Widen<F, PANELS> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for column in 0..self.length {
            for panel in 0..PANELS {
                let to = self.to.wrapping_add((column * PANELS + panel) * PANEL_ROWS);
                // SAFETY: whoever made this kernel gave it panels that have these columns, and room for them.
                unsafe { isa.store_floats(to, F::load(isa, self.from.at(self.first + column, panel))) }
            }
        }
    }
}
