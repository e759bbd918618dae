//! Measurements beside answers: the same numbers whatever is computed with them, and answers that do not notice.

use lockgate_api::{Chosen, Embedded};
use proptest::prelude::*;

use super::super::super::fake::{logits, tokens};
use super::super::super::measure::{Choosing, Embedding};
use super::super::super::reply::{Reply, reply};
use super::*;
use crate::sampler::Distribution;

impl Bench {
    fn choose(&mut self, prompt: &str, continuations: &[&str]) -> Reply<Chosen> {
        let (writer, reader) = reply();
        let continuations = continuations.iter().map(|text| tokens(text.as_bytes())[1..].to_vec()).collect();
        let asked = Choosing { adapter: None, prompt: tokens(prompt.as_bytes()), continuations };
        self.core.measure(|limits| Measuring::choosing(asked, writer, limits));
        reader
    }

    fn embed(&mut self, texts: &[&str]) -> Reply<Embedded> {
        let (writer, reader) = reply();
        let texts = texts.iter().map(|text| tokens(text.as_bytes())).collect();
        self.core.measure(|limits| Measuring::embedding(Embedding { adapter: None, texts }, writer, limits));
        reader
    }
}

fn result<T>(mut reply: Reply<T>) -> Option<Result<T, BackendError>> {
    match Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn value<T>(reply: Reply<T>) -> T {
    result(reply).expect("it is over").expect("no error")
}

fn failure<T>(reply: Reply<T>) -> BackendError {
    result(reply).expect("it is over").err().expect("an error")
}

/// The sums of log-probabilities, from the script's own logits one token after the other.
fn expected(prompt: &str, continuations: &[&str]) -> Vec<f64> {
    let mut scratch = Scratch::default();
    let likelihood = |text: &&str| {
        let mut history = tokens(prompt.as_bytes());
        let prompt = history.len();
        let mut sum = 0.0;
        for &token in &tokens(text.as_bytes())[1..] {
            let logits = logits(Script::Noise, &history, prompt);
            sum += Distribution::of(&logits, &mut scratch).expect("usable").log_probability(token);
            history.push(token);
        }
        sum
    };
    continuations.iter().map(likelihood).collect()
}

fn likelihoods(chosen: &Chosen) -> Vec<f64> {
    chosen.likelihoods.iter().map(|likelihood| likelihood.log_probability).collect()
}

const WORDS: [&str; 6] = ["yes", "n", "maybe so", "yes", "yesterday, all of it", "no"];

#[test]
fn likelihoods_are_those_of_the_tokens_in_their_places() {
    let mut bench = Bench::new(Script::Noise);
    let reply = bench.choose("is it?", &WORDS);
    bench.run();
    let chosen = value(reply);
    assert_eq!(likelihoods(&chosen), expected("is it?", &WORDS));
    let lengths: Vec<u32> = chosen.likelihoods.iter().map(|likelihood| likelihood.tokens).collect();
    assert_eq!(lengths, [3, 1, 8, 3, 20, 2]);
    assert_eq!(chosen.usage, Usage { input: 7 + 37, ..Usage::default() }, "nothing was generated");
    let stats = bench.counters.stats();
    assert_eq!((stats.steps, stats.passes), (2, 2), "the prompt, then all continuations at once");
    assert_eq!(stats.prompt_tokens, 7 + 37 - 6, "the prompt once, and of each all but its last");
    bench.assert_clean();
}

#[test]
fn embeddings_are_means_of_length_one() {
    let mut bench = Bench::new(Script::Parrot);
    let reply = bench.embed(&["ab", "a"]);
    bench.run();
    let embedded = value(reply);
    // States are (1, token, token · place): a text's sum over its tokens, then length one.
    let sums = [[3.0, 1.0 + 100.0 + 101.0, 1.0 + 200.0 + 303.0], [2.0, 101.0, 201.0f64]];
    for (vector, sum) in embedded.vectors.iter().zip(sums) {
        let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        let expected: Vec<f32> = sum.iter().map(|value| (value / norm) as f32).collect();
        assert_eq!(vector, &expected);
    }
    assert_eq!(embedded.usage, Usage { input: 5, ..Usage::default() });
    assert_eq!(bench.counters.stats().passes, 1, "texts share a pass");
    bench.assert_clean();
}

#[test]
fn answers_go_on_one_token_a_pass_beside_a_long_measurement() {
    let mut bench = Bench::new(Script::Noise);
    let mut reader = bench.submit(asked("abc", &noisy(1, 40)));
    bench.turns(1);
    let long = "x".repeat(700);
    let embedding = bench.embed(&[&long, &long, &long]);
    let choice = bench.choose(&long, &WORDS);
    for turn in 0..20 {
        bench.turns(1);
        let pass = bench.observed().pass_tokens[1 + turn];
        assert!(pass <= 64, "{pass} tokens of a pass");
        assert_eq!(
            bench.counters.stats().generated_tokens,
            2 + turn as u64,
            "no turn without the answer's token"
        );
    }
    let mut alone = Bench::new(Script::Noise);
    let mut expected_answer = alone.submit(asked("abc", &noisy(1, 40)));
    alone.run();
    bench.run();
    assert_eq!(answer(&read(&mut reader), 0), answer(&read(&mut expected_answer), 0));
    assert_eq!(likelihoods(&value(choice)), expected(&long, &WORDS));
    assert_eq!(value(embedding).vectors.len(), 3);
    bench.assert_clean();
}

#[test]
fn whoever_drops_a_measurement_frees_everything_at_the_next_turn() {
    let mut bench =
        Bench::with(Script::Noise, Limits { running_max: 1, step_tokens_max: 8, ..limits() }, |fake| fake);
    let long = "x".repeat(100);
    let running = bench.choose(&long, &WORDS);
    let waiting = bench.embed(&[&long]);
    bench.turns(3);
    assert_eq!((bench.counters.stats().running, bench.counters.stats().waiting), (1, 1));
    drop(waiting);
    bench.turns(1);
    assert_eq!(bench.counters.stats().waiting, 0);
    // Into the continuations, whose forks are open as well.
    bench.turns(12);
    assert!(bench.observed().open > 1);
    drop(running);
    let passes = bench.observed().passes;
    assert_eq!(bench.core.turn(), Turn::Idle);
    assert_eq!(bench.observed().passes, passes, "not one token more");
    bench.assert_clean();
}

#[test]
fn a_pass_for_a_measurement_that_nobody_waits_for_is_stopped() {
    let slot = Arc::new(Mutex::new(None::<Reply<Embedded>>));
    let inside = Arc::clone(&slot);
    let hook = move |_, _: &[_], stop: &dyn Fn() -> bool| {
        assert!(!stop());
        inside.lock().unwrap().take();
        stop().then_some(Ok(Pass::Stopped))
    };
    let mut bench = Bench::with(Script::Noise, limits(), |fake| fake.hooked(hook));
    *slot.lock().unwrap() = Some(bench.embed(&["a text"]));
    bench.run();
    assert_eq!((bench.observed().passes, bench.counters.stats().steps), (1, 0));
    bench.assert_clean();
}

#[test]
fn a_measurement_without_usable_numbers_fails_alone() {
    let mut bench = Bench::new(Script::Broken);
    let broken_choice = bench.choose("oh!", &["a", "bc"]);
    let broken_texts = bench.embed(&["fine", "oh!", "fine as well"]);
    let sound_choice = bench.choose("fine", &["ab"]);
    let sound_texts = bench.embed(&["fine"]);
    let mut answered = bench.submit(ask("fine"));
    bench.run();
    assert!(failure(broken_choice).message.contains("no usable logit"));
    let error = failure(broken_texts);
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.contains("no direction"), "{error}");
    assert_eq!(value(sound_choice).likelihoods.len(), 1);
    assert_eq!(value(sound_texts).vectors.len(), 1);
    assert_eq!(answer(&read(&mut answered), 0).0, "fine");
    assert_eq!(bench.counters.stats().faults, 0, "the passes were sound");
    bench.assert_clean();
}

