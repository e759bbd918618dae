//! Tokens drawn from logits: the rules of the engine's sampler, over vocabularies of every awkward size.

mod common;

use common::{check, device, numbers};
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::reference::{self, Drawing};
use lockgate_kernels::cuda::sample::{Draws, NO_TOKEN, Rows, argmax, log_normaliser, sample};

const ALL: Drawing = Drawing { temperature: 1.0, top_k: usize::MAX, top_p: 1.0, min_p: 0.0 };

/// Draws of one row of logits, one for each point.
fn draw(device: &Device, logits: &[f32], drawing: Drawing, points: &[f64]) -> Vec<u32> {
    let rows = points.len();
    let many: Vec<f32> = std::iter::repeat_n(logits, rows).flatten().copied().collect();
    let same = |value: f64| device.upload(&vec![value as f32; rows]).expect("memory");
    let top_k = u32::try_from(drawing.top_k.min(logits.len())).expect("small");
    let mut tokens = device.allocate(rows).expect("memory");
    let rows = Rows { logits: &device.upload(&many).expect("memory"), rows, vocabulary: logits.len() };
    let draws = Draws {
        temperatures: &same(drawing.temperature),
        top_ks: &device.upload(&vec![top_k; points.len()]).expect("memory"),
        top_ps: &same(drawing.top_p),
        min_ps: &same(drawing.min_p),
        points: &device.upload(points).expect("memory"),
    };
    sample(device, rows, &draws, &mut tokens).expect("it runs");
    tokens.to_vec().expect("there")
}

/// Draws at points spread over [0, 1), and compares with the reference wherever the point is not within rounding of the
/// border between two tokens.
fn check_draws(number: usize, logits: &[f32], drawing: Drawing) {
    let points: Vec<f64> =
        (0..5).map(|step| (f64::from(step) + 0.37) / 5.0).chain([0.0, 1.0 - 1e-16]).collect();
    let tokens = draw(&device(number), logits, drawing, &points);
    let choices = reference::choices(logits, drawing);
    for (point, token) in points.into_iter().zip(tokens) {
        let mut before = 0.0;
        // Every token whose stretch is within rounding of the point is right.
        let right = choices.iter().filter(|(_, weight)| {
            let from = before;
            before += weight;
            point >= from - 1e-5 && point <= before + 1e-5
        });
        let right: Vec<usize> = right.map(|choice| choice.0).collect();
        assert!(
            right.contains(&(token as usize)),
            "{drawing:?} of {}, at {point}: {token}, not {right:?}",
            logits.len()
        );
    }
}

fn logits(seed: u64, vocabulary: usize) -> Vec<f32> {
    numbers(seed, vocabulary).iter().map(|value| value * 6.0).collect()
}

#[test]
fn draws_follow_the_engine_s_rules() {
    let mut number = 0;
    for vocabulary in [1, 2, 33, 512, 1500] {
        let row = logits(vocabulary as u64, vocabulary);
        for temperature in [0.3, 1.0, 2.0] {
            for (top_k, top_p, min_p) in [
                (usize::MAX, 1.0, 0.0),
                (usize::MAX, 1.0, 0.1),
                (usize::MAX, 0.6, 0.0),
                (usize::MAX, 0.95, 0.05),
                (1, 1.0, 0.0),
                (2, 1.0, 0.0),
                (20, 1.0, 0.0),
                (20, 0.7, 0.2),
                (400, 0.01, 0.0),
            ] {
                number += 1;
                check_draws(number, &row, Drawing { temperature, top_k, top_p, min_p });
            }
        }
        check_draws(number, &row, Drawing { temperature: 0.0, ..ALL });
    }
}

#[test]
fn equal_logits_go_to_the_smaller_token() {
    // Ties at the border of top-k and of top-p, two zeros, and infinity beside the greatest number.
    let mut row = vec![0.0; 100];
    row[7] = -0.0;
    (row[50], row[60], row[61]) = (3.0, 2.0, 2.0);
    for drawing in [
        Drawing { top_k: 2, ..ALL },
        Drawing { top_k: 10, ..ALL },
        Drawing { top_p: 0.2, ..ALL },
        Drawing { top_p: 0.5, top_k: 90, ..ALL },
        Drawing { temperature: 0.0, ..ALL },
        ALL,
    ] {
        check_draws(3, &row, drawing);
    }
    (row[80], row[81]) = (f32::MAX, f32::INFINITY);
    check_draws(2, &row, Drawing { top_k: 2, ..ALL });
    let device = device(1);
    assert_eq!(draw(&device, &row, Drawing { temperature: 0.0, ..ALL }, &[0.5]), [80]);
    assert_eq!(draw(&device, &row, Drawing { top_k: 1, ..ALL }, &[0.5]), [80]);
}

#[test]
fn impossible_tokens_are_never_drawn() {
    let mut row = logits(5, 600);
    for token in (0..600).step_by(3) {
        row[token] = if token % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY };
    }
    for drawing in [ALL, Drawing { top_k: 500, ..ALL }, Drawing { top_p: 0.999, temperature: 2.0, ..ALL }] {
        check_draws(1, &row, drawing);
    }
    let device = device(0);
    for nothing in [vec![f32::NAN; 40], vec![f32::NEG_INFINITY; 40]] {
        assert_eq!(draw(&device, &nothing, ALL, &[0.5]), [NO_TOKEN]);
        assert_eq!(draw(&device, &nothing, Drawing { top_k: 3, ..ALL }, &[0.5]), [NO_TOKEN]);
    }
}

#[test]
fn the_greatest_and_log_probabilities_of_every_row() {
    for (number, vocabulary) in [1, 5, 512, 1025].into_iter().enumerate() {
        let device = device(number);
        let mut rows: Vec<Vec<f32>> = (0..3).map(|row| logits(row * 9 + number as u64, vocabulary)).collect();
        rows[1][vocabulary - 1] = f32::NAN;
        rows[2][0] = 40.0;
        rows[2][vocabulary - 1] = 40.0;
        let all = device.upload(&rows.concat()).expect("memory");
        let (mut tokens, mut sums) =
            (device.allocate(3).expect("memory"), device.allocate(6).expect("memory"));
        let batch = Rows { logits: &all, rows: 3, vocabulary };
        argmax(&device, batch, &mut tokens).expect("it runs");
        log_normaliser(&device, batch, &mut sums).expect("it runs");
        let (tokens, sums) = (tokens.to_vec().expect("there"), sums.to_vec().expect("there"));
        for (row, logits) in rows.iter().enumerate() {
            let best = reference::choices(logits, Drawing { temperature: 0.0, ..ALL });
            let expected = best.first().map_or(NO_TOKEN, |best| best.0 as u32);
            assert_eq!(tokens[row], expected, "row {row} of {vocabulary}");
            if expected != NO_TOKEN {
                let got = sums[2 * row] + sums[2 * row + 1];
                check(got, reference::log_normaliser(logits), 1e-5, &format!("row {row} of {vocabulary}"));
            }
        }
        assert!(
            argmax(&device, Rows { rows: 4, ..batch }, &mut device.allocate(4).expect("memory")).is_err()
        );
    }
}
