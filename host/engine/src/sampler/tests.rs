use std::collections::BTreeMap;

use lockgate_api::{Mask, Sampling};
use proptest::prelude::*;

use super::*;

const VOCABULARY: usize = 8;

/// Probabilities 0.4, 0.2, 0.15, 0.1, 0.05, 0.05, 0.03, 0.02 at tokens 3, 0, 7, 1, 2, 4, 6, 5.
fn logits() -> Vec<f32> {
    [0.2f32, 0.1, 0.05, 0.4, 0.05, 0.02, 0.03, 0.15].iter().map(|share| share.ln() + 3.0).collect()
}

fn parameters(sampling: Sampling) -> Parameters {
    Parameters::resolve(&sampling, &Sampling::default(), VOCABULARY, 1).expect("in range")
}

/// How often each token came up in `draws` draws that do not influence each other.
fn shares(sampling: Sampling, logits: &[f32], draws: u64) -> BTreeMap<u32, f64> {
    let mut scratch = Scratch::default();
    let mut shares = BTreeMap::new();
    for seed in 0..draws {
        let parameters = Parameters { seed, ..parameters(sampling.clone()) };
        let token = Sampler::new(parameters, 0, &[]).sample(logits, &mut scratch).expect("finite logits");
        *shares.entry(token).or_default() += 1.0 / draws as f64;
    }
    shares
}

fn check(sampling: Sampling, expected: &[(u32, f64)]) {
    let shares = shares(sampling.clone(), &logits(), 20_000);
    let tokens: Vec<u32> = shares.keys().copied().collect();
    let mut wanted: Vec<u32> = expected.iter().map(|&(token, _)| token).collect();
    wanted.sort_unstable();
    assert_eq!(tokens, wanted, "{sampling:?}");
    let total: f64 = expected.iter().map(|(_, share)| share).sum();
    for (token, share) in expected {
        let (seen, share) = (shares[token], share / total);
        // Four standard deviations of 20,000 draws.
        let slack = 4.0 * (share * (1.0 - share) / 20_000.0).sqrt() + 1e-9;
        assert!((seen - share).abs() < slack, "{sampling:?}: token {token}, {seen} instead of {share}");
    }
}

#[test]
fn every_parameter_leaves_the_distribution_that_it_names() {
    let all = [(3, 0.4), (0, 0.2), (7, 0.15), (1, 0.1), (2, 0.05), (4, 0.05), (6, 0.03), (5, 0.02)];
    check(Sampling::default(), &all);
    check(Sampling { top_k: Some(0), top_p: Some(1.0), min_p: Some(0.0), ..Sampling::default() }, &all);
    check(Sampling { top_k: Some(100), ..Sampling::default() }, &all);
    check(Sampling { top_k: Some(3), ..Sampling::default() }, &all[..3]);
    // Of two equally likely tokens the smaller id stays.
    check(Sampling { top_k: Some(5), ..Sampling::default() }, &all[..5]);
    check(Sampling { top_p: Some(0.7), ..Sampling::default() }, &all[..3]);
    check(Sampling { top_p: Some(0.01), ..Sampling::default() }, &all[..1]);
    check(Sampling { min_p: Some(0.2), ..Sampling::default() }, &all[..4]);
    check(Sampling { min_p: Some(1.0), ..Sampling::default() }, &all[..1]);
    check(Sampling { top_p: Some(0.7), min_p: Some(0.45), ..Sampling::default() }, &all[..2]);
    // top-p is of what top-k left: 0.4 and 0.2 of 0.75 are 80 %.
    check(Sampling { top_k: Some(3), top_p: Some(0.79), ..Sampling::default() }, &all[..2]);
    let squares = all.map(|(token, share)| (token, share * share));
    check(Sampling { temperature: Some(0.5), ..Sampling::default() }, &squares);
    // min-p is of the tempered distribution: 0.15² is less than 0.2 of 0.4².
    check(Sampling { temperature: Some(0.5), min_p: Some(0.2), ..Sampling::default() }, &squares[..2]);
    check(Sampling { temperature: Some(1e-40), ..Sampling::default() }, &all[..1]);
}

#[test]
fn a_bias_can_ban_and_can_force() {
    let banned = Sampling { logit_bias: vec![(3, -100.0)], ..Sampling::default() };
    assert!(!shares(banned, &logits(), 2_000).contains_key(&3));
    let forced = Sampling { logit_bias: vec![(5, 100.0)], ..Sampling::default() };
    assert_eq!(shares(forced, &logits(), 2_000).into_keys().collect::<Vec<_>>(), [5]);
}

