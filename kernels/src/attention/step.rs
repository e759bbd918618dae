//! The arithmetic of attention: one *step* takes up to six query rows through one block of 64 tokens. Reads no page
//! table and knows no threads.
//!
//! ```text
//! s[row][t] = (Σ_d q[row][d] · k[d][t]) · scale   t runs over lanes; d in order, one accumulator
//! m' = max(m, s[t]), a = 2^(m - m'), w[t] = 2^(s[t] - m'), exactly 0 for tokens that the row does not see
//! sum[lane] = sum[lane] · a + w[lane] + …         sixteen partial sums
//! o[row][d] = o[row][d] · a + Σ_t w[row][t] · v[t][d]    d runs over lanes; t in order, one accumulator
//! ```
//! How many rows and lanes are kept in registers at once is a matter of speed alone: no sum is split over it.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over registers are unrolled; closures would not be inlined"
)]

use std::ops::Range;

use half::f16;

use super::element::{Element, SCALED_DIMENSIONS};
use super::{BLOCK_TOKENS, PAGE_TOKENS};
use crate::cpu::simd::{LANES, Operation, Simd, exp2};

/// The most rows of a step: with sixteen lanes each and 256-bit registers, twelve accumulators of sixteen registers.
pub(super) const STEP_ROWS_MAX: usize = 6;
/// The pages of a block.
pub(super) const BLOCK_PAGES: usize = BLOCK_TOKENS / PAGE_TOKENS;

/// Keys and values of one head over 64 tokens.
pub(super) struct Block<'a, N> {
    /// Each `[head_dim][16 tokens]`; empty beyond the sequence's end.
    pub(super) keys: [&'a [[N; LANES]]; BLOCK_PAGES],
    /// Each `[16 tokens][value_width]`.
    pub(super) values: [&'a [[N; LANES]]; BLOCK_PAGES],
    /// Of both, each `[head_dim / 32][16 tokens]` where numbers have scales.
    pub(super) key_scales: [&'a [[f16; LANES]]; BLOCK_PAGES],
    pub(super) value_scales: [&'a [[f16; LANES]]; BLOCK_PAGES],
}

/// The addresses of a block's pages.
pub(super) struct Ahead<N> {
    pub(super) keys: [*const [N; LANES]; BLOCK_PAGES],
    pub(super) values: [*const [N; LANES]; BLOCK_PAGES],
    pub(super) key_scales: [*const [f16; LANES]; BLOCK_PAGES],
    pub(super) value_scales: [*const [f16; LANES]; BLOCK_PAGES],
}

// Not derived, which would ask the same of the numbers.
impl<N> Clone for Ahead<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Ahead<N> {}

/// What a row carries from block to block.
pub(super) struct Rows<'a> {
    /// The greatest score so far, in powers of two; negative infinity before the first block.
    pub(super) greatest: &'a mut [f32],
    pub(super) sums: &'a mut [[f32; LANES]],
    /// `[rows][value_width]`
    pub(super) outputs: &'a mut [[f32; LANES]],
}

/// One step; all slices hold `valid.len()` rows, at most [`STEP_ROWS_MAX`].
pub(super) struct Step<'a, N> {
    /// The query of each row, `[head_dim]`.
    pub(super) queries: &'a [&'a [f32]],
    /// The scale times log2(e): scores are powers of two.
    pub(super) scale: f32,
    pub(super) block: &'a Block<'a, N>,
    /// What the next block will read, to be asked for while this one is computed.
    pub(super) ahead: Option<Ahead<N>>,
    /// How many of the block's tokens each row sees, not decreasing; at least one row sees some.
    pub(super) valid: &'a [usize],
    pub(super) rows: Rows<'a>,
}

impl<N: Element> Operation for Step<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.valid.len() {
            1 => self.step::<S, 1>(simd),
            2 => self.step::<S, 2>(simd),
            3 => self.step::<S, 3>(simd),
            4 => self.step::<S, 4>(simd),
            5 => self.step::<S, 5>(simd),
            6 => self.step::<S, 6>(simd),
            rows => unreachable!("a step of {rows} rows"),
        }
    }
}

/// Scores, then weights, of each row; aligned to whole cache lines.
#[repr(align(64))]
struct Weights<const R: usize>([[f32; BLOCK_TOKENS]; R]);

