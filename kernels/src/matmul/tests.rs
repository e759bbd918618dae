use std::num::NonZeroUsize;

use super::*;
use crate::formats::{self, Format};

/// A deterministic stream of floats within -1..1.
pub(super) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub(super) fn stored(format: Format, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let row_bytes = format.row_bytes(cols).unwrap();
    let mut bytes = vec![0; rows * row_bytes];
    let values = noise(seed, rows * cols);
    for (row, bytes) in values.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
        formats::quantize_row(format, row, bytes);
    }
    bytes
}

pub(super) fn packed(format: Format, rows: usize, cols: usize, stored: &[u8]) -> PackedMatrix {
    let row_bytes = format.row_bytes(cols).unwrap();
    let mut matrix = PackedMatrix::new(format, rows, cols).unwrap();
    for mut panel in matrix.panels_mut() {
        let first = panel.first_row();
        let count = panel.rows();
        panel.pack(&stored[first * row_bytes..][..count * row_bytes]);
    }
    matrix
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).unwrap())
}

fn product(level: Level, threads: usize, weights: &PackedMatrix, x: &[f32]) -> Vec<f32> {
    let pool = pool(threads);
    let rows = x.len() / weights.cols();
    let mut activations = Activations::new();
    activations.set(&pool, level, rows, weights.cols(), x);
    let mut out = vec![f32::NAN; rows * weights.rows()];
    matmul(&pool, level, &mut [MatmulJob { weights, out: &mut out }], &mut activations);
    out
}

#[test]
fn products_are_close_to_exact_ones() {
    for format in Format::ALL {
        let (rows, cols, tokens) = (19, 512, 3);
        let bytes = stored(format, rows, cols, 1);
        let weights = packed(format, rows, cols, &bytes);
        let x = noise(2, tokens * cols);
        let out = product(Level::detect(), 2, &weights, &x);
        let mut row = vec![0.0; cols];
        for r in 0..rows {
            weights.dequantize_row(r, &mut row);
            for t in 0..tokens {
                let terms = row.iter().zip(&x[t * cols..]).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (exact, size) =
                    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                let found = f64::from(out[t * rows + r]);
                assert!((found - exact).abs() <= 0.01 * size, "{}: {found} for {exact}", format.name());
            }
        }
    }
}
