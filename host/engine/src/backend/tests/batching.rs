use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::*;

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not zero")
}

/// Answers of all prompts at once, in their order.
pub(super) fn together(model: &LocalModel, prompts: &[String], sampling: &Sampling) -> Vec<String> {
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            prompts.iter().map(|prompt| scope.spawn(|| answer(model, prompt, sampling.clone()))).collect();
        asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn prompts() -> Vec<String> {
    (1..=8).map(|length| format!("prompt {length}: {}", "words".repeat(length * length / 3))).collect()
}

/// The promise: an answer is the same alone, in a batch of eight, and however its prompt is cut into chunks, on one
/// thread or two, greedy or seeded.
#[test]
fn answers_are_the_same_alone_in_a_batch_and_in_chunks() {
    for format in [TensorType::Q8_0, TensorType::Q4_K] {
        let gguf = gguf(format, 512);
        let prompts = prompts();
        for sampling in [greedy(10), seeded(11, 10)] {
            let alone = load(&gguf, &options());
            let expected: Vec<String> =
                prompts.iter().map(|prompt| answer(&alone, prompt, sampling.clone())).collect();
            assert!(expected.iter().any(|text| !text.is_empty()));
            for (threads, step_tokens) in [(1, 512), (2, 512), (1, 9), (2, 17), (1, 64)] {
                let options = ModelOptions {
                    threads: Some(count(threads)),
                    running_max: count(8),
                    step_tokens_max: count(step_tokens),
                    ..options()
                };
                let model = load(&gguf, &options);
                let found = together(&model, &prompts, &sampling);
                assert_eq!(found, expected, "{format:?}, {threads} threads, {step_tokens} tokens a step");
                let stats = model.stats();
                assert_eq!(stats.passes, stats.steps, "one forward pass a step");
            }
        }
    }
}

/// Waits until the model is idle, and fails if it does not come to rest.
pub(super) fn settle(model: &LocalModel, blocks: u64) {
    let begin = Instant::now();
    loop {
        let stats = model.stats();
        if (stats.waiting, stats.running) == (0, 0) {
            assert_eq!(stats.blocks_free, blocks, "all blocks are back");
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{stats:?}");
        std::thread::yield_now();
    }
}

/// Waits for a number to be reached.
pub(super) fn wait_for(model: &LocalModel, reached: impl Fn(Stats) -> bool) {
    let begin = Instant::now();
    while !reached(model.stats()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", model.stats());
        std::thread::yield_now();
    }
}

#[test]
fn whoever_disconnects_stops_a_prefill() {
    let gguf = gguf(TensorType::Q8_0, 8192);
    let model = load(&gguf, &ModelOptions { step_tokens_max: count(17), ..options() });
    let blocks = model.stats().blocks_free;
    let long = request(&"x".repeat(8000), greedy(5));
    std::thread::scope(|scope| {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut events = model.answer(Arc::new(long), &permit_for(model.target()), asker());
        scope.spawn(move || {
            // Polled once, it runs; then it is dropped while the prompt is being computed.
            let polled = events.as_mut().poll_next(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(polled.is_pending());
            gone.recv().expect("the test goes on");
            drop(events);
        });
        wait_for(&model, |stats| stats.steps >= 2);
        go.send(()).expect("the reader waits");
    });
    settle(&model, blocks);
    let stats = model.stats();
    assert!(stats.prompt_tokens < 8000, "{} tokens of the prompt were computed", stats.prompt_tokens);
    assert_eq!(stats.generated_tokens, 0);
    assert!(stats.passes - stats.steps <= 1, "at most the pass that was stopped");
}

#[test]
fn whoever_stops_reading_in_the_middle_frees_everything() {
    let model = load(&gguf(TensorType::Q8_0, 8192), &options());
    let blocks = model.stats().blocks_free;
    let mut events = model.chat(request("hello", seeded(1, 8000)));
    for _ in 0..3 {
        events.next().expect("more").expect("no error");
    }
    drop(events);
    settle(&model, blocks);
    assert!(model.stats().generated_tokens < 8000);
}

#[test]
fn an_answer_that_is_never_polled_is_never_asked() {
    let model = tiny();
    let events = model.answer(Arc::new(request("hello", greedy(5))), &permit_for(model.target()), asker());
    drop(events);
    assert_eq!(model.stats(), Stats { blocks_free: 16 * 32, ..Stats::default() });
}

#[test]
fn a_stream_keeps_its_model_alive() {
    let model = tiny();
    let events = model.chat(request("hello", seeded(1, 50)));
    drop(model);
    assert_eq!(read(events, 1).expect("an answer")[0].usage.expect("checked").output, 50);
}

#[test]
fn more_than_the_queue_holds_is_an_overload() {
    let gguf = gguf(TensorType::Q8_0, 512);
    let options = ModelOptions { running_max: count(1), waiting_max: 2, ..options() };
    let model = load(&gguf, &options);
    // Each with what its first poll brought: on a loaded machine that can be an event already.
    let mut begun: Vec<(Option<Result<Event, BackendError>>, Events)> = Vec::new();
    let mut overloads = 0;
    for _ in 0..12 {
        let mut events =
            model.answer(Arc::new(request("hello", seeded(1, 400))), &permit_for(model.target()), asker());
        let polled = events.as_mut().poll_next(&mut Context::from_waker(std::task::Waker::noop()));
        match polled {
            Poll::Ready(Some(Err(error))) => {
                assert_eq!(error.kind, ErrorKind::Overloaded);
                assert!(error.retry_after.is_some_and(|delay| delay >= Duration::from_secs(1)));
                overloads += 1;
            }
            Poll::Ready(first) => begun.push((first, events)),
            Poll::Pending => begun.push((None, events)),
        }
    }
    assert!(overloads >= 6, "at most six are in hand: {overloads}");
    // Of those in hand, the queue refuses what it has no place for; the others are answered.
    let mut answered = 0;
    for (first, events) in begun {
        match read(first.into_iter().chain(BlockingEvents::new(events)), 1) {
            Ok(_) => answered += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::Overloaded),
        }
    }
    assert!(answered >= 3, "one runs and two wait: {answered}");
}