impl<N: Element> Step<'_, N> {
    #[inline(always)]
    fn step<S: Simd, const R: usize>(self, simd: S) {
        let queries: &[&[f32]; R] = self.queries.first_chunk().expect("there is a query for each row");
        let valid: &[usize; R] = self.valid.first_chunk().expect("the caller matched on the number of rows");
        let vectors = self.rows.outputs.len() / R;
        let mut weights = Weights([[0.0; BLOCK_TOKENS]; R]);
        let weights = &mut weights.0;

        let pages = valid[R - 1].div_ceil(PAGE_TOKENS);
        let mut page = 0;
        if S::WIDE || R == 1 {
            if pages == BLOCK_PAGES {
                scores::<S, N, R, 4>(simd, queries, self.block, self.ahead, page, weights);
                page = BLOCK_PAGES;
            }
        } else if R == 2 {
            while page + 2 <= pages {
                scores::<S, N, R, 2>(simd, queries, self.block, self.ahead, page, weights);
                page += 2;
            }
        }
        while page < pages {
            scores::<S, N, R, 1>(simd, queries, self.block, self.ahead, page, weights);
            page += 1;
        }

        let mut scales = [simd.splat(1.0); R];
        for row in 0..R {
            // A row that precedes the block sees none of it and stays as it is, to the bit.
            if valid[row] > 0 {
                let (greatest, sums) = (&mut self.rows.greatest[row], &mut self.rows.sums[row]);
                scales[row] = softmax(simd, self.scale, &mut weights[row], valid[row], greatest, sums);
            }
        }

        let weighting = Weighting { weights: &*weights, valid, block: self.block, ahead: self.ahead };
        let outputs = self.rows.outputs;
        let mut column = 0;
        if S::WIDE || R == 1 {
            while column + 4 <= vectors {
                weighting.outputs::<S, 4>(simd, column, &scales, outputs);
                column += 4;
            }
        } else if R == 2 {
            while column + 2 <= vectors {
                weighting.outputs::<S, 2>(simd, column, &scales, outputs);
                column += 2;
            }
        }
        while column < vectors {
            weighting.outputs::<S, 1>(simd, column, &scales, outputs);
            column += 1;
        }
    }
}

/// Scores of R rows with C pages of tokens.
#[inline(always)]
fn scores<S: Simd, N: Element, const R: usize, const C: usize>(
    simd: S,
    queries: &[&[f32]; R],
    block: &Block<N>,
    ahead: Option<Ahead<N>>,
    page: usize,
    weights: &mut [[f32; BLOCK_TOKENS]; R],
) {
    let mut keys: [&[[N; LANES]]; C] = [&[]; C];
    keys.copy_from_slice(&block.keys[page..page + C]);
    // The same length for all, so that the loop needs no checks.
    let head_dim = keys[0].len();
    for column in 0..C {
        keys[column] = &keys[column][..head_dim];
    }
    let mut queries = *queries;
    for row in 0..R {
        queries[row] = &queries[row][..head_dim];
    }
    let mut sums = [[simd.splat(0.0); C]; R];
    let mut next = [std::ptr::null(); C];
    if let Some(ahead) = ahead {
        next.copy_from_slice(&ahead.keys[page..page + C]);
    }
    // Dimensions of a page that share a cache line.
    let line = 64 / size_of::<[N; LANES]>();
    let mut scales = [simd.splat(1.0); C];
    let mut first = 0;
    while first < head_dim {
        // One round for numbers without scales.
        let end = if N::SCALED { head_dim.min(first + SCALED_DIMENSIONS) } else { head_dim };
        if N::SCALED {
            let group = first / SCALED_DIMENSIONS;
            for column in 0..C {
                scales[column] = simd.load_f16(&block.key_scales[page + column][group]);
                if let Some(ahead) = ahead {
                    simd.prefetch(ahead.key_scales[page + column].wrapping_add(group));
                }
            }
        }
        for dimension in first..end {
            if ahead.is_some() && dimension % line == 0 {
                for column in 0..C {
                    simd.prefetch(next[column].wrapping_add(dimension));
                }
            }
            for column in 0..C {
                let key = N::load(simd, &keys[column][dimension]);
                let key = if N::SCALED { simd.multiply(key, scales[column]) } else { key };
                for row in 0..R {
                    sums[row][column] =
                        simd.mul_add(simd.splat(queries[row][dimension]), key, sums[row][column]);
                }
            }
        }
        first = end;
    }
    for row in 0..R {
        let (row_scores, _) = weights[row].as_chunks_mut::<LANES>();
        for column in 0..C {
            simd.store(sums[row][column], &mut row_scores[page + column]);
        }
    }
}