#[test]
fn a_fault_or_panic_fails_running_measurements_and_spares_what_waits() {
    for (panics, words) in [(false, "out of order"), (true, "internal fault")] {
        let hook = move |number: usize, _: &[_], _: &dyn Fn() -> bool| {
            assert!(!panics || number != 1, "quoting the user's text");
            (number == 1).then(|| Err(Fault("out of order".to_owned())))
        };
        let mut bench =
            Bench::with(Script::Noise, Limits { running_max: 1, ..limits() }, |fake| fake.hooked(hook));
        let fails = bench.choose("is it?", &WORDS);
        let waits = bench.choose("is it?", &WORDS);
        bench.run();
        let error = failure(fails);
        assert!(error.message.contains(words) && !error.message.contains("quoting"), "{error}");
        assert_eq!(likelihoods(&value(waits)), expected("is it?", &WORDS));
        assert_eq!(bench.counters.stats().faults, 1);
        bench.assert_clean();
    }
}

#[test]
fn a_full_queue_refuses_a_measurement_too() {
    let mut bench = Bench::new(Script::Noise);
    let waiting: Vec<Reply<Embedded>> = (0..12).map(|_| bench.embed(&["a"])).collect();
    let error = failure(bench.embed(&["a"]));
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert!(error.retry_after.is_some());
    bench.run();
    for reply in waiting {
        assert_eq!(value(reply).vectors.len(), 1);
    }
    let last = bench.choose("is it?", &["yes"]);
    bench.core.fail_all(&BackendError::new(ErrorKind::Unavailable, "stopped"));
    assert_eq!(failure(last).kind, ErrorKind::Unavailable);
    bench.assert_clean();
}

proptest! {
    /// Any limits, anything beside it: the same bits.
    #[test]
    fn results_depend_on_nothing_but_the_question(
        step_tokens_max in 9..70usize,
        running_max in 1..8usize,
        blocks in 20..200usize,
        beside in prop::collection::vec((0..3u8, 1..40usize), 0..6),
        turns in 0..4usize,
    ) {
        let limits = Limits { waiting_max: 64, running_max, step_tokens_max, blocks, block_tokens: 4 };
        let mut bench = Bench::with(Script::Noise, limits, |fake| fake);
        let (mut readers, mut choices, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, length) in beside {
            let text = "y".repeat(length);
            match kind {
                0 => readers.push(bench.submit(asked(&text, &noisy(1, 20)))),
                1 => choices.push((text.clone(), bench.choose(&text, &WORDS))),
                _ => vectors.push(bench.embed(&[&text, "a", &text])),
            }
            for _ in 0..turns {
                bench.core.turn();
            }
        }
        choices.push(("is it?".to_owned(), bench.choose("is it?", &WORDS)));
        vectors.push(bench.embed(&["is", "it?"]));
        bench.run();
        for (prompt, choice) in choices {
            prop_assert_eq!(likelihoods(&value(choice)), expected(&prompt, &WORDS));
        }
        let mut alone = Bench::new(Script::Noise);
        let lone = alone.embed(&["is", "it?"]);
        alone.run();
        prop_assert_eq!(value(vectors.pop().expect("the last one")), value(lone));
        for reply in vectors {
            let found = value(reply).vectors;
            prop_assert_eq!(&found[0], &found[2]);
        }
        for mut reader in readers {
            prop_assert_eq!(answer(&read(&mut reader), 0).1, Some(FinishReason::Length));
        }
        bench.assert_clean();
    }
}
