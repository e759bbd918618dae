mod measurements;
mod steered;

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lockgate_api::Sampling;

use super::super::fake::{Fake, Observed, Script, ask, asked, limits, tokenizer, tokens};
use super::super::mailbox::{Reader, mailbox};
use super::*;
use crate::scheduler::Limits;

/// A core over a fake model, without a thread.
struct Bench {
    core: Core<Fake>,
    counters: Arc<Counters>,
    closing: Arc<AtomicBool>,
    observed: Arc<Mutex<Observed>>,
}

impl Bench {
    fn new(script: Script) -> Self {
        Self::with(script, limits(), |fake| fake)
    }

    fn with(script: Script, limits: Limits, hook: impl FnOnce(Fake) -> Fake) -> Self {
        let (fake, observed) = Fake::new(script);
        let (counters, closing) = (Arc::<Counters>::default(), Arc::<AtomicBool>::default());
        let core = Core::new(
            "tiny".into(),
            hook(fake),
            tokenizer(),
            Scheduler::new(limits),
            Arc::clone(&counters),
            Arc::clone(&closing),
        );
        Self { core, counters, closing, observed }
    }

    fn submit(&mut self, ask: Ask) -> Reader {
        let (writer, reader) = mailbox(1 << 20);
        self.core.submit(ask, writer);
        reader
    }

    /// Turns until there is nothing to do.
    fn run(&mut self) {
        for _ in 0..10_000 {
            if self.core.turn() == Turn::Idle {
                return;
            }
        }
        panic!("it never ends");
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| assert_eq!(self.core.turn(), Turn::Worked));
    }

    fn observed(&self) -> Observed {
        self.observed.lock().unwrap().clone()
    }

    /// Nothing is left of any request.
    fn assert_clean(&self) {
        let stats = self.counters.stats();
        assert_eq!((stats.waiting, stats.running), (0, 0));
        assert_eq!(stats.blocks_free, self.core.scheduler.limits().blocks as u64, "all blocks are back");
        assert_eq!(self.observed().open, 0, "all sequences are closed");
        assert!(self.core.requests.is_empty() && self.core.sequences.is_empty());
        assert!(self.core.measurements.is_empty());
    }
}

/// Everything that is ready to be read.
fn read(reader: &mut Reader) -> Vec<Result<Event, BackendError>> {
    let mut items = Vec::new();
    while let Poll::Ready(Some(item)) =
        Pin::new(&mut *reader).poll_next(&mut Context::from_waker(Waker::noop()))
    {
        items.push(item);
    }
    items
}

/// The text and reason of one choice; an error is a panic.
fn answer(items: &[Result<Event, BackendError>], wanted: u32) -> (String, Option<FinishReason>) {
    let mut answer = (String::new(), None);
    for item in items {
        match item.as_ref().expect("no error") {
            Event::Text { choice, text, .. } if *choice == wanted => answer.0.push_str(text),
            Event::Finish { choice, reason } if *choice == wanted => answer.1 = Some(reason.clone()),
            _ => {}
        }
    }
    answer
}

fn error(items: Vec<Result<Event, BackendError>>) -> BackendError {
    items.into_iter().find_map(Result::err).expect("an error")
}

fn noisy(seed: u64, tokens: u32) -> Sampling {
    Sampling { seed: Some(seed), max_tokens: Some(tokens), ..Sampling::default() }
}

#[test]
fn an_answer_is_start_text_finish_and_exact_usage() {
    let mut bench = Bench::new(Script::Parrot);
    let mut reader = bench.submit(ask("hello"));
    bench.run();
    let items: Vec<Event> = read(&mut reader).into_iter().map(|item| item.expect("no error")).collect();
    let expected = [
        Event::Start { model: "tiny".to_owned() },
        Event::Text { choice: 0, text: "hello".to_owned(), logprobs: Vec::new() },
        Event::Finish { choice: 0, reason: FinishReason::Stop },
        // The beginning and five bytes in; five bytes and the end out.
        Event::Usage(Usage { input: 6, output: 6, ..Usage::default() }),
    ];
    assert_eq!(items, expected);
    bench.assert_clean();
}