/// Turns a row's scores into weights, where it sees tokens, and returns what its earlier outputs are to be
/// multiplied by.
#[inline(always)]
fn softmax<S: Simd>(
    simd: S,
    scale: f32,
    scores: &mut [f32; BLOCK_TOKENS],
    valid: usize,
    greatest: &mut f32,
    sums: &mut [f32; LANES],
) -> S::F32 {
    let (scores, _) = scores.as_chunks_mut::<LANES>();
    let pages = valid.div_ceil(PAGE_TOKENS);
    let unseen = simd.splat(f32::NEG_INFINITY);
    let mut upper = unseen;
    for page in 0..pages {
        let score = simd.multiply(simd.load(&scores[page]), simd.splat(scale));
        let below = valid - page * PAGE_TOKENS;
        let score = if below >= LANES { score } else { simd.first_lanes(below, score, unseen) };
        upper = simd.max(upper, score);
        simd.store(score, &mut scores[page]);
    }
    let new = simd.greatest(upper);
    let new = if new > *greatest { new } else { *greatest };
    let mut sum = simd.splat(0.0);
    for page in 0..pages {
        let weight = exp2(simd, simd.subtract(simd.load(&scores[page]), simd.splat(new)));
        sum = simd.add(sum, weight);
        simd.store(weight, &mut scores[page]);
    }
    let factor = exp2(simd, simd.subtract(simd.splat(*greatest), simd.splat(new)));
    simd.store(simd.mul_add(simd.load(sums), factor, sum), sums);
    *greatest = new;
    factor
}

/// What the outputs of R rows are summed from.
struct Weighting<'a, N, const R: usize> {
    weights: &'a [[f32; BLOCK_TOKENS]; R],
    valid: &'a [usize; R],
    block: &'a Block<'a, N>,
    ahead: Option<Ahead<N>>,
}

impl<N: Element, const R: usize> Weighting<'_, N, R> {
    /// C vectors of every row's outputs: the tokens that all rows see together, then those that only some do.
    #[inline(always)]
    fn outputs<S: Simd, const C: usize>(
        &self,
        simd: S,
        column: usize,
        scales: &[S::F32; R],
        outputs: &mut [[f32; LANES]],
    ) {
        let common = self.valid[0];
        self.accumulate::<S, C>(simd, 0..common, column, scales, outputs);
        if self.valid[R - 1] == common {
            return;
        }
        let vectors = outputs.len() / R;
        for (row, outputs) in outputs.chunks_exact_mut(vectors).enumerate() {
            let weights = std::array::from_ref(&self.weights[row]);
            let valid = std::array::from_ref(&self.valid[row]);
            let alone = Weighting { weights, valid, block: self.block, ahead: None };
            alone.accumulate::<S, C>(simd, common..valid[0], column, &[simd.splat(1.0)], outputs);
        }
    }

    #[inline(always)]
    fn accumulate<S: Simd, const C: usize>(
        &self,
        simd: S,
        tokens: Range<usize>,
        column: usize,
        scales: &[S::F32; R],
        outputs: &mut [[f32; LANES]],
    ) {
        let vectors = outputs.len() / R;
        let mut sums = [[simd.splat(0.0); C]; R];
        for row in 0..R {
            for vector in 0..C {
                let output = simd.load(&outputs[row * vectors + column + vector]);
                sums[row][vector] = simd.multiply(output, scales[row]);
            }
        }
        let mut token = tokens.start;
        while token < tokens.end {
            let (page, first) = (token / PAGE_TOKENS, token % PAGE_TOKENS);
            let count = (PAGE_TOKENS - first).min(tokens.end - token);
            let page_values = &self.block.values[page][first * vectors..(first + count) * vectors];
            let next = self.ahead.map_or(std::ptr::null(), |ahead| ahead.values[page]);
            // Of each vector, one a token.
            let mut scales = [[1.0; LANES]; C];
            if N::SCALED {
                for vector in 0..C {
                    let group = (column + vector) * LANES / SCALED_DIMENSIONS;
                    simd.store(simd.load_f16(&self.block.value_scales[page][group]), &mut scales[vector]);
                    if let Some(ahead) = self.ahead {
                        simd.prefetch(ahead.value_scales[page].wrapping_add(group));
                    }
                }
            }
            for (index, values) in page_values.chunks_exact(vectors).enumerate() {
                if self.ahead.is_some() {
                    let next = next.wrapping_add((first + index) * vectors + column);
                    for vector in (0..C).step_by(64 / size_of::<[N; LANES]>()) {
                        simd.prefetch(next.wrapping_add(vector));
                    }
                }
                let values: &[[N; LANES]; C] =
                    values[column..].first_chunk().expect("columns end within the width");
                for vector in 0..C {
                    let value = N::load(simd, &values[vector]);
                    let value = match N::SCALED {
                        true => simd.multiply(value, simd.splat(scales[vector][first + index])),
                        false => value,
                    };
                    for row in 0..R {
                        let weight = simd.splat(self.weights[row][token + index]);
                        sums[row][vector] = simd.mul_add(weight, value, sums[row][vector]);
                    }
                }
            }
            token += count;
        }
        for row in 0..R {
            for vector in 0..C {
                simd.store(sums[row][vector], &mut outputs[row * vectors + column + vector]);
            }
        }
    }
}
