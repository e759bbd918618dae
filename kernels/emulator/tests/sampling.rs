//! Tokens drawn from logits: the rules of the engine's sampler, over vocabularies of every awkward size.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::{check, device, numbers};
use lockgate_emulator::{Operation, Probe, Recorder};
use lockgate_kernels::cuda::known::KnownWords;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::reference::{self, Drawing};
use lockgate_kernels::cuda::sample::{Adjustments, Draw, Drawn, Draws};
use lockgate_kernels::cuda::seen::Seen;

const ALL: Drawing = Drawing { temperature: 1.0, top_k: usize::MAX, top_p: 1.0, min_p: 0.0 };
const GREEDY: Drawing = Drawing { temperature: 0.0, ..ALL };

/// A draw from a row as it is, of all of whose logits the first `tokens` count.
fn plain((row, tokens): (usize, usize), drawing: Drawing, point: f64) -> Draw<'static> {
    Draw {
        row,
        tokens,
        temperature: drawing.temperature as f32,
        top_k: drawing.top_k,
        top_p: drawing.top_p as f32,
        min_p: drawing.min_p as f32,
        point,
        adjustments: Adjustments { biases: &[], seen: None, repetition: 1.0, presence: 0.0, frequency: 0.0 },
        log_probability: false,
    }
}

/// What these draws take from rows of logits.
fn drawn(device: &Device, rows: &[Vec<f32>], draws: &[Draw<'_>]) -> Vec<Option<Drawn>> {
    let mut logits = device.upload(&rows.concat()).expect("memory");
    let mut all = Draws::new(device, draws.len(), 100).expect("memory");
    draws.iter().for_each(|draw| assert!(all.add(draw), "there is room"));
    all.upload().expect("there is room");
    all.draw(device, &mut logits, rows[0].len(), None).expect("it runs");
    all.read().expect("they are there").collect()
}

/// Draws of one row of logits, one for each point.
fn draw(device: &Device, logits: &[f32], drawing: Drawing, points: &[f64]) -> Vec<Option<u32>> {
    let rows = vec![logits.to_vec(); points.len()];
    let draws: Vec<Draw<'_>> =
        points.iter().enumerate().map(|(row, point)| plain((row, logits.len()), drawing, *point)).collect();
    drawn(device, &rows, &draws).into_iter().map(|drawn| drawn.map(|drawn| drawn.token)).collect()
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
            token.is_some_and(|token| right.contains(&(token as usize))),
            "{drawing:?} of {}, at {point}: {token:?}, not {right:?}",
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
        check_draws(number, &row, GREEDY);
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
        GREEDY,
        ALL,
    ] {
        check_draws(3, &row, drawing);
    }
    (row[80], row[81]) = (f32::MAX, f32::INFINITY);
    check_draws(2, &row, Drawing { top_k: 2, ..ALL });
    let device = device(1);
    assert_eq!(draw(&device, &row, GREEDY, &[0.5]), [Some(80)]);
    assert_eq!(draw(&device, &row, Drawing { top_k: 1, ..ALL }, &[0.5]), [Some(80)]);
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
        assert_eq!(draw(&device, &nothing, ALL, &[0.5]), [None]);
        assert_eq!(draw(&device, &nothing, Drawing { top_k: 3, ..ALL }, &[0.5]), [None]);
    }
}

/// Rows out of order, some of them left out, whose last logits do not count; log-probabilities where they are wanted.
#[test]
fn the_greatest_and_log_probabilities_of_rows_that_are_named() {
    for (number, tokens) in [1, 5, 512, 1025].into_iter().enumerate() {
        let mut rows: Vec<Vec<f32>> = (0..4).map(|row| logits(row * 9 + number as u64, tokens + 3)).collect();
        rows[1][tokens - 1] = f32::NAN;
        rows[2][0] = 40.0;
        rows[2][tokens - 1] = 40.0;
        rows.iter_mut().for_each(|row| row[tokens..].fill(90.0));
        let named = [(2, true), (0, false), (1, true)];
        let draws =
            named.map(|(row, log_probability)| Draw { log_probability, ..plain((row, tokens), GREEDY, 0.5) });
        for ((row, wants), found) in named.into_iter().zip(drawn(&device(number), &rows, &draws)) {
            let logits = &rows[row][..tokens];
            let best = reference::choices(logits, GREEDY).first().map(|best| best.0);
            assert_eq!(found.map(|found| found.token as usize), best, "row {row} of {tokens}");
            let (Some(found), Some(best)) = (found, best) else { continue };
            assert_eq!(found.log_probability.is_some(), wants);
            if let Some(found) = found.log_probability {
                let expected = reference::log_probability(logits, best);
                check(found, expected, 1e-5, &format!("row {row} of {tokens}"));
            }
        }
    }
}

