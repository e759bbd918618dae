//! Hooks in the turns: what they allow, how long they may take, how they fail, and that others notice nothing.

use std::collections::VecDeque;
use std::future::poll_fn;

use lockgate_api::{Mask, NextStep, Place, PolicyError, Steering, Step, TokenHook};

use super::*;
use crate::runner::Steered;
use crate::runner::fake::{END, logits};

/// Says these things in turn, each after so many polls that said nothing, then the last one for ever.
#[derive(Clone, Default)]
struct Scripted {
    says: VecDeque<(usize, Result<Step, PolicyError>)>,
    seen: Arc<Mutex<Vec<Place>>>,
}

/// More polls than any test makes.
const NEVER: usize = usize::MAX;

impl TokenHook for Scripted {
    fn next(mut self: Box<Self>, place: Place) -> NextStep {
        self.seen.lock().unwrap().push(place);
        let (mut polls, said) = match self.says.len() {
            0 => (0, Ok(Step::AsBefore)),
            1 => self.says[0].clone(),
            _ => self.says.pop_front().expect("it has two"),
        };
        Box::pin(async move {
            poll_fn(|_| {
                polls = polls.saturating_sub(1);
                if polls == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            said.map(|step| (self as Box<dyn TokenHook>, step))
        })
    }
}

fn script(says: impl IntoIterator<Item = (usize, Result<Step, PolicyError>)>) -> Scripted {
    Scripted { says: says.into_iter().collect(), ..Scripted::default() }
}

fn steered(ask: Ask, scripts: impl IntoIterator<Item = Scripted>) -> Ask {
    let steered: Vec<Steered> =
        scripts.into_iter().map(|script| Steered::new("triage".into(), 4, Box::new(script))).collect();
    Ask { choices: steered.len() as u32, steered, ..ask }
}

fn letter(letter: char) -> u32 {
    tokens(letter.to_string().as_bytes())[1]
}

fn only(letters: &str) -> Result<Step, PolicyError> {
    let mask = Mask::Only(letters.chars().map(letter).collect());
    Ok(Step::Steer(Steering { biases: Vec::new(), mask }))
}

fn trap() -> Result<Step, PolicyError> {
    Err(PolicyError::Trap { message: "it quotes: hello".to_owned() })
}

/// What these requests answer without anybody beside them.
fn alone(sampling: &Sampling) -> (String, Option<FinishReason>) {
    let mut bench = Bench::new(Script::Noise);
    let mut reader = bench.submit(asked("beside", sampling));
    bench.run();
    answer(&read(&mut reader), 0)
}

#[test]
fn a_mask_holds_until_something_else_is_said() {
    let mut bench = Bench::new(Script::Noise);
    let says = [(0, only("abc")), (0, Ok(Step::AsBefore)), (0, Ok(Step::AsBefore)), (0, only("xy"))];
    let mut reader = bench.submit(steered(asked("hello", &noisy(1, 8)), [script(says)]));
    bench.run();
    let (text, reason) = answer(&read(&mut reader), 0);
    assert!(text[..3].chars().all(|letter| "abc".contains(letter)), "{text}");
    assert!(text.len() == 8 && text[3..].chars().all(|letter| "xy".contains(letter)), "{text}");
    assert_eq!(reason, Some(FinishReason::Length));
    bench.assert_clean();
}

#[test]
fn biases_add_up_with_the_clients() {
    let sampling = Sampling { temperature: Some(0.0), max_tokens: Some(3), ..Sampling::default() };
    let steering = |add| Steering { biases: vec![(letter('z'), add)], mask: Mask::All };
    let says = [(0, Ok(Step::Steer(steering(100.0)))), (0, Ok(Step::Steer(steering(0.0))))];
    let mut bench = Bench::new(Script::Parrot);
    let mut reader = bench.submit(steered(asked("abc", &sampling), [script(says)]));
    bench.run();
    assert_eq!(answer(&read(&mut reader), 0).0, "zbc");
}

#[test]
fn a_hook_sees_what_was_chosen_and_what_is_likely() {
    let mut bench = Bench::new(Script::Noise);
    let hook = script([(0, Ok(Step::AsBefore))]);
    let seen = Arc::clone(&hook.seen);
    let mut reader = bench.submit(steered(asked("hi", &noisy(3, 4)), [hook]));
    bench.run();
    let text = answer(&read(&mut reader), 0);
    assert_eq!(text.1, Some(FinishReason::Length));
    let seen = seen.lock().unwrap();
    let chosen: Vec<Option<u32>> = seen.iter().map(|place| place.chosen).collect();
    assert_eq!((chosen.len(), chosen[0]), (4, None));
    let mut history = tokens(b"hi");
    for (number, place) in seen.iter().enumerate() {
        history.extend(place.chosen);
        let raw = logits(Script::Noise, &history, 3);
        let mut best: Vec<(u32, f32)> = (0..).zip(raw).collect();
        best.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        assert_eq!(place.top, best[..4], "place {number}");
    }
}

#[test]
fn a_hook_may_end_its_answer() {
    for (says, expected) in [
        (vec![(0, Ok(Step::Stop))], ""),
        (vec![(3, Ok(Step::Stop))], ""),
        (vec![(0, Ok(Step::AsBefore)), (2, Ok(Step::AsBefore)), (0, Ok(Step::Stop))], "he"),
    ] {
        let mut bench = Bench::new(Script::Parrot);
        let mut reader = bench.submit(steered(ask("hello"), [script(says)]));
        bench.run();
        let items = read(&mut reader);
        assert!(matches!(items[0], Ok(Event::Start { .. })), "{items:?}");
        assert_eq!(answer(&items, 0), (expected.to_owned(), Some(FinishReason::Stop)));
        bench.assert_clean();
    }
}

#[test]
fn a_hook_that_takes_its_time_parks_its_own_answer_alone() {
    let sampling = noisy(5, 30);
    let says = |polls| [(polls, only("abcdef")), (0, Ok(Step::AsBefore))];
    let mut bench = Bench::new(Script::Noise);
    let mut at_once = bench.submit(steered(asked("hello", &sampling), [script(says(0))]));
    bench.run();
    let expected = answer(&read(&mut at_once), 0);

    let mut bench = Bench::new(Script::Noise);
    let mut slow = bench.submit(steered(asked("hello", &sampling), [script(says(25))]));
    let mut beside = bench.submit(asked("beside", &sampling));
    bench.turns(20);
    assert!(read(&mut slow).is_empty(), "it waits for its hook");
    let (text, _) = answer(&read(&mut beside), 0);
    assert!(!text.is_empty(), "the other one goes on meanwhile");
    bench.run();
    assert_eq!(answer(&read(&mut slow), 0), expected);
    assert_eq!(text + &answer(&read(&mut beside), 0).0, alone(&sampling).0);
    bench.assert_clean();
}

#[test]
fn a_hook_that_never_answers_holds_up_nobody() {
    let sampling = noisy(2, 40);
    let mut bench = Bench::new(Script::Noise);
    let hung = bench.submit(steered(asked("hello", &sampling), [script([(NEVER, only("a"))])]));
    let mut beside = bench.submit(asked("beside", &sampling));
    // The prompt, then a token a turn.
    bench.turns(40);
    assert_eq!(answer(&read(&mut beside), 0), alone(&sampling));
    assert_eq!(bench.core.turn(), Turn::Waiting);
    let mut later = bench.submit(asked("beside", &sampling));
    bench.turns(40);
    assert_eq!(answer(&read(&mut later), 0), alone(&sampling));
    drop(hung);
    assert_eq!(bench.core.turn(), Turn::Idle);
    bench.assert_clean();
}

#[test]
fn a_hook_that_fails_ends_its_answer_and_no_other() {
    let sampling = noisy(7, 12);
    for polls in [0, 4] {
        let mut bench = Bench::new(Script::Noise);
        let failing = script([(0, Ok(Step::AsBefore)), (0, Ok(Step::AsBefore)), (polls, trap())]);
        let good = script([(0, Ok(Step::AsBefore))]);
        let mut failed = bench.submit(steered(asked("hello", &sampling), [good, failing]));
        let mut beside = bench.submit(asked("beside", &sampling));
        bench.run();
        let items = read(&mut failed);
        let told: Vec<usize> = (0..2)
            .map(|wanted| {
                let texts = items.iter().filter_map(|item| match item {
                    Ok(Event::Text { choice, text, .. }) if *choice == wanted => Some(text.chars().count()),
                    _ => None,
                });
                texts.sum()
            })
            .collect();
        assert!(told[1] <= 2, "nothing of it comes behind the failure: {told:?}");
        assert!(!items.iter().any(|item| matches!(item, Ok(Event::Finish { .. }))));
        let error = error(items);
        assert_eq!((error.kind, error.dispatched), (ErrorKind::Adapter, true));
        assert_eq!(error.message, "the adapter `triage` failed (trap), and no answer goes on without it");
        assert_eq!(answer(&read(&mut beside), 0), alone(&sampling));
        bench.assert_clean();
    }
}

#[test]
fn a_mask_that_leaves_nothing_is_the_hooks_failure() {
    let never_all = Steering { biases: Vec::new(), mask: Mask::Never((0..259).collect()) };
    for step in [only(""), Ok(Step::Steer(never_all))] {
        let mut bench = Bench::new(Script::Noise);
        let mut reader = bench.submit(steered(asked("hello", &noisy(1, 8)), [script([(0, step)])]));
        bench.run();
        let error = error(read(&mut reader));
        assert_eq!(error.kind, ErrorKind::Adapter);
        assert!(error.message.contains("invalid_answer"), "{}", error.message);
        bench.assert_clean();
    }
    // Where the model leaves nothing itself, it is not.
    let mut bench = Bench::new(Script::Broken);
    let mut reader = bench.submit(steered(ask("hello!"), [script([(0, Ok(Step::AsBefore))])]));
    bench.run();
    assert_eq!(error(read(&mut reader)).kind, ErrorKind::Internal);
    // The end is a token like others: a mask without it keeps an answer from ending.
    let mut bench = Bench::new(Script::Parrot);
    let mask = Mask::Never(vec![END]);
    let step = Ok(Step::Steer(Steering { biases: Vec::new(), mask }));
    let sampling = Sampling { temperature: Some(0.0), max_tokens: Some(9), ..Sampling::default() };
    let mut reader = bench.submit(steered(asked("hello", &sampling), [script([(0, step)])]));
    bench.run();
    assert_eq!(answer(&read(&mut reader), 0).1, Some(FinishReason::Length));
}

/// Answers are the same wherever their tokens are chosen.
#[test]
fn the_model_chooses_unless_somebody_must_see_its_logits() {
    let penalised = Sampling {
        repetition_penalty: Some(1.3),
        frequency_penalty: Some(0.4),
        logit_bias: vec![(letter('x'), 3.0)],
        top_p: Some(0.8),
        ..noisy(5, 20)
    };
    for sampling in [noisy(4, 20), penalised] {
        let run = |logprobs: Option<usize>, hooked: bool| {
            let mut bench = Bench::new(Script::Noise);
            let ask = Ask { logprobs, ..asked("abc", &sampling) };
            let mut reader = match hooked {
                true => bench.submit(steered(ask, [script([])])),
                false => bench.submit(ask),
            };
            bench.run();
            let items = read(&mut reader);
            let mut entries = Vec::new();
            for item in &items {
                if let Ok(Event::Text { logprobs, .. }) = item {
                    entries.extend(logprobs.clone());
                }
            }
            bench.assert_clean();
            (answer(&items, 0), entries, bench.observed().choices)
        };
        let (expected, no_entries, choices) = run(None, false);
        assert_eq!((no_entries.len(), choices), (0, 20));
        let (alone, chosen, choices) = run(Some(0), false);
        // A token without text has no entry.
        assert!((18..=20).contains(&chosen.len()), "{}", chosen.len());
        assert_eq!((&alone, choices), (&expected, 20));
        let (beside, rivals, choices) = run(Some(3), false);
        assert_eq!((&beside, rivals.len(), choices), (&expected, chosen.len(), 0));
        for (alone, beside) in chosen.iter().zip(&rivals) {
            assert_eq!((&alone.chosen, alone.top.len(), beside.top.len()), (&beside.chosen, 0, 3));
        }
        let (hooked, _, choices) = run(None, true);
        assert_eq!((hooked, choices), (expected, 0));
    }
}
