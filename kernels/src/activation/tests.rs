use std::num::NonZeroUsize;

use super::silu_mul;
use crate::cpu::Level;
use crate::pool::ThreadPool;
use crate::test_support::{bits, numbers, ulps};

fn compute(threads: usize, level: Level, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; gate.len()];
    let pool = ThreadPool::new(NonZeroUsize::new(threads).expect("at least one thread"));
    silu_mul(&pool, level, gate, up, &mut out);
    out
}

#[test]
fn every_level_equals_the_definition_and_each_other() {
    for length in [0, 1, 7, 16, 17, 31, 1536, 20_001] {
        for range in [1.0, 10.0, 80.0] {
            let gate: Vec<f32> = numbers(length as u64, length).iter().map(|gate| gate * range).collect();
            let up = numbers(9, length);
            let scalar = compute(1, Level::Scalar, &gate, &up);
            for (index, &got) in scalar.iter().enumerate() {
                let x = f64::from(gate[index]);
                let expected = x / (1.0 + (-x).exp()) * f64::from(up[index]);
                assert!(ulps(got, expected) <= 4.0, "silu({x}) · {}: {got}, not {expected}", up[index]);
            }
            for &level in Level::available() {
                assert_eq!(bits(&scalar), bits(&compute(2, level, &gate, &up)), "{length}, {level:?}");
            }
        }
    }
}

#[test]
fn extreme_gates() {
    let gates = [f32::NEG_INFINITY, -1e30, -200.0, -0.0, 0.0, 200.0, 1e30, f32::INFINITY, f32::NAN];
    for &level in Level::available() {
        let out = compute(1, level, &gates, &[1.0; 9]);
        assert!(out[0].is_nan() && out[8].is_nan());
        assert!(out[1..5].iter().all(|&x| x == 0.0), "{out:?}");
        assert_eq!(out[5..8], [200.0, 1e30, f32::INFINITY]);
    }
}

#[test]
#[should_panic(expected = "differ in length")]
fn different_lengths_are_refused() {
    compute(1, Level::Scalar, &[1.0; 3], &[1.0; 4]);
}