/// Biases and penalties move one draw and not those of other rows, and log-probabilities are of the logits as they were.
#[test]
fn adjustments_change_what_is_drawn_and_nothing_else() {
    let tokens = 700;
    let row = logits(11, tokens);
    let seen = HashMap::from([(3, 0), (40, 2), (41, 1), (699, 5), (5000, 1)]);
    let (biases, merged) = ([(40, -2.5), (7, 4.0), (40, 1.0), (700, 50.0)], [(7, 4.0), (40, -1.5)]);
    let mut touched = 0;
    let counted = [(3, 0), (40, 2), (41, 1), (699, 5)];
    for (number, [repetition, presence, frequency]) in
        [[1.3, 0.0, 0.0], [0.7, 1.5, -0.25], [1.0, -2.0, 2.0]].into_iter().enumerate()
    {
        let device = device(number);
        let penalties = [repetition, presence, frequency].map(f64::from);
        let expected = reference::adjust(&row, &merged, &counted, penalties);
        let owner = Arc::new(());
        let seen = Some(Seen { times: &seen, owner: &owner, drawn: 7 });
        let adjustments = Adjustments { biases: &biases, seen, repetition, presence, frequency };
        // Whatever is touched, beside one rival that is not: a little ahead of it, and a little behind.
        for (token, &adjusted) in expected.iter().enumerate() {
            if adjusted == f64::from(row[token]) {
                continue;
            }
            for (ahead, winner) in [(0.01, token), (-0.01, 101)] {
                let mut raised = vec![-60.0; tokens];
                (raised[token], raised[101]) = (row[token], (adjusted - ahead) as f32);
                let rows = [raised, row.clone()];
                let draws = [
                    Draw { adjustments, log_probability: true, ..plain((0, tokens), GREEDY, 0.0) },
                    plain((1, tokens), GREEDY, 0.0),
                ];
                let found = drawn(&device, &rows, &draws);
                let (first, second) = (found[0].expect("finite"), found[1].expect("finite"));
                assert_eq!(first.token as usize, winner, "token {token}, ahead by {ahead}");
                assert_eq!(second.token as usize, reference::choices(&row, GREEDY)[0].0, "the other row");
                let logarithm = first.log_probability.expect("wanted");
                let expected = reference::log_probability(&rows[0], winner);
                check(logarithm, expected, 1e-5, &format!("token {token}, by its raw logit"));
                touched += 1;
            }
        }
    }
    assert!(touched >= 2 * 3 * 4, "{touched}");
}

#[test]
fn what_has_no_room_or_no_row_is_refused() {
    let device = device(0);
    let (many, owner) = (HashMap::from([(1, 1), (2, 1), (3, 0)]), Arc::new(()));
    let mut draws = Draws::new(&device, 2, 2).expect("memory");
    let seen = Some(Seen { times: &many, owner: &owner, drawn: 0 });
    let seen = Adjustments { biases: &[], seen, repetition: 1.1, presence: 0.0, frequency: 0.0 };
    assert!(!draws.add(&Draw { adjustments: seen, ..plain((0, 8), ALL, 0.5) }), "three entries");
    assert!(draws.add(&plain((0, 8), ALL, 0.5)) && draws.add(&plain((5, 8), ALL, 0.5)));
    assert!(!draws.add(&plain((1, 8), ALL, 0.5)), "three rows");
    draws.upload().expect("there is room");
    let mut logits = device.zeros(40).expect("memory");
    let error = draws.draw(&device, &mut logits, 8, None).expect_err("there is no row 5").to_string();
    assert!(error.contains("there are no 6 rows of 8 logits"), "{error}");
    draws.clear();
    assert!(draws.is_empty() && draws.add(&plain((0, 9), ALL, 0.5)));
    assert!(draws.draw(&device, &mut logits, 8, None).is_err(), "rows are not that long");
}