fn greedy(sampling: Sampling, prompt: &[u32], logits: &[f32], count: usize) -> Vec<u32> {
    let sampling = Sampling { temperature: Some(0.0), ..sampling };
    let mut sampler = Sampler::new(parameters(sampling), 0, prompt);
    let mut scratch = Scratch::default();
    (0..count).map(|_| sampler.sample(logits, &mut scratch).expect("finite")).collect()
}

#[test]
fn penalties_count_what_they_say() {
    let logits = [1.0, 0.9, -1.0, -1.1, -5.0, -5.0, -5.0, -5.0];
    assert_eq!(greedy(Sampling::default(), &[0], &logits, 3), [0, 0, 0]);
    // Presence: once, from the first time on; the prompt does not count.
    let presence = Sampling { presence_penalty: Some(0.15), ..Sampling::default() };
    assert_eq!(greedy(presence, &[0], &logits, 4), [0, 1, 0, 0]);
    // Frequency: each time.
    let frequency = Sampling { frequency_penalty: Some(0.06), ..Sampling::default() };
    assert_eq!(greedy(frequency, &[0], &logits, 6), [0, 0, 1, 0, 1, 0]);
    // Repetition: the prompt counts, and a negative logit is multiplied.
    let repetition = Sampling { repetition_penalty: Some(2.0), ..Sampling::default() };
    assert_eq!(greedy(repetition.clone(), &[0], &logits, 2), [1, 0]);
    let negative = [-1.0, -1.1, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0];
    assert_eq!(greedy(repetition, &[0], &negative, 2), [1, 0]);
}

#[test]
fn equal_logits_go_to_the_smaller_token_when_greedy() {
    assert_eq!(greedy(Sampling::default(), &[], &[0.0, 2.0, 2.0, 1.0], 1), [1]);
    let top_1 = Sampling { top_k: Some(1), ..Sampling::default() };
    let mut sampler = Sampler::new(parameters(top_1), 0, &[]);
    assert_eq!(sampler.sample(&[0.0, 2.0, 2.0, 1.0], &mut Scratch::default()), Ok(1));
}

#[test]
fn a_seed_fixes_the_answer_and_another_choice_or_seed_changes_it() {
    let run = |seed, choice| -> Vec<u32> {
        let mut sampler = Sampler::new(Parameters { seed, ..parameters(Sampling::default()) }, choice, &[]);
        let mut scratch = Scratch::default();
        (0..32).map(|_| sampler.sample(&logits(), &mut scratch).expect("finite")).collect()
    };
    assert_eq!(run(7, 0), run(7, 0));
    assert_ne!(run(7, 0), run(8, 0));
    assert_ne!(run(7, 0), run(7, 1));
}

