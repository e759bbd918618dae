use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::formats::{self, Format};

/// A deterministic stream of floats within -1..1.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A matrix as a file holds it.
struct Stored {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Stored {
    fn noise(format: Format, rows: usize, cols: usize) -> Stored {
        let row_bytes = format.row_bytes(cols).unwrap();
        let mut bytes = vec![0; rows * row_bytes];
        let values = noise((rows * cols) as u64, rows * cols);
        for (row, bytes) in values.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
            formats::quantize_row(format, row, bytes);
        }
        Stored { format, rows, cols, bytes }
    }

    fn row(&self, row: usize) -> &[u8] {
        let row_bytes = self.bytes.len() / self.rows;
        &self.bytes[row * row_bytes..][..row_bytes]
    }

    fn pack(&self) -> PackedMatrix {
        let row_bytes = self.bytes.len() / self.rows;
        let mut matrix = PackedMatrix::new(self.format, self.rows, self.cols).unwrap();
        for mut panel in matrix.panels_mut() {
            let (first, rows) = (panel.first_row(), panel.rows());
            panel.pack(&self.bytes[first * row_bytes..][..rows * row_bytes]);
        }
        matrix
    }

    /// The product as the reference has it.
    fn reference(&self, x: &[f32]) -> Vec<f32> {
        let token = |x| (0..self.rows).map(move |row| reference::dot(self.format, self.row(row), x));
        x.chunks(self.cols).flat_map(token).collect()
    }
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).unwrap())
}

fn product(pool: &ThreadPool, level: Level, weights: &PackedMatrix, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / weights.cols();
    let mut activations = Activations::new();
    activations.set(pool, level, rows, weights.cols(), x);
    let mut out = vec![f32::NAN; rows * weights.rows()];
    matmul(pool, level, &mut [MatmulJob { weights, out: &mut out }], &mut activations);
    out
}

fn product_by<I: Isa, const PANELS: usize>(
    isa: I,
    plan: Plan,
    weights: &PackedMatrix,
    x: &[f32],
) -> Vec<f32> {
    let (pool, rows) = (pool(1), x.len() / weights.cols());
    let mut activations = Activations::new();
    activations.set(&pool, Level::Scalar, rows, weights.cols(), x);
    let mut out = vec![f32::NAN; rows * weights.rows()];
    let jobs = &mut [MatmulJob { weights, out: &mut out }];
    schedule::run::<I, PANELS>(isa, plan, &pool, jobs, &mut activations);
    out
}

/// Equal bits; any NaN equals any other.
#[track_caller]
fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{what}: output {index} is {found:e}, not {expected:e}");
    }
}

/// Rows: one, tails of a panel, of a pair of panels and of a task. Columns: one block, an odd number of them, and those
/// of small models.
fn shapes(format: Format) -> Vec<(usize, usize)> {
    let cols: &[usize] = match format.block_len() {
        1 => &[1, 7, 255, 256, 257, 576, 1030],
        32 => &[32, 64, 96, 576, 896],
        _ => &[256, 512, 768],
    };
    let rows = [1, 15, 16, 17, 33, 48, 81];
    rows.iter().flat_map(|&rows| cols.iter().map(move |&cols| (rows, cols))).collect()
}

