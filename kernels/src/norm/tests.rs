use std::num::NonZeroUsize;

use super::{add, add_row, rms_norm, rms_norm_with};
use crate::cpu::Level;
use crate::pool::ThreadPool;
use crate::test_support::{WidePlain, bits, numbers, ulps};

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).expect("at least one thread"))
}

fn expected(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    let scale = 1.0 / (squares / x.len() as f64 + f64::from(epsilon)).sqrt();
    x.iter().zip(weight).map(|(&x, &weight)| f64::from(x) * scale * f64::from(weight)).collect()
}

#[test]
fn every_level_equals_the_reference_and_each_other_over_widths_and_rows() {
    for width in [1, 2, 8, 15, 16, 17, 48, 64, 65, 100, 576, 896, 2048, 2056] {
        for rows in [1, 2, 40] {
            let x: Vec<f32> = numbers(width as u64, rows * width).iter().map(|x| x * 30.0).collect();
            let weight = numbers(7, width);
            let mut scalar = vec![f32::NAN; x.len()];
            rms_norm(&pool(1), Level::Scalar, &x, &weight, 1e-5, &mut scalar);
            for (row, got) in scalar.chunks(width).enumerate() {
                for (&got, expected) in got.iter().zip(expected(&x[row * width..][..width], &weight, 1e-5)) {
                    assert!(ulps(got, expected) <= 4.0, "width {width}: {got}, not {expected}");
                }
            }
            let mut wide = vec![f32::NAN; x.len()];
            rms_norm_with(&pool(1), WidePlain, &x, &weight, 1e-5, &mut wide);
            assert_eq!(bits(&scalar), bits(&wide), "width {width}");
            for &level in Level::available() {
                let mut got = vec![f32::NAN; x.len()];
                rms_norm(&pool(2), level, &x, &weight, 1e-5, &mut got);
                assert_eq!(bits(&scalar), bits(&got), "width {width}, {level:?}");
            }
        }
    }
}

#[test]
fn zeros_extremes_and_nothing() {
    for &level in Level::available() {
        let norm = |x: &[f32]| {
            let mut out = vec![f32::NAN; x.len()];
            rms_norm(&pool(1), level, x, &[1.0; 20], 1e-6, &mut out);
            out
        };
        assert!(norm(&[0.0; 20]).iter().all(|&x| x == 0.0));
        assert!(norm(&[f32::MAX; 20]).iter().all(|&x| x == 0.0), "the mean overflows");
        assert!(norm(&[f32::NAN; 20]).iter().all(|x| x.is_nan()));
        assert!(norm(&[]).is_empty());
    }
}

#[test]
fn sums_of_rows_and_of_everything() {
    for &level in Level::available() {
        for (rows, width) in [(1, 1), (3, 17), (40, 576), (0, 4)] {
            let (x, delta, row) = (numbers(1, rows * width), numbers(2, rows * width), numbers(3, width));
            let mut sum = x.clone();
            add(&pool(2), level, &mut sum, &delta);
            assert!((0..x.len()).all(|i| sum[i] == x[i] + delta[i]));
            let mut sum = x.clone();
            add_row(&pool(2), level, &mut sum, &row);
            assert!((0..x.len()).all(|i| sum[i] == x[i] + row[i % width]));
        }
    }
}

#[test]
#[should_panic(expected = "100 numbers are not rows of 33")]
fn ragged_rows_are_refused() {
    rms_norm(&pool(1), Level::Scalar, &[0.0; 100], &[1.0; 33], 1e-6, &mut [0.0; 100]);
}