#[test]
fn nothing_usable_is_an_error_and_anything_usable_is_taken() {
    let mut scratch = Scratch::default();
    for temperature in [0.0, 1.0] {
        let parameters = parameters(Sampling { temperature: Some(temperature), ..Sampling::default() });
        let mut sample =
            |logits: &[f32]| Sampler::new(parameters.clone(), 0, &[]).sample(logits, &mut scratch);
        assert_eq!(sample(&[]), Err(NoLogit));
        assert_eq!(sample(&[f32::NAN; 8]), Err(NoLogit));
        assert_eq!(sample(&[f32::NEG_INFINITY; 8]), Err(NoLogit));
        assert_eq!(sample(&[f32::NAN, f32::NEG_INFINITY, -3e38, f32::NAN]), Ok(2));
        assert_eq!(sample(&[0.0, f32::INFINITY, 3.0]), Ok(1));
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let bad = |sampling: Sampling| {
        Parameters::resolve(&sampling, &Sampling::default(), VOCABULARY, 1)
            .expect_err("out of range")
            .to_string()
    };
    let sampling = Sampling::default;
    assert_eq!(
        bad(Sampling { logit_bias: vec![(8, 1.0)], ..sampling() }),
        "logit_bias: token 8 is not in the vocabulary, which has 8 tokens",
    );
    assert_eq!(
        bad(Sampling { logit_bias: vec![(7, f32::NAN)], ..sampling() }),
        "logit_bias: NaN for token 7 is not between -100 and 100",
    );
    assert_eq!(
        bad(Sampling { temperature: Some(-0.1), ..sampling() }),
        "temperature: -0.1 is not between 0 and 2"
    );
    assert_eq!(bad(Sampling { top_p: Some(0.0), ..sampling() }), "top_p: 0 is not above 0 and at most 1");
    assert_eq!(bad(Sampling { min_p: Some(f32::NAN), ..sampling() }), "min_p: NaN is not between 0 and 1");
    assert!(bad(Sampling { repetition_penalty: Some(0.0), ..sampling() }).starts_with("repetition_penalty"));
    assert!(bad(Sampling { presence_penalty: Some(2.5), ..sampling() }).starts_with("presence_penalty"));
    assert!(bad(Sampling { frequency_penalty: Some(-2.5), ..sampling() }).starts_with("frequency_penalty"));
}

#[test]
fn what_a_request_leaves_open_comes_from_the_model_and_then_from_openai() {
    let own = Sampling { temperature: Some(0.2), top_p: Some(0.9), ..Sampling::default() };
    let request = Sampling { temperature: Some(0.7), ..Sampling::default() };
    let resolved = Parameters::resolve(&request, &own, VOCABULARY, 5).expect("in range");
    assert_eq!((resolved.temperature, resolved.top_p, resolved.seed), (0.7, 0.9, 5));
    let plain = parameters(Sampling::default());
    assert_eq!((plain.temperature, plain.top_k, plain.top_p, plain.min_p), (1.0, VOCABULARY, 1.0, 0.0));
    assert_eq!((plain.repetition_penalty, plain.presence_penalty, plain.frequency_penalty), (1.0, 0.0, 0.0));
}

#[test]
fn log_probabilities_are_of_the_raw_distribution() {
    let mut scratch = Scratch::default();
    let found = logprobs(&logits(), 1, 3, &mut scratch);
    assert!((found.chosen - 0.1f32.ln()).abs() < 1e-5);
    let expected = [(3, 0.4f32), (0, 0.2), (7, 0.15)];
    assert_eq!(found.top.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [3, 0, 7]);
    for ((_, found), (_, share)) in found.top.iter().zip(expected) {
        assert!((found - share.ln()).abs() < 1e-5);
    }
    let all = logprobs(&logits(), 0, VOCABULARY, &mut scratch);
    let mass: f64 = all.top.iter().map(|&(_, logprob)| f64::from(logprob).exp()).sum();
    assert!((mass - 1.0).abs() < 1e-6, "{mass}");
    let odd = logprobs(&[f32::NAN, 0.0, f32::NEG_INFINITY, 0.0], 0, 4, &mut scratch);
    assert_eq!(odd.chosen, -9999.0, "JSON has no infinity");
    assert_eq!(odd.top.len(), 2);
    assert_eq!(logprobs(&[5.0], 0, 0, &mut scratch), Logprobs { chosen: 0.0, top: Vec::new() });
}

/// The straightforward sampler: sorts everything, in f64.
fn naive_kept(logits: &[f32], parameters: &Parameters) -> Vec<u32> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from((logit - best) / parameters.temperature).exp();
    let mut all: Vec<(u32, f64)> =
        logits.iter().enumerate().map(|(token, &logit)| (token as u32, weight(logit))).collect();
    all.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    all.truncate(parameters.top_k);
    let total: f64 = all.iter().map(|(_, weight)| weight).sum();
    let mut mass = 0.0;
    let mut kept = Vec::new();
    for (token, weight) in all {
        // A hair of tolerance where f32 and f64 may disagree about the last token.
        let nucleus_full = mass >= f64::from(parameters.top_p) * total * (1.0 + 1e-5);
        if !kept.is_empty() && (nucleus_full || weight < f64::from(parameters.min_p) * (1.0 - 1e-5)) {
            break;
        }
        mass += weight;
        kept.push(token);
    }
    kept
}

