use std::sync::mpsc;

use lockgate_api::{FinishReason, Sampling};

use super::fake::{Fake, Observed, Script, ask, asked, limits, tokenizer};
use super::forward::Pass;
use super::*;
use crate::backend::BlockingEvents;

fn start(fake: Fake) -> Runner {
    Runner::start("tiny".into(), fake, tokenizer(), Scheduler::new(limits())).expect("threads")
}

fn parrot() -> (Runner, Arc<Mutex<Observed>>) {
    let (fake, observed) = Fake::new(Script::Parrot);
    (start(fake), observed)
}

/// A model that waits for a word before each pass, and says when it waits. When the test lets go of the words, the
/// pass lasts until it is stopped.
fn gated() -> (Runner, mpsc::Sender<()>, mpsc::Receiver<usize>) {
    let (go, gate) = mpsc::channel();
    let (arrived, arrivals) = mpsc::channel();
    let (fake, _) = Fake::new(Script::Noise);
    let runner = start(fake.hooked(move |number, _, stop| {
        // The test may have stopped listening.
        let _ = arrived.send(number);
        if gate.recv().is_err() {
            while !stop() {
                std::thread::yield_now();
            }
        }
        stop().then_some(Ok(Pass::Stopped))
    }));
    (runner, go, arrivals)
}

fn endless() -> Ask {
    let sampling = Sampling { max_tokens: Some(1000), ..Sampling::default() };
    asked("abc", &sampling)
}

fn items(answer: Answer) -> Vec<Result<Event, BackendError>> {
    BlockingEvents::new(Box::pin(answer)).collect()
}

fn text(answer: Answer) -> String {
    items(answer)
        .into_iter()
        .map(|item| match item.expect("no error") {
            Event::Text { text, .. } => text,
            _ => String::new(),
        })
        .collect()
}

fn error(answer: Answer) -> BackendError {
    items(answer).pop().expect("an item").expect_err("an error")
}

#[test]
fn requests_from_many_threads_are_all_answered() {
    let (runner, _) = parrot();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let runner = &runner;
            scope.spawn(move || {
                for round in 0..10 {
                    let prompt = format!("thread {number}, round {round}");
                    let asked = prompt.clone();
                    let answer = runner.submit(move || Ok(ask(&asked))).expect("room");
                    assert_eq!(text(answer), prompt);
                }
            });
        }
    });
    let stats = runner.stats();
    assert_eq!((stats.waiting, stats.running, stats.faults), (0, 0, 0), "nothing is counted behind its end");
}

#[test]
fn whoever_reads_an_end_finds_nothing_counted_as_waiting() {
    let (runner, _) = parrot();
    for round in 0..500 {
        assert_eq!(text(runner.submit(|| Ok(ask("a"))).expect("room")), "a");
        assert_eq!(runner.stats().waiting, 0, "after answer {round}");
        let refused = BackendError::new(ErrorKind::InvalidRequest, "no");
        error(runner.submit(|| Err(refused)).expect("room"));
        assert_eq!(runner.stats().waiting, 0, "after error {round}");
    }
}

#[test]
fn an_error_of_preparation_is_the_only_item() {
    let (runner, observed) = parrot();
    let refused = BackendError::new(ErrorKind::InvalidRequest, "no");
    let again = refused.clone();
    let answer = runner.submit(move || Err(again)).expect("room");
    assert_eq!(items(answer), [Err(refused)]);
    let panicked = error(runner.submit(|| panic!("with the user's text")).expect("room"));
    assert_eq!(panicked.kind, ErrorKind::Internal);
    assert!(panicked.message.contains("tiny"), "{panicked}");
    assert!(!panicked.message.contains("text"), "a panic's words may quote the conversation: {panicked}");
    assert_eq!(text(runner.submit(|| Ok(ask("still here"))).expect("room")), "still here");
    drop(runner);
    assert_eq!(observed.lock().unwrap().open, 0);
}

#[test]
fn numbers_are_there_while_a_pass_runs() {
    let (runner, go, arrivals) = gated();
    let answer = runner.submit(|| Ok(endless())).expect("room");
    assert_eq!(arrivals.recv(), Ok(0), "the model is in its first pass");
    assert_eq!(runner.stats().running, 1);
    drop(answer);
    go.send(()).expect("it waits");
    drop(runner);
    assert!(arrivals.recv().is_err(), "no pass after the one that nobody waited for");
}

#[test]
fn dropping_the_runner_ends_every_answer_with_an_error() {
    let (runner, go, arrivals) = gated();
    let answers: Vec<Answer> = (0..3).map(|_| runner.submit(|| Ok(endless())).expect("room")).collect();
    arrivals.recv().expect("it runs");
    let closer = std::thread::spawn(move || drop(runner));
    drop(go);
    closer.join().expect("no panic");
    for answer in answers {
        assert_eq!(error(answer).kind, ErrorKind::Unavailable);
    }
}

#[test]
fn requests_in_hand_are_bounded_and_dropping_one_makes_room() {
    let (runner, go, arrivals) = gated();
    let mut answers: Vec<Answer> = (0..24).map(|_| runner.submit(|| Ok(endless())).expect("room")).collect();
    let refused = runner.submit(|| Ok(endless())).expect_err("24 are twice what waits and runs");
    assert_eq!(refused.kind, ErrorKind::Overloaded);
    assert!(refused.retry_after.is_some());
    answers.pop();
    runner.submit(|| Ok(endless())).expect("room again");
    arrivals.recv().expect("it runs");
    drop(answers);
    drop(go);
}

#[test]
fn a_prompt_that_nobody_waits_for_is_not_prepared() {
    let (runner, _) = parrot();
    let (go, gate) = mpsc::channel::<()>();
    let (entered, entry) = mpsc::channel();
    let first = runner.submit(move || {
        entered.send(()).expect("the test listens");
        let _ = gate.recv();
        Ok(ask("first"))
    });
    entry.recv().expect("it is being prepared");
    let (ran, was_run) = mpsc::channel::<()>();
    let second = runner.submit(move || {
        let _ = ran.send(());
        Ok(ask("second"))
    });
    assert_eq!(runner.stats().waiting, 2, "prompts in preparation wait too");
    drop(second);
    go.send(()).expect("it waits");
    assert_eq!(text(first.expect("room")), "first");
    assert!(was_run.recv().is_err(), "dropped unrun");
}

#[test]
fn answers_can_be_read_after_they_are_finished() {
    let (runner, _) = parrot();
    let answer = runner.submit(|| Ok(ask("later"))).expect("room");
    while runner.stats().generated_tokens < 6 {
        std::thread::yield_now();
    }
    drop(runner);
    let items = items(answer);
    assert!(items.contains(&Ok(Event::Finish { choice: 0, reason: FinishReason::Stop })), "{items:?}");
}
