//! With the real default model, whose path `LOCKGATE_TEST_MODEL` gives (`cargo xtask test` fetches it and sets it).

use std::path::PathBuf;
use std::time::Instant;

use super::*;

/// The model, or `None` with a word on standard error where the tests run without it.
fn model(options: ModelOptions) -> Option<LocalModel> {
    let Some(path) = std::env::var_os("LOCKGATE_TEST_MODEL").map(PathBuf::from) else {
        eprintln!("skipped: LOCKGATE_TEST_MODEL names no model file");
        return None;
    };
    Some(LocalModel::load(&path, &options, &|_| {}).expect("the model loads"))
}

fn greedy(max_tokens: u32) -> Sampling {
    Sampling { temperature: Some(0.0), max_tokens: Some(max_tokens), ..Sampling::default() }
}

#[test]
fn the_capital_of_france_is_paris() {
    let Some(model) = model(ModelOptions::new("tiny")) else { return };
    let whole = ask(&model, request("Name the capital city of France.", greedy(40))).expect("an answer");
    assert!(whole.text.contains("Paris"), "{:?}", whole.text);
    assert_eq!(whole.reason, Some(FinishReason::Stop));
}

#[test]
fn eight_at_once_say_what_each_says_alone_in_a_fraction_of_the_steps() {
    let Some(model) = model(ModelOptions::new("tiny")) else { return };
    let cities = ["Rome", "Oslo", "Lima", "Cairo", "Tokyo", "Delhi", "Paris", "Quito"];
    let prompts = cities.map(|city| format!("Tell me about {city}.")).to_vec();
    let begin = Instant::now();
    let alone: Vec<String> = prompts.iter().map(|prompt| answer(&model, prompt, greedy(24))).collect();
    let apart = (begin.elapsed(), model.stats().steps);
    let begin = Instant::now();
    let together = super::batching::together(&model, &prompts, &greedy(24));
    let at_once = (begin.elapsed(), model.stats().steps - apart.1);
    assert_eq!(together, alone);
    assert!(at_once.1 * 3 < apart.1, "{} steps apart, {} at once", apart.1, at_once.1);
    eprintln!("one after another (time, steps): {apart:?}, all at once: {at_once:?}");
}

#[test]
fn seeded_answers_repeat_and_stop_strings_hold() {
    let Some(model) = model(ModelOptions::new("tiny")) else { return };
    let sampling = Sampling { seed: Some(4), max_tokens: Some(24), ..Sampling::default() };
    let first = answer(&model, "Write a list of five fruits.", sampling.clone());
    assert_eq!(answer(&model, "Write a list of five fruits.", sampling.clone()), first);
    let stop = Sampling { stop: vec![first.chars().skip(5).take(6).collect()], ..sampling };
    let cut = answer(&model, "Write a list of five fruits.", stop.clone());
    assert!(first.starts_with(&cut) && !cut.contains(&stop.stop[0]), "{cut:?} of {first:?}");
}

#[test]
fn the_likelier_answer_is_the_right_one_and_batches_change_nothing() {
    let Some(model) = model(ModelOptions::new("tiny")) else { return };
    let cities = ["Paris", "Berlin", "a cheese that is eaten in the winter"];
    let question = "What is the capital of France? Answer with one word.";
    let chosen = super::measures::choose(&model, question, &cities).expect("likelihoods").likelihoods;
    let sums: Vec<f64> = chosen.iter().map(|likelihood| likelihood.log_probability).collect();
    assert!(sums[0] > sums[1] && sums[1] > sums[2], "{sums:?}");
    let path = std::env::var_os("LOCKGATE_TEST_MODEL").map(PathBuf::from).expect("there is a model");
    let mut bare = super::measures::Bare::of(&model, &Gguf::open(&path).expect("it was opened before"));
    for (city, expected) in cities.iter().zip(&chosen) {
        assert_eq!(bare.likelihood(question, city), *expected, "{city}");
        let alone = super::measures::choose(&model, question, &[city]).expect("likelihoods").likelihoods;
        assert_eq!(alone, [*expected], "{city}");
    }
}

#[test]
fn texts_of_one_subject_lie_closer_than_others() {
    let Some(model) = model(ModelOptions::new("tiny")) else { return };
    let texts =
        ["The cat sat on the mat.", "A kitten was sitting on a rug.", "Interest rates rose by two percent."];
    let vectors = super::measures::embed(&model, &texts).expect("vectors").vectors;
    let product =
        |a: usize, b: usize| -> f32 { vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum() };
    assert!(product(0, 1) > product(0, 2), "{} and {}", product(0, 1), product(0, 2));
    let lengths =
        texts.map(|text| super::measures::embed(&model, &[text]).expect("a vector").vectors.remove(0));
    assert_eq!(lengths.to_vec(), vectors, "a batch changes nothing");
}