proptest! {
    #[test]
    fn a_draw_is_always_a_token_that_the_parameters_keep(
        logits in prop::collection::vec(-12.0..12.0f32, 1..2000),
        temperature in 0.05..2.0f32,
        top_k in 0..200u32,
        top_p in 0.01..=1.0f32,
        min_p in 0.0..=1.0f32,
        seed: u64,
    ) {
        let sampling = Sampling {
            temperature: Some(temperature),
            top_k: Some(top_k),
            top_p: Some(top_p),
            min_p: Some(min_p),
            seed: Some(seed),
            ..Sampling::default()
        };
        let parameters = Parameters::resolve(&sampling, &Sampling::default(), logits.len(), 0).expect("in range");
        let kept = naive_kept(&logits, &parameters);
        let mut sampler = Sampler::new(parameters, 0, &[]);
        let mut scratch = Scratch::default();
        for _ in 0..4 {
            let token = sampler.sample(&logits, &mut scratch).expect("finite");
            prop_assert!(kept.contains(&token), "{token} is not among the {} kept", kept.len());
        }
    }

    #[test]
    fn no_logits_make_it_panic(
        bits in prop::collection::vec(any::<u32>(), 0..300),
        temperature in prop_oneof![Just(0.0f32), Just(1.0), Just(f32::MIN_POSITIVE), Just(2.0)],
        top_k in 0..5u32,
        top_p in prop_oneof![Just(1.0f32), Just(0.5), Just(f32::MIN_POSITIVE)],
        penalty in prop_oneof![Just(1.0f32), Just(f32::MIN_POSITIVE), Just(f32::MAX)],
    ) {
        let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let sampling = Sampling {
            temperature: Some(temperature),
            top_k: Some(top_k),
            top_p: Some(top_p),
            repetition_penalty: Some(penalty),
            frequency_penalty: Some(-2.0),
            ..Sampling::default()
        };
        let parameters = Parameters::resolve(&sampling, &Sampling::default(), logits.len(), 0).expect("in range");
        let mut sampler = Sampler::new(parameters, 0, &[0, 1, 2]);
        let mut scratch = Scratch::default();
        for _ in 0..3 {
            if let Ok(token) = sampler.sample(&logits, &mut scratch) {
                prop_assert!(!logits[token as usize].is_nan());
                let found = logprobs(&logits, token, 5, &mut scratch);
                prop_assert!(found.chosen <= 0.0 && found.chosen >= -9999.0);
            }
        }
    }
}

#[test]
fn a_hook_adds_to_logits_and_takes_chances_away() {
    let steered = |steering: Steering, temperature: f32| {
        let mut scratch = Scratch::default();
        let sampling = Sampling { temperature: Some(temperature), ..Sampling::default() };
        let mut drawn: Vec<Result<u32, NoLogit>> = (0..200)
            .map(|seed| {
                let parameters = Parameters { seed, ..parameters(sampling.clone()) };
                Sampler::new(parameters, 0, &[]).sample_steered(&logits(), Some(&steering), &mut scratch)
            })
            .collect();
        drawn.sort_unstable_by_key(|token| token.ok());
        drawn.dedup();
        drawn
    };
    let mask = |mask: Mask| Steering { mask, ..Steering::default() };
    assert_eq!(steered(Steering::default(), 0.0), [Ok(3)]);
    assert_eq!(steered(mask(Mask::Never(vec![3, 0, 99])), 0.0), [Ok(7)]);
    assert_eq!(steered(mask(Mask::Only(vec![5, 1, 5, 99])), 0.0), [Ok(1)]);
    assert_eq!(steered(mask(Mask::Only(vec![5, 1, 5, 99])), 2.0), [Ok(1), Ok(5)]);
    assert_eq!(steered(mask(Mask::Only(vec![99])), 1.0), [Err(NoLogit)]);
    assert_eq!(steered(mask(Mask::Only(Vec::new())), 0.0), [Err(NoLogit)]);
    assert_eq!(steered(mask(Mask::Never((0..8).collect())), 1.0), [Err(NoLogit)]);
    let biases = vec![(5, 100.0), (99, 100.0)];
    assert_eq!(steered(Steering { biases: biases.clone(), mask: Mask::All }, 0.0), [Ok(5)]);
    // The mask has the last word.
    assert_eq!(steered(Steering { biases, mask: Mask::Never(vec![5]) }, 0.0), [Ok(3)]);
}

#[test]
fn a_hook_sees_the_raw_logits_of_the_most_likely() {
    let mut scratch = Scratch::default();
    let mut logits = logits();
    logits[7] = f32::NAN;
    logits[1] = f32::NEG_INFINITY;
    let seen = most_likely(&logits, 3, &mut scratch);
    assert_eq!(seen, [(3, logits[3]), (0, logits[0]), (2, logits[2])]);
    assert_eq!(most_likely(&logits, 100, &mut scratch).len(), 6);
}
