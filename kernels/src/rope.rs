//! Rotary position embedding: rotates pairs of a head's dimensions by angles that grow with the position.
//!
//! ```text
//! pair i of a row at position p:   (a, b)  →  (a · cos − b · sin,  b · cos + a · sin),   angle = p · frequency[i]
//! split        pair i is dimensions i and i + pairs      (GPT-NeoX, Hugging Face)
//! interleaved  pair i is dimensions 2i and 2i + 1        (original Llama, GGUF files of the Llama family)
//! ```
//! All scaling schemes (llama3, yarn, longrope, linear) are a list of frequencies and a magnitude, so there is one
//! kernel; computing those is the engine's part. Dimensions beyond the pairs stay as they are. Angles are computed in
//! f64, so that far positions are as precise as near ones. Bits are the same on all levels.

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd, load_partial, store_partial};
use crate::memory::{Buffer, OutOfMemory};
use crate::pool::ThreadPool;

#[cfg(test)]
mod tests;

/// Which dimensions of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// The first half with the second.
    Split,
    /// Neighbours.
    Interleaved,
}

/// Cosines and sines of every position and pair.
#[derive(Debug)]
pub struct RopeTable {
    pairing: Pairing,
    pairs: usize,
    positions: usize,
    /// Row p: the cosines, then the sines, in the order and number in which the pairing's loop reads them.
    rows: Buffer<f32>,
}

impl RopeTable {
    /// Angles `position · frequency` for all positions below `positions`; cosines and sines are multiplied by
    /// `magnitude` (1 unless a scaling scheme says otherwise).
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(
        pairing: Pairing,
        frequencies: &[f64],
        positions: usize,
        magnitude: f64,
    ) -> Result<RopeTable, OutOfMemory> {
        let pairs = frequencies.len();
        let mut table = RopeTable { pairing, pairs, positions, rows: Buffer::default() };
        let length = table.row_len().checked_mul(positions);
        table.rows = Buffer::zeroed(length.unwrap_or(usize::MAX))?;
        let (pairing, half) = (table.pairing, table.row_len() / 2);
        for position in 0..positions {
            let (cosines, sines) =
                table.rows[position * 2 * half..(position + 1) * 2 * half].split_at_mut(half);
            for (pair, frequency) in frequencies.iter().enumerate() {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                let (sine, cosine) = ((sine * magnitude) as f32, (cosine * magnitude) as f32);
                match pairing {
                    Pairing::Split => (cosines[pair], sines[pair]) = (cosine, sine),
                    Pairing::Interleaved => {
                        cosines[2 * pair..2 * pair + 2].fill(cosine);
                        sines[2 * pair..2 * pair + 2].copy_from_slice(&[-sine, sine]);
                    }
                }
            }
        }
        Ok(table)
    }

    /// How many positions it covers.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.positions
    }

    fn row_len(&self) -> usize {
        match self.pairing {
            Pairing::Split => 2 * self.pairs,
            Pairing::Interleaved => 4 * self.pairs,
        }
    }

    fn row(&self, position: u32) -> (&[f32], &[f32]) {
        let length = self.row_len();
        self.rows[position as usize * length..][..length].split_at(length / 2)
    }
}

/// Rotates `x`, `[rows][heads][head_dim]`, in place; row i is at `positions[i]`.
///
/// # Panics
/// When `x` is not of that shape, heads are smaller than the table's pairs, or a position lies beyond the table;
/// nothing is written then.
pub fn apply(
    pool: &ThreadPool,
    level: Level,
    table: &RopeTable,
    positions: &[u32],
    heads: usize,
    head_dim: usize,
    x: &mut [f32],
) {
    let width = heads * head_dim;
    assert_eq!(
        Some(x.len()),
        positions.len().checked_mul(width),
        "x is not [{}][{heads}][{head_dim}]",
        positions.len()
    );
    assert!(2 * table.pairs <= head_dim, "{} pairs do not fit in a head of {head_dim}", table.pairs);
    for &position in positions {
        assert!(
            (position as usize) < table.positions,
            "position {position} is beyond the table's {}",
            table.positions
        );
    }
    if width == 0 {
        return;
    }
    const NUMBERS_MIN: usize = 8192;
    pool.for_rows(x, width, NUMBERS_MIN.div_ceil(width), &|first, x| {
        level.enter(Rotate { table, positions: &positions[first..], head_dim, width, x });
    });
}

struct Rotate<'a> {
    table: &'a RopeTable,
    positions: &'a [u32],
    head_dim: usize,
    width: usize,
    x: &'a mut [f32],
}

impl Operation for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, &position) in self.x.chunks_exact_mut(self.width).zip(self.positions) {
            let (cosines, sines) = self.table.row(position);
            for head in row.chunks_exact_mut(self.head_dim) {
                match self.table.pairing {
                    Pairing::Split => rotate_split(simd, cosines, sines, head),
                    Pairing::Interleaved => rotate_interleaved(simd, cosines, sines, head),
                }
            }
        }
    }
}

#[inline(always)]
fn rotate_split<S: Simd>(simd: S, cosines: &[f32], sines: &[f32], head: &mut [f32]) {
    let (low, high) = head[..2 * cosines.len()].split_at_mut(cosines.len());
    let (low, low_tail) = low.as_chunks_mut::<LANES>();
    let (high, high_tail) = high.as_chunks_mut::<LANES>();
    let (cosines, cosines_tail) = cosines.as_chunks::<LANES>();
    let (sines, sines_tail) = sines.as_chunks::<LANES>();
    for (((low, high), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
        let (a, b) = rotate(simd, simd.load(low), simd.load(high), simd.load(cosine), simd.load(sine));
        simd.store(a, low);
        simd.store(b, high);
    }
    if !low_tail.is_empty() {
        let (cosine, sine) = (load_partial(simd, cosines_tail), load_partial(simd, sines_tail));
        let (a, b) = rotate(simd, load_partial(simd, low_tail), load_partial(simd, high_tail), cosine, sine);
        store_partial(simd, a, low_tail);
        store_partial(simd, b, high_tail);
    }
}

#[inline(always)]
fn rotate<S: Simd>(simd: S, a: S::F32, b: S::F32, cosine: S::F32, sine: S::F32) -> (S::F32, S::F32) {
    let minus = simd.subtract(simd.splat(0.0), simd.multiply(b, sine));
    (simd.mul_add(a, cosine, minus), simd.mul_add(b, cosine, simd.multiply(a, sine)))
}

/// The table's sines carry the sign of the lane that they are for.
#[inline(always)]
fn rotate_interleaved<S: Simd>(simd: S, cosines: &[f32], sines: &[f32], head: &mut [f32]) {
    let (x, x_tail) = head[..cosines.len()].as_chunks_mut::<LANES>();
    let (cosines, cosines_tail) = cosines.as_chunks::<LANES>();
    let (sines, sines_tail) = sines.as_chunks::<LANES>();
    for ((x, cosine), sine) in x.iter_mut().zip(cosines).zip(sines) {
        let value = simd.load(x);
        let crossed = simd.multiply(simd.swap_pairs(value), simd.load(sine));
        simd.store(simd.mul_add(value, simd.load(cosine), crossed), x);
    }
    if !x_tail.is_empty() {
        let value = load_partial(simd, x_tail);
        let crossed = simd.multiply(simd.swap_pairs(value), load_partial(simd, sines_tail));
        store_partial(simd, simd.mul_add(value, load_partial(simd, cosines_tail), crossed), x_tail);
    }
}
