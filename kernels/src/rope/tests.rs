use std::num::NonZeroUsize;

use super::{Pairing, RopeTable, apply};
use crate::cpu::Level;
use crate::pool::ThreadPool;
use crate::test_support::{bits, numbers};

fn pool() -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(2).expect("two is not zero"))
}

fn frequencies(pairs: usize) -> Vec<f64> {
    (0..pairs).map(|pair| 10_000_f64.powf(-(pair as f64) / pairs as f64)).collect()
}

/// The definition, in f64.
fn expected(pairing: Pairing, frequencies: &[f64], magnitude: f64, position: u32, head: &[f32]) -> Vec<f64> {
    let mut out: Vec<f64> = head.iter().copied().map(f64::from).collect();
    for (pair, frequency) in frequencies.iter().enumerate() {
        let (a, b) = match pairing {
            Pairing::Split => (pair, pair + frequencies.len()),
            Pairing::Interleaved => (2 * pair, 2 * pair + 1),
        };
        let (sine, cosine) = (f64::from(position) * frequency).sin_cos();
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        out[a] = (x * cosine - y * sine) * magnitude;
        out[b] = (y * cosine + x * sine) * magnitude;
    }
    out
}

#[test]
fn every_level_equals_the_definition_and_each_other() {
    for pairing in [Pairing::Split, Pairing::Interleaved] {
        // Whole and partial heads; 40 pairs end in half a vector.
        for (head_dim, pairs) in
            [(2, 1), (64, 32), (80, 40), (96, 48), (128, 64), (128, 32), (72, 36), (64, 0)]
        {
            let (heads, magnitude) = (3, 1.25);
            let frequencies = frequencies(pairs);
            let table = RopeTable::new(pairing, &frequencies, 40_000, magnitude).expect("memory for a test");
            let positions: Vec<u32> = (0..50).map(|row| row * 797).collect();
            let x = numbers(head_dim as u64, positions.len() * heads * head_dim);
            let mut scalar = x.clone();
            apply(&pool(), Level::Scalar, &table, &positions, heads, head_dim, &mut scalar);
            for (index, (got, x)) in scalar.chunks(head_dim).zip(x.chunks(head_dim)).enumerate() {
                let expected = expected(pairing, &frequencies, magnitude, positions[index / heads], x);
                for (&got, expected) in got.iter().zip(expected) {
                    let context = format!("{pairing:?}, {pairs} pairs in {head_dim}, row {}", index / heads);
                    assert!((f64::from(got) - expected).abs() < 4e-7, "{context}: {got}, not {expected}");
                }
            }
            for &level in Level::available() {
                let mut got = x.clone();
                apply(&pool(), level, &table, &positions, heads, head_dim, &mut got);
                assert_eq!(bits(&scalar), bits(&got), "{pairing:?}, {pairs} pairs in {head_dim}, {level:?}");
            }
        }
    }
}

#[test]
fn no_rows_and_no_heads_are_fine() {
    let table = RopeTable::new(Pairing::Split, &frequencies(4), 4, 1.0).expect("memory for a test");
    apply(&pool(), Level::detect(), &table, &[], 2, 8, &mut []);
    apply(&pool(), Level::detect(), &table, &[1], 0, 8, &mut []);
}

#[test]
#[should_panic(expected = "position 4 is beyond the table's 4")]
fn a_position_beyond_the_table_is_refused() {
    let table = RopeTable::new(Pairing::Split, &frequencies(4), 4, 1.0).expect("memory for a test");
    apply(&pool(), Level::detect(), &table, &[0, 4], 1, 8, &mut [0.0; 16]);
}

#[test]
#[should_panic(expected = "4 pairs do not fit in a head of 6")]
fn a_head_smaller_than_the_table_is_refused() {
    let table = RopeTable::new(Pairing::Interleaved, &frequencies(4), 4, 1.0).expect("memory for a test");
    apply(&pool(), Level::detect(), &table, &[0], 1, 6, &mut [0.0; 6]);
}

#[test]
fn a_table_that_no_memory_holds_is_an_error() {
    assert!(RopeTable::new(Pairing::Interleaved, &frequencies(64), usize::MAX / 8, 1.0).is_err());
}