#[test]
fn every_turn_is_one_forward_pass_for_all_that_run() {
    let mut bench = Bench::new(Script::Parrot);
    let mut readers: Vec<Reader> = (0..8).map(|_| bench.submit(ask("hello"))).collect();
    bench.run();
    let stats = bench.counters.stats();
    assert_eq!((stats.passes, bench.observed().passes), (stats.steps, 6));
    assert_eq!(stats.steps, 6, "eight answers of six tokens in six passes");
    assert_eq!(bench.observed().pass_tokens, [48, 8, 8, 8, 8, 8]);
    assert_eq!((stats.prompt_tokens, stats.generated_tokens), (48, 48));
    for reader in &mut readers {
        assert_eq!(answer(&read(reader), 0), ("hello".to_owned(), Some(FinishReason::Stop)));
    }
}

#[test]
fn answers_do_not_depend_on_batch_or_chunk() {
    let prompts: Vec<String> =
        (0..8).map(|number| format!("prompt number {number}, of some length")).collect();
    for sampling in
        [Sampling { temperature: Some(0.0), max_tokens: Some(40), ..Sampling::default() }, noisy(5, 40)]
    {
        let alone: Vec<String> = prompts
            .iter()
            .map(|prompt| {
                let mut bench = Bench::new(Script::Noise);
                let mut reader = bench.submit(asked(prompt, &sampling));
                bench.run();
                answer(&read(&mut reader), 0).0
            })
            .collect();
        assert!(alone.iter().all(|text| alone.iter().filter(|other| *other == text).count() == 1));
        for step_tokens_max in [9, 16, 1000] {
            let mut bench = Bench::with(Script::Noise, Limits { step_tokens_max, ..limits() }, |fake| fake);
            let mut readers: Vec<Reader> = Vec::new();
            for prompt in &prompts {
                readers.push(bench.submit(asked(prompt, &sampling)));
                bench.turns(1);
            }
            bench.run();
            for (reader, alone) in readers.iter_mut().zip(&alone) {
                assert_eq!(&answer(&read(reader), 0).0, alone, "{step_tokens_max} tokens a step");
            }
        }
    }
}

#[test]
fn choices_end_one_by_one_and_usage_comes_once() {
    let mut bench = Bench::new(Script::Noise);
    let mut reader = bench.submit(Ask { choices: 3, ..asked("abc", &noisy(1, 10)) });
    bench.run();
    let items = read(&mut reader);
    let texts: Vec<_> = (0..3).map(|choice| answer(&items, choice)).collect();
    assert!(texts.iter().all(|(_, reason)| *reason == Some(FinishReason::Length)));
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "independent answers");
    assert_eq!(items.iter().filter(|item| matches!(item, Ok(Event::Start { .. }))).count(), 1);
    let usage = Usage { input: 4, output: 30, ..Usage::default() };
    assert_eq!(items.last(), Some(&Ok(Event::Usage(usage))), "the prompt counts once");
    bench.assert_clean();
    // The first choice is what one choice alone would be.
    let mut alone = bench.submit(asked("abc", &noisy(1, 10)));
    bench.run();
    assert_eq!(answer(&read(&mut alone), 0), texts[0]);
}

#[test]
fn a_stop_string_over_several_tokens_ends_the_answer_before_it() {
    let mut bench = Bench::new(Script::Parrot);
    let mut reader = bench.submit(Ask { stops: vec!["STOP".to_owned()], ..ask("one STOP two") });
    bench.run();
    let items = read(&mut reader);
    assert_eq!(answer(&items, 0), ("one ".to_owned(), Some(FinishReason::Stop)));
    let usage = Usage { input: 13, output: 8, ..Usage::default() };
    assert_eq!(items.last(), Some(&Ok(Event::Usage(usage))), "what was generated counts, shown or not");
    bench.assert_clean();
}

#[test]
fn a_limit_inside_a_character_is_the_same_however_it_is_read() {
    for (limit, text) in [(1, "a"), (2, "a"), (4, "a"), (5, "a\u{1f980}"), (6, "a\u{1f980}b")] {
        let mut bench = Bench::new(Script::Parrot);
        let mut streamed = bench.submit(Ask { output_tokens_max: limit, ..ask("a\u{1f980}bc") });
        let mut whole = bench.submit(Ask { output_tokens_max: limit, ..ask("a\u{1f980}bc") });
        let mut pieces = Vec::new();
        while bench.core.turn() == Turn::Worked {
            pieces.extend(read(&mut streamed));
        }
        let expected = (text.to_owned(), Some(FinishReason::Length));
        assert_eq!(answer(&pieces, 0), expected);
        assert_eq!(answer(&read(&mut whole), 0), expected);
        for item in pieces {
            assert!(!format!("{item:?}").contains('\u{fffd}'), "never half a character: {item:?}");
        }
    }
}