#[test]
fn every_level_equals_the_reference_in_every_bit() {
    let pool = pool(2);
    for format in Format::ALL {
        for (rows, cols) in shapes(format) {
            let stored = Stored::noise(format, rows, cols);
            let weights = stored.pack();
            for tokens in [1, 2, 3, 4, 5, 9] {
                let x = noise(7, tokens * cols);
                let expected = stored.reference(&x);
                for &level in Level::available() {
                    let what = format!("{} {rows}x{cols} by {tokens}, {}", format.name(), level.name());
                    assert_same(&product(&pool, level, &weights, &x), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn neither_tiles_nor_unpacking_change_a_bit() {
    for format in Format::ALL {
        let stored = Stored::noise(format, 49, 768);
        let weights = stored.pack();
        let x = noise(3, 11 * 768);
        let expected = stored.reference(&x);
        let check = |found: Vec<f32>, plan: Plan| {
            let Plan { tile_tokens, unpack } = plan;
            let what = format!("{} in tiles of {tile_tokens}, unpacked: {unpack}", format.name());
            assert_same(&found, &expected, &what);
        };
        for plan in plans(Plain) {
            check(product_by::<_, { Plain::PANELS }>(Plain, plan, &weights, &x), plan);
        }
        #[cfg(target_arch = "x86_64")]
        {
            use isa::{Avx2, Avx512};
            if let Some(isa) = Avx2::new(Level::detect()) {
                for plan in plans(isa) {
                    check(product_by::<_, { Avx2::PANELS }>(isa, plan, &weights, &x), plan);
                }
            }
            if let Some(isa) = Avx512::new(Level::detect()) {
                for plan in plans(isa) {
                    check(product_by::<_, { Avx512::PANELS }>(isa, plan, &weights, &x), plan);
                }
            }
        }
    }
}

/// Every plan that an instruction set can follow.
fn plans<I: Isa>(_: I) -> impl Iterator<Item = Plan> {
    let plan = |unpack| move |&tile_tokens| Plan { tile_tokens, unpack };
    I::DIRECT.iter().map(plan(false)).chain(I::UNPACKED.iter().map(plan(true)))
}

#[test]
fn a_token_alone_equals_itself_in_any_batch_on_any_number_of_threads() {
    for format in Format::ALL {
        let weights = Stored::noise(format, 100, 256).pack();
        let x = noise(5, 70 * 256);
        for &level in Level::available() {
            let one = pool(1);
            let alone: Vec<f32> = x.chunks(256).flat_map(|x| product(&one, level, &weights, x)).collect();
            for threads in [1, 2, 3] {
                let pool = pool(threads);
                for batch in [7, 64, 70] {
                    let batched: Vec<f32> =
                        x.chunks(batch * 256).flat_map(|x| product(&pool, level, &weights, x)).collect();
                    assert_same(&batched, &alone, format.name());
                }
            }
        }
    }
}

#[test]
fn products_are_close_to_exact_ones() {
    for format in Format::ALL {
        let (rows, cols, tokens) = (19, 1024, 3);
        let weights = Stored::noise(format, rows, cols).pack();
        let x = noise(2, tokens * cols);
        let out = product(&pool(2), Level::detect(), &weights, &x);
        // Rounding to 8 bits is an error of at most 1/254 of a block's greatest input, and of a random sign.
        let bound = if format.block_len() == 1 { 1e-6 } else { 1e-3 };
        let mut row = vec![0.0; cols];
        for r in 0..rows {
            weights.dequantize_row(r, &mut row);
            for t in 0..tokens {
                let terms = row.iter().zip(&x[t * cols..]).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (exact, size) =
                    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                let found = f64::from(out[t * rows + r]);
                assert!((found - exact).abs() <= bound * size, "{}: {found} for {exact}", format.name());
            }
        }
    }
}

#[test]
fn a_packed_row_reads_back_as_it_was_stored() {
    for format in Format::ALL {
        for (rows, cols) in shapes(format) {
            let stored = Stored::noise(format, rows, cols);
            let weights = stored.pack();
            let (mut expected, mut found) = (vec![0.0; cols], vec![0.0; cols]);
            for row in 0..rows {
                formats::dequantize_row(format, stored.row(row), &mut expected);
                weights.dequantize_row(row, &mut found);
                assert_same(&found, &expected, format.name());
            }
        }
    }
}

#[test]
fn products_of_one_call_are_those_of_separate_ones() {
    let pool = pool(2);
    let x = noise(11, 6 * 512);
    let matrices: Vec<PackedMatrix> = Format::ALL
        .into_iter()
        .enumerate()
        .map(|(index, format)| Stored::noise(format, 20 + 13 * index, 512).pack())
        .collect();
    for &level in Level::available() {
        for tokens in [1, 6] {
            let x = &x[..tokens * 512];
            let mut outs: Vec<Vec<f32>> =
                matrices.iter().map(|matrix| vec![0.0; tokens * matrix.rows()]).collect();
            let mut jobs: Vec<MatmulJob> =
                matrices.iter().zip(&mut outs).map(|(weights, out)| MatmulJob { weights, out }).collect();
            let mut activations = Activations::new();
            activations.set(&pool, level, tokens, 512, x);
            matmul(&pool, level, &mut jobs, &mut activations);
            for (weights, out) in matrices.iter().zip(&outs) {
                assert_same(out, &product(&pool, level, weights, x), weights.format().name());
            }
        }
    }
}

#[test]
fn activations_are_reused_for_other_shapes_and_levels() {
    let pool = pool(2);
    let mut activations = Activations::new();
    for format in [Format::Q4_1, Format::Q6K, Format::F16] {
        for (tokens, cols) in [(9, 256), (1, 768), (300, 256), (2, 512)] {
            let stored = Stored::noise(format, 30, cols);
            let weights = stored.pack();
            let x = noise(cols as u64, tokens * cols);
            activations.set(&pool, Level::detect(), tokens, cols, &x);
            let expected = stored.reference(&x);
            for &level in Level::available() {
                let mut out = vec![0.0; tokens * 30];
                matmul(&pool, level, &mut [MatmulJob { weights: &weights, out: &mut out }], &mut activations);
                assert_same(&out, &expected, format.name());
            }
        }
    }
}

#[test]
fn nothing_times_something_is_nothing() {
    let weights = Stored::noise(Format::Q8_0, 5, 64).pack();
    for &level in Level::available() {
        assert_eq!(product(&pool(2), level, &weights, &[]), Vec::<f32>::new());
    }
}

#[test]
fn inputs_that_are_not_finite_or_tiny_or_huge() {
    for format in Format::ALL {
        let stored = Stored::noise(format, 17, 512);
        let weights = stored.pack();
        let all_finite = |x: f32| {
            let mut row = noise(13, 512);
            row[300] = x;
            row
        };
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let expected = stored.reference(&all_finite(x));
            assert!(expected.iter().all(|out| !out.is_finite()), "{} hides {x}", format.name());
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45, -0.0, 1e-30]
        {
            for row in [all_finite(x), vec![x; 512], vec![-x; 512]] {
                let expected = stored.reference(&row);
                for &level in Level::available() {
                    let what = format!("{} with {x:e}, {}", format.name(), level.name());
                    assert_same(&product(&pool(1), level, &weights, &row), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn zeros_give_zeros() {
    for format in Format::ALL {
        let weights = Stored::noise(format, 17, 256).pack();
        for &level in Level::available() {
            assert_same(&product(&pool(1), level, &weights, &[0.0; 512]), &[0.0; 34], format.name());
        }
    }
}

#[test]
fn unfit_shapes_are_refused() {
    let refused = |format, rows, cols| PackedMatrix::new(format, rows, cols).err();
    let shape = |format, rows, cols| Some(PackError::Shape { format, rows, cols });
    assert_eq!(refused(Format::Q4K, 4, 128), shape(Format::Q4K, 4, 128));
    assert_eq!(refused(Format::Q8_0, 4, 33), shape(Format::Q8_0, 4, 33));
    assert_eq!(refused(Format::F32, 0, 8), shape(Format::F32, 0, 8));
    assert_eq!(refused(Format::F32, 8, 0), shape(Format::F32, 8, 0));
    for (rows, cols) in [(usize::MAX, 32), (32, usize::MAX & !31), (1 << 40, 1 << 40)] {
        let memory = Some(PackError::Memory { format: Format::Q4_0, rows, cols });
        assert_eq!(refused(Format::Q4_0, rows, cols), memory);
    }
    let message = refused(Format::Q4K, 4, 128).unwrap().to_string();
    assert_eq!(message, "a q4_k matrix cannot have 4 rows of 128 columns: columns must be a multiple of 256");
}

#[test]
#[should_panic(expected = "the weights' columns must be the activations'")]
fn other_columns_are_refused() {
    let weights = Stored::noise(Format::Q8_0, 5, 64).pack();
    let (pool, mut x) = (pool(1), Activations::new());
    x.set(&pool, Level::Scalar, 1, 32, &[0.0; 32]);
    matmul(&pool, Level::Scalar, &mut [MatmulJob { weights: &weights, out: &mut [0.0; 5] }], &mut x);
}

#[test]
#[should_panic(expected = "the output must hold")]
fn an_output_of_another_size_is_refused() {
    let weights = Stored::noise(Format::Q8_0, 5, 64).pack();
    let (pool, mut x) = (pool(1), Activations::new());
    x.set(&pool, Level::Scalar, 2, 64, &[0.0; 128]);
    matmul(&pool, Level::Scalar, &mut [MatmulJob { weights: &weights, out: &mut [0.0; 9] }], &mut x);
}

#[test]
#[should_panic(expected = "a panel is packed from exactly its rows")]
fn a_panel_of_other_rows_is_refused() {
    let mut weights = PackedMatrix::new(Format::Q8_0, 20, 64).unwrap();
    weights.panels_mut().nth(1).unwrap().pack(&[0; 5 * 68]);
}

proptest! {
    /// Damaged blocks are just numbers: whatever the bytes, every level computes what the reference does.
    #[test]
    fn any_bytes_and_any_inputs(
        bytes in prop::collection::vec(any::<u8>(), 18 * 4 * 512),
        bits in prop::collection::vec(any::<u32>(), 5 * 512),
        wild in any::<bool>(),
        format in prop::sample::select(Format::ALL.to_vec()),
        rows in 1usize..=18,
        tokens in 1usize..=5,
    ) {
        let cols = 512;
        let size = rows * format.row_bytes(cols).unwrap();
        let stored = Stored { format, rows, cols, bytes: bytes[..size].to_vec() };
        let tame = |bits: u32| bits as i32 as f32 / 1e9;
        let number = |bits: &u32| if wild { f32::from_bits(*bits) } else { tame(*bits) };
        let x: Vec<f32> = bits[..tokens * cols].iter().map(number).collect();
        let weights = stored.pack();
        let expected = stored.reference(&x);
        for &level in Level::available() {
            assert_same(&product(&pool(1), level, &weights, &x), &expected, level.name());
        }
        let (mut row, mut read) = (vec![0.0; cols], vec![0.0; cols]);
        formats::dequantize_row(format, stored.row(rows - 1), &mut row);
        weights.dequantize_row(rows - 1, &mut read);
        assert_same(&read, &row, "the last row");
    }
}