/// A sequence's tokens are sent once; from then on the device counts those that it draws, and the next draw is by them. What
/// it draws is also where the next step looks for it.
#[test]
fn what_was_drawn_is_remembered_there() {
    let tokens = 300;
    for number in 0..3 {
        let probe = Arc::new(Probe::new(Arc::clone(device(number).driver())));
        let device = Device::new(probe.clone());
        let mut all = Draws::new(&device, 2, 700).expect("memory");
        let mut next = KnownWords::new(&device, 2).expect("memory");
        let rows = [logits(1, tokens), logits(2, tokens)];
        // What the prompt had, and a list that outgrows its first room.
        let mut seen = [HashMap::from([(4, 0), (5, 0)]), HashMap::new()];
        let owners = [Arc::new(()), Arc::new(())];
        let mut uploads = Vec::new();
        for step in 0..150 {
            let before = probe.counts().uploads;
            all.clear();
            let penalties = [[1.0, 0.5, 0.25], [1.9, 2.0, 0.0]];
            for row in 0..2 {
                let own = Seen { times: &seen[row], owner: &owners[row], drawn: step };
                let [repetition, presence, frequency] = penalties[row];
                let adjustments =
                    Adjustments { biases: &[], seen: Some(own), repetition, presence, frequency };
                let draw =
                    Draw { adjustments, log_probability: step % 3 == 0, ..plain((row, tokens), GREEDY, 0.0) };
                assert!(all.add(&draw));
            }
            all.upload().expect("there is room");
            uploads.push(probe.counts().uploads - before);
            let mut there = device.upload(&rows.concat()).expect("memory");
            all.draw(&device, &mut there, tokens, Some(&mut next)).expect("it runs");
            let found: Vec<u32> =
                all.read().expect("there").map(|drawn| drawn.expect("finite").token).collect();
            assert_eq!(next.there().to_vec().expect("there"), found);
            for (row, token) in found.into_iter().enumerate() {
                let counted: Vec<(usize, u32)> =
                    seen[row].iter().map(|(token, times)| (*token as usize, *times)).collect();
                let adjusted = reference::adjust(&rows[row], &[], &counted, penalties[row].map(f64::from));
                let best = adjusted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!(best - adjusted[token as usize] < 1e-5, "step {step}, row {row}: {token}");
                *seen[row].entry(token).or_default() += 1;
            }
            // What is drawn and never read, as by a step that failed, is not taken for the sequence's own.
            if step == 70 {
                all.draw(&device, &mut there, tokens, None).expect("it runs");
            }
        }
        // Draws, adjustments and two lists; then only what outgrew its room or changes with the wish for a log-probability.
        assert_eq!(uploads[0], 4, "{uploads:?}");
        let lists: u64 = uploads[1..].iter().sum::<u64>();
        assert!(uploads.iter().filter(|uploads| **uploads == 0).count() > 40, "{uploads:?}");
        assert!(lists < 2 * 150, "{uploads:?}");
    }
}

/// What ended makes room for others; where there is none, a draw is refused and nothing is lost.
#[test]
fn lists_share_what_room_there_is() {
    let device = device(0);
    let mut draws = Draws::new(&device, 4, 200).expect("memory");
    let times: HashMap<u32, u32> = (0..40).map(|token| (token, 1)).collect();
    let add = |draws: &mut Draws, row: usize, owner: &Arc<()>| {
        let seen = Some(Seen { times: &times, owner, drawn: 1 });
        let adjustments = Adjustments { biases: &[], seen, repetition: 1.1, presence: 0.0, frequency: 0.0 };
        draws.add(&Draw { adjustments, ..plain((row, 50), ALL, 0.5) })
    };
    let owners: Vec<Arc<()>> = (0..3).map(|_| Arc::new(())).collect();
    assert!(add(&mut draws, 0, &owners[0]) && add(&mut draws, 1, &owners[1]));
    assert!(!add(&mut draws, 2, &owners[2]), "there is room for two");
    draws.upload().expect("there is room");
    draws.clear();
    drop(owners[0].clone());
    assert!(!add(&mut draws, 0, &owners[2]), "the first is there");
    let mut owners = owners.into_iter();
    drop(owners.next());
    let (second, third) = (owners.next().expect("three"), owners.next().expect("three"));
    assert!(add(&mut draws, 0, &third) && add(&mut draws, 1, &second));
    draws.upload().expect("there is room");
    let mut rows = device.zeros(2 * 50).expect("memory");
    draws.draw(&device, &mut rows, 50, None).expect("it runs");
    assert_eq!(draws.read().expect("there").flatten().count(), 2);
}

/// Draws allocate nothing, and bring back eight bytes a row in one copy.
#[test]
fn draws_come_back_alone() {
    let recorder = Arc::new(Recorder::new());
    let device = Device::new(recorder.clone());
    let mut logits = device.zeros(3 * 50).expect("memory");
    let mut draws = Draws::new(&device, 3, 10).expect("memory");
    let _ = recorder.take_operations();
    for round in 0..2 {
        draws.clear();
        for row in 0..3 {
            let biases = &[(4, 1.0)];
            let adjustments = Adjustments { biases, ..plain((0, 1), ALL, 0.0).adjustments };
            let adjustments = if row == 1 { adjustments } else { Adjustments { biases: &[], ..adjustments } };
            let log_probability = round == 1 && row == 2;
            let draw = Draw { adjustments, log_probability, ..plain((row, 50), ALL, 0.5) };
            assert!(draws.add(&draw));
        }
        draws.upload().expect("there is room");
        draws.draw(&device, &mut logits, 50, None).expect("they fit");
        assert_eq!(draws.read().expect("there").count(), 3);
        let operations = recorder.take_operations();
        let kernels: Vec<&str> = operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Launch(launch) => Some(launch.kernel),
                _ => None,
            })
            .collect();
        let all = ["adjust_logits", "sample", "restore_logits", "log_probability"];
        assert_eq!(kernels, &all[..if round == 0 { 2 } else { 4 }]);
        let downloads = operations.iter().filter_map(|operation| match operation {
            Operation::Download(_, _, bytes) => Some(*bytes),
            _ => None,
        });
        assert_eq!(downloads.collect::<Vec<_>>(), [3 * 8]);
    }
    assert_eq!(recorder.violations(), Vec::<String>::new());
}