#[test]
fn log_probabilities_belong_to_the_text_and_sum_to_one() {
    let mut bench = Bench::new(Script::Noise);
    let sampling = Sampling { temperature: Some(1.7), ..noisy(3, 20) };
    let mut reader = bench.submit(Ask { logprobs: Some(259), ..asked("abc", &sampling) });
    bench.run();
    let mut entries = Vec::new();
    for item in read(&mut reader) {
        if let Event::Text { logprobs, .. } = item.expect("no error") {
            entries.extend(logprobs);
        }
    }
    assert_eq!(entries.len(), 20, "one a token");
    for entry in &entries {
        let mass: f64 = entry.top.iter().map(|token| f64::from(token.logprob).exp()).sum();
        assert!((mass - 1.0).abs() < 1e-5, "the raw distribution, whatever the temperature: {mass}");
        assert!(entry.top.contains(&entry.chosen));
        assert!(entry.top.is_sorted_by(|left, right| left.logprob >= right.logprob));
        let named = entry.top.iter().filter(|token| token.token == "<s>" && token.bytes.is_none()).count();
        assert_eq!(named, 1, "a token without text goes by its name");
    }
}

#[test]
fn an_answer_without_text_still_starts_and_finishes() {
    let mut bench = Bench::new(Script::Parrot);
    let mut reader = bench.submit(Ask { logprobs: Some(2), ..ask("") });
    bench.run();
    let items = read(&mut reader);
    assert_eq!(items.len(), 3, "{items:?}");
    assert_eq!(answer(&items, 0), (String::new(), Some(FinishReason::Stop)));
}

#[test]
fn a_full_queue_is_an_overload_with_a_time_to_ask_again() {
    let mut bench = Bench::new(Script::Noise);
    let readers: Vec<Reader> = (0..12).map(|_| bench.submit(asked("abc", &noisy(1, 5)))).collect();
    let refused = error(read(&mut bench.submit(asked("abc", &noisy(1, 5)))));
    assert_eq!(refused.kind, ErrorKind::Overloaded);
    assert_eq!(refused.retry_after, Some(std::time::Duration::from_secs(1)));
    assert!(!refused.dispatched && refused.may_retry());
    assert_eq!(bench.counters.stats().waiting, 12);
    let too_many = error(read(&mut bench.submit(Ask { choices: 13, ..asked("abc", &noisy(1, 5)) })));
    assert_eq!(too_many.kind, ErrorKind::InvalidRequest, "no waiting makes it fit");
    bench.run();
    for mut reader in readers {
        assert_eq!(answer(&read(&mut reader), 0).1, Some(FinishReason::Length));
    }
    bench.assert_clean();
}

#[test]
fn whoever_goes_away_frees_everything_at_the_next_turn() {
    // One runs, one waits for blocks.
    let mut bench = Bench::with(Script::Noise, Limits { blocks: 30, ..limits() }, |fake| fake);
    let running = bench.submit(asked("abc", &noisy(1, 100)));
    let waiting = bench.submit(asked("abc", &noisy(1, 100)));
    bench.turns(3);
    let stats = bench.counters.stats();
    assert_eq!((stats.running, stats.waiting, bench.observed().open), (1, 1, 1));
    drop(waiting);
    bench.turns(1);
    assert_eq!(bench.counters.stats().waiting, 0);
    drop(running);
    let passes = bench.observed().passes;
    assert_eq!(bench.core.turn(), Turn::Idle);
    assert_eq!(bench.observed().passes, passes, "not one token more");
    bench.assert_clean();
}

#[test]
fn a_pass_that_nobody_waits_for_is_stopped_between_layers() {
    let slot = Arc::new(Mutex::new(None::<Reader>));
    let inside = Arc::clone(&slot);
    let hook = move |_, _: &[_], stop: &dyn Fn() -> bool| {
        assert!(!stop());
        inside.lock().unwrap().take();
        stop().then_some(Ok(Pass::Stopped))
    };
    let mut bench = Bench::with(Script::Noise, limits(), |fake| fake.hooked(hook));
    *slot.lock().unwrap() = Some(bench.submit(asked("a prompt that is long enough", &noisy(1, 100))));
    bench.run();
    assert_eq!(bench.observed().passes, 1);
    assert_eq!(bench.counters.stats().steps, 0, "the pass did not count");
    bench.assert_clean();
}

#[test]
fn a_pass_goes_on_while_anybody_waits_for_it() {
    let slot = Arc::new(Mutex::new(None::<Reader>));
    let inside = Arc::clone(&slot);
    let hook = move |_, _: &[_], stop: &dyn Fn() -> bool| {
        inside.lock().unwrap().take();
        assert!(!stop());
        None
    };
    let mut bench = Bench::with(Script::Parrot, limits(), |fake| fake.hooked(hook));
    *slot.lock().unwrap() = Some(bench.submit(ask("gone")));
    let mut stays = bench.submit(ask("stays"));
    bench.run();
    assert_eq!(answer(&read(&mut stays), 0).0, "stays");
    bench.assert_clean();
}

#[test]
fn closing_stops_a_pass_too() {
    let mut bench = Bench::with(Script::Noise, limits(), |fake| {
        fake.hooked(|_, _, stop| stop().then_some(Ok(Pass::Stopped)))
    });
    let mut reader = bench.submit(asked("abc", &noisy(1, 100)));
    bench.turns(2);
    bench.closing.store(true, Ordering::Relaxed);
    let steps = bench.counters.stats().steps;
    bench.turns(2);
    assert_eq!(bench.counters.stats().steps, steps);
    bench.core.fail_all(&BackendError::new(ErrorKind::Unavailable, "stopped"));
    assert_eq!(error(read(&mut reader)).kind, ErrorKind::Unavailable);
    bench.assert_clean();
}

#[test]
fn a_fault_or_panic_fails_what_runs_and_spares_what_waits() {
    type Misbehaviour = fn() -> Result<Pass<'static>, Fault>;
    let acts: [(Misbehaviour, &str); 3] = [
        (|| Err(Fault("out of order".to_owned())), "out of order"),
        (|| panic!("quoting the user's text"), "internal fault"),
        (|| std::panic::panic_any(5), "internal fault"),
    ];
    for (act, words) in acts {
        let limits = Limits { running_max: 2, ..limits() };
        let hook = move |number: usize, _: &[_], _: &dyn Fn() -> bool| (number == 1).then(act);
        let mut bench = Bench::with(Script::Parrot, limits, |fake| fake.hooked(hook));
        let mut readers: Vec<Reader> = (0..3).map(|_| bench.submit(ask("hello"))).collect();
        bench.run();
        for reader in &mut readers[..2] {
            let error = error(read(reader));
            assert_eq!(error.kind, ErrorKind::Internal);
            assert!(error.message.contains("tiny") && error.message.contains(words), "{error}");
            assert!(!error.message.contains("quoting"), "{error}");
        }
        assert_eq!(answer(&read(&mut readers[2]), 0).0, "hello", "it waited, and service went on");
        assert_eq!(bench.counters.stats().faults, 1);
        bench.assert_clean();
    }
}

#[test]
fn an_answer_without_usable_logits_fails_alone() {
    let mut bench = Bench::new(Script::Broken);
    let mut broken = bench.submit(ask("oh!"));
    let mut sound = bench.submit(ask("fine"));
    bench.run();
    let error = error(read(&mut broken));
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.contains("no usable logit"), "{error}");
    assert_eq!(answer(&read(&mut sound), 0).0, "fine");
    bench.assert_clean();
}

#[test]
fn a_reader_that_stands_still_holds_up_nobody_and_is_given_up_at_its_budget() {
    let mut bench = Bench::new(Script::Noise);
    let (writer, mut slow) = mailbox(20_000);
    bench.core.submit(Ask { logprobs: Some(20), ..asked("abc", &noisy(1, 150)) }, writer);
    let mut quick = bench.submit(asked("abc", &noisy(1, 150)));
    bench.run();
    assert_eq!(answer(&read(&mut quick), 0).1, Some(FinishReason::Length));
    let items = read(&mut slow);
    assert!(items.len() > 2, "what was made is still delivered");
    let error = error(items);
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(error.message.contains("waited to be read"));
    bench.assert_clean();
    // Text alone never reaches the budget of a real mailbox: it is as long as its answer.
    let mut text = bench.submit(asked("abc", &noisy(1, 200)));
    bench.run();
    assert_eq!(read(&mut text).len(), 4, "start, one piece of text, finish, usage");
}
