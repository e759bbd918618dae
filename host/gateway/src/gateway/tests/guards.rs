//! Guards on a stream: what they let through, in which order, and that nothing gets by one that stops or
//! fails.

use std::time::Duration;

use futures_util::StreamExt;
use lockgate_api::{
    BackendError, Event, FinishReason, Guard, HELD_BYTES_MAX, Locality, TokenLogprob, TopLogprob, Verdict,
};
use proptest::prelude::*;
use tokio::time::Instant;

use super::filters::*;
use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;
use crate::policies::Policies;

fn with(local: &Arc<Fake>, guards: &[&Arc<FakeGuard>]) -> Gateway {
    let policies = Policies {
        guards: guards.iter().map(|guard| Arc::clone(guard) as Arc<dyn Guard>).collect(),
        ..Policies::router(Policy::plan(&["local"]))
    };
    Gateway::new(targets(&[local]), policies, GatewayOptions::default()).expect("the setup is sound")
}

fn local(script: Vec<Act>) -> Arc<Fake> {
    Fake::new("local", Locality::Local, script)
}

fn say(choice: u32, text: &str) -> Event {
    Event::Text { choice, text: text.to_owned(), logprobs: Vec::new() }
}

fn think(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.to_owned() }
}

fn call(index: u32, begins: bool, arguments: &str) -> Event {
    let id = begins.then(|| format!("id-{index}"));
    let name = begins.then(|| format!("tool-{index}"));
    Event::ToolCall { choice: 0, index, id, name, arguments: arguments.to_owned() }
}

fn end(choice: u32, reason: FinishReason) -> Event {
    Event::Finish { choice, reason }
}

fn used() -> Event {
    let Act::Event(event) = usage(2) else { panic!("it is an event") };
    event
}

fn begin() -> Event {
    Event::Start { model: "m".to_owned() }
}

fn script(events: &[Event]) -> Vec<Act> {
    events.iter().cloned().map(Act::Event).collect()
}

/// Everything that comes out of an answer of one choice.
async fn told(gateway: &Gateway, choices: u32) -> (Vec<Event>, Option<BackendError>) {
    let mut asked = ask("auto");
    asked.request = Arc::new(ChatRequest { choices, ..(*asked.request).clone() });
    let mut answer = gateway.answer(asked).await.map_err(|failure| failure.error).expect("it begins");
    let (mut events, mut error) = (Vec::new(), None);
    while let Some(item) = answer.events.next().await {
        assert!(error.is_none(), "nothing follows an error");
        match item {
            Ok(event) => events.push(event),
            Err(failed) => error = Some(failed),
        }
    }
    (events, error)
}

fn chunk(kind: &str, text: &str) -> Asked {
    Asked::Chunk(kind.to_owned(), text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_passes_stays_as_it_is() {
    let events = [
        begin(),
        think("hm"),
        think(" well"),
        say(0, "a"),
        say(0, "b"),
        call(0, true, ""),
        call(0, false, "{}"),
        call(1, true, "{\"x\":"),
        call(1, false, "1}"),
        end(0, FinishReason::ToolCalls),
        used(),
    ];
    let local = local(script(&events));
    let guard = FakeGuard::verdicts("guard", &[]);
    let (out, error) = told(&with(&local, &[&guard]), 1).await;
    assert_eq!((out, error), (events.to_vec(), None));
    let expected = [
        chunk("reasoning", "hm"),
        chunk("reasoning", " well"),
        Asked::EndRun,
        chunk("text", "a"),
        chunk("text", "b"),
        Asked::EndRun,
        chunk("tool-0", ""),
        chunk("tool-0", "{}"),
        Asked::EndRun,
        chunk("tool-1", "{\"x\":"),
        chunk("tool-1", "1}"),
        Asked::EndRun,
        Asked::Finish,
    ];
    assert_eq!(guard.asked(), expected);
}

#[tokio::test(start_paused = true)]
async fn text_is_held_back_and_replaced_in_its_place() {
    let events = [
        begin(),
        say(0, "one "),
        say(0, "two "),
        say(0, "three"),
        call(0, true, "{}"),
        end(0, FinishReason::Stop),
        used(),
    ];
    let local = local(script(&events));
    let guard = FakeGuard::verdicts(
        "guard",
        &[Verdict::Hold(100), Verdict::Replace("ONE TWO ".to_owned()), Verdict::Hold(2), Verdict::Hold(2)],
    );
    let (out, error) = told(&with(&local, &[&guard]), 1).await;
    // What is held back of a run comes before what follows the run.
    let expected = [
        begin(),
        say(0, "ONE TWO "),
        say(0, "thr"),
        say(0, "ee"),
        call(0, true, "{}"),
        end(0, FinishReason::Stop),
        used(),
    ];
    assert_eq!((out, error), (expected.to_vec(), None));
}

#[tokio::test(start_paused = true)]
async fn log_probabilities_are_left_out() {
    let token = TopLogprob { token: "secret".to_owned(), bytes: None, logprob: -0.5 };
    let logprobs = vec![TokenLogprob { chosen: token.clone(), top: vec![token] }];
    let text = Event::Text { choice: 0, text: "secret".to_owned(), logprobs };
    let local = local(script(&[begin(), text, end(0, FinishReason::Stop)]));
    let guard = FakeGuard::verdicts("guard", &[]);
    let (out, _) = told(&with(&local, &[&guard]), 1).await;
    assert_eq!(out, [begin(), say(0, "secret"), end(0, FinishReason::Stop)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_choice_and_the_targets_work() {
    let mut acts = script(&[begin(), say(0, "fine "), say(0, "sec"), say(0, "ret"), say(0, "more")]);
    acts.push(Act::Hang);
    let local = local(acts);
    let stop = Verdict::Stop { reason: "it was said".to_owned() };
    let guard = FakeGuard::verdicts("guard", &[Verdict::Pass, Verdict::Hold(3), stop]);
    let gateway = with(&local, &[&guard]);
    let (out, error) = told(&gateway, 1).await;
    let expected = [begin(), say(0, "fine "), end(0, FinishReason::ContentFilter)];
    assert_eq!((out, error), (expected.to_vec(), None));
    assert_eq!(local.alive(), 0, "the target is not kept at work");
    let health = gateway.facts(&Labels::none())[0].health;
    assert_eq!((health.in_flight, health.error_rate), (0, None), "and it is not to blame");
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_the_end_counts_too() {
    for when in [Asked::EndRun, Asked::Finish] {
        let local = local(answer());
        let guard = {
            let when = when.clone();
            FakeGuard::new("guard", move |asked| {
                let stops = *asked == when;
                Some(Ok(if stops { Verdict::Stop { reason: "no".to_owned() } } else { Verdict::Pass }))
            })
        };
        let (out, error) = told(&with(&local, &[&guard]), 1).await;
        let expected = [begin(), say(0, "hello"), end(0, FinishReason::ContentFilter), used()];
        assert_eq!((out, error), (expected.to_vec(), None), "{when:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_choices_go_on() {
    let local = local(script(&[
        begin(),
        say(0, "bad"),
        say(1, "good"),
        say(0, " and more"),
        say(1, " and more"),
        end(0, FinishReason::Stop),
        end(1, FinishReason::Stop),
        used(),
    ]));
    let guard = FakeGuard::new("guard", |asked| {
        let stops = *asked == chunk("text", "bad");
        Some(Ok(if stops { Verdict::Stop { reason: "no".to_owned() } } else { Verdict::Pass }))
    });
    let (out, error) = told(&with(&local, &[&guard]), 2).await;
    let expected = [
        begin(),
        end(0, FinishReason::ContentFilter),
        say(1, "good"),
        say(1, " and more"),
        end(1, FinishReason::Stop),
        used(),
    ];
    assert_eq!((out, error), (expected.to_vec(), None));
    assert_eq!(guard.begun.lock().expect("no panic").len(), 2, "an instance a choice");
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_the_answer_and_nothing_held_back_gets_by() {
    for error in [
        PolicyError::Trap { message: "unreachable".to_owned() },
        PolicyError::Limit { limit: "memory".to_owned() },
        PolicyError::InvalidAnswer { problem: "no".to_owned() },
        PolicyError::Host { message: "bug".to_owned() },
    ] {
        let local = local(script(&[begin(), say(0, "fine "), say(0, "sec"), say(0, "ret"), say(0, "more")]));
        let guard = {
            let error = error.clone();
            FakeGuard::new("careful", move |asked| {
                Some(match asked {
                    Asked::Chunk(_, text) if text == "sec" => Ok(Verdict::Hold(9)),
                    Asked::Chunk(_, text) if text == "ret" => Err(error.clone()),
                    _ => Ok(Verdict::Pass),
                })
            })
        };
        let gateway = with(&local, &[&guard]);
        let (out, failed) = told(&gateway, 1).await;
        assert_eq!(out, [begin(), say(0, "fine ")]);
        let failed = failed.expect("the answer breaks off");
        assert_eq!(failed.kind, ErrorKind::Guard);
        assert!(failed.message.contains("`careful`") && failed.message.contains(error.kind()), "{failed}");
        assert_eq!(local.alive(), 0);
        assert_eq!(gateway.facts(&Labels::none())[0].health.error_rate, None, "the target is not to blame");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_ends_fails_in_time() {
    let local = local(script(&[begin(), say(0, "a"), say(0, "b")]));
    let guard = FakeGuard::new("hangs", |asked| (*asked != chunk("text", "b")).then_some(Ok(Verdict::Pass)));
    let began = Instant::now();
    let (out, error) = told(&with(&local, &[&guard]), 1).await;
    assert_eq!((out, error.map(|error| error.kind)), (vec![begin(), say(0, "a")], Some(ErrorKind::Guard)));
    assert_eq!((began.elapsed(), local.alive()), (Duration::from_secs(10), 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_holds_for_ever_fails_at_the_bound() {
    let endless = |_: &Asked| Some(Ok(Verdict::Hold(usize::MAX)));
    let chunks = (0..100).map(|_| say(0, &"x".repeat(1 << 10)));
    let local = local(script(&[begin()].into_iter().chain(chunks).collect::<Vec<_>>()));
    let guard = FakeGuard::new("holds", endless);
    let (out, error) = told(&with(&local, &[&guard]), 1).await;
    assert_eq!((out, error.map(|error| error.kind)), (vec![begin()], Some(ErrorKind::Guard)));
    assert_eq!(guard.asked().len(), HELD_BYTES_MAX / (1 << 10) + 1);
    // And one that would hold at the end lets nothing through either.
    let local = self::local(answer());
    let (out, error) = told(&with(&local, &[&FakeGuard::new("holds", endless)]), 1).await;
    assert_eq!((out, error.map(|error| error.kind)), (vec![begin()], Some(ErrorKind::Guard)));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_begin_refuses_before_anything_is_sent() {
    let local = local(answer());
    for error in [PolicyError::Overloaded, PolicyError::Trap { message: "unreachable".to_owned() }] {
        let guard = {
            let error = error.clone();
            FakeGuard::beginning("careful", move |_| Err(error.clone()))
        };
        let failure = run(&with(&local, &[&guard]), ask("local")).await.expect_err("refused");
        let GatewayError::PolicyFailed { policy, error: told } = failure.error else { panic!("{failure:?}") };
        assert_eq!((&*policy, told), ("careful", error));
    }
    let guard = FakeGuard::beginning("careful", |_| Err(PolicyError::Refused { reason: "no".to_owned() }));
    let failure = run(&with(&local, &[&guard]), ask("local")).await.expect_err("refused");
    assert!(matches!(failure.error, GatewayError::PolicyRefused { .. }), "{failure:?}");
    assert_eq!(local.sends(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_sees_what_the_one_before_lets_through() {
    let local = local(script(&[begin(), say(0, "a"), say(0, "b"), end(0, FinishReason::Stop)]));
    let first = FakeGuard::verdicts("first", &[Verdict::Hold(1), Verdict::Replace("AB".to_owned())]);
    let second = FakeGuard::new("second", |asked| {
        Some(Ok(match asked {
            Asked::Chunk(_, text) => Verdict::Replace(format!("<{text}>")),
            Asked::EndRun => Verdict::Pass,
            Asked::Finish => Verdict::Replace("!".to_owned()),
        }))
    });
    let (out, _) = told(&with(&local, &[&first, &second]), 1).await;
    assert_eq!(out, [begin(), say(0, "<AB>"), say(0, "!"), end(0, FinishReason::Stop)]);
    assert_eq!(second.asked(), [chunk("text", "AB"), Asked::EndRun, Asked::Finish]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_first_ends_the_second_in_good_order() {
    let local = local(script(&[begin(), say(0, "a"), say(0, "b"), say(0, "c")]));
    let stop = Verdict::Stop { reason: "no".to_owned() };
    let first = FakeGuard::verdicts("first", &[Verdict::Pass, Verdict::Hold(1), stop]);
    let second = FakeGuard::verdicts("second", &[Verdict::Hold(1)]);
    let (out, error) = told(&with(&local, &[&first, &second]), 1).await;
    // The second had held back what the first had let through; that is nobody's secret.
    let expected = [begin(), say(0, "a"), end(0, FinishReason::ContentFilter)];
    assert_eq!((out, error), (expected.to_vec(), None));
    assert_eq!(second.asked(), [chunk("text", "a"), Asked::EndRun, Asked::Finish]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_stays_a_stream() {
    let mut acts = script(&[begin(), say(0, "a")]);
    acts.extend([Act::Pause(30), Act::Event(say(0, "b")), Act::Hang]);
    let local = local(acts);
    let gateway = with(&local, &[&FakeGuard::verdicts("guard", &[])]);
    let began = Instant::now();
    let mut answer = gateway.answer(ask("auto")).await.map_err(|failure| failure.error).expect("answers");
    for expected in [begin(), say(0, "a")] {
        assert_eq!(answer.events.next().await, Some(Ok(expected)));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    assert_eq!(answer.events.next().await, Some(Ok(say(0, "b"))));
    assert_eq!((began.elapsed(), local.alive()), (Duration::from_secs(30), 1));
    drop(answer);
    assert_eq!(local.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_target_lets_nothing_held_back_through() {
    let mut acts = script(&[begin(), say(0, "secret")]);
    acts.extend(fails(ErrorKind::Upstream));
    let guard = FakeGuard::verdicts("guard", &[Verdict::Hold(9)]);
    let (out, error) = told(&with(&local(acts), &[&guard]), 1).await;
    assert_eq!((out, error.map(|error| error.kind)), (vec![begin()], Some(ErrorKind::Upstream)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// However much guards hold back, and for how long: every strand of every choice is whole, in its order.
    #[test]
    fn holding_back_only_delays(
        parts in prop::collection::vec((0u32..2, 0u8..3, "[a-cé]{1,5}"), 0..30),
        holds in prop::collection::vec(0usize..12, 1..6),
        guards in 1usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let event = |(choice, strand, text): &(u32, u8, String)| match strand {
            0 => say(*choice, text),
            1 => Event::Reasoning { choice: *choice, text: text.clone() },
            _ => Event::ToolCall {
                choice: *choice,
                index: 0,
                id: None,
                name: Some("tool".to_owned()),
                arguments: text.clone(),
            },
        };
        let mut events = vec![begin()];
        events.extend(parts.iter().map(event));
        events.extend([end(0, FinishReason::Stop), end(1, FinishReason::Stop), used()]);
        let local = local(script(&events));
        let guards: Vec<_> = ["one", "two"][..guards]
            .iter()
            .map(|id| {
                FakeGuard::verdicts(id, &holds.iter().map(|hold| Verdict::Hold(*hold)).collect::<Vec<_>>())
            })
            .collect();
        let gateway = with(&local, &guards.iter().collect::<Vec<_>>());
        let (out, error) = runtime.block_on(told(&gateway, 2));
        prop_assert_eq!(error, None);
        for choice in 0..2 {
            // Text of one strand that follows on is one.
            let merged = |events: &[Event]| {
                let mut merged: Vec<(u8, String)> = Vec::new();
                for event in events {
                    let (strand, text) = match event {
                        Event::Text { choice: at, text, .. } if *at == choice => (0, text),
                        Event::Reasoning { choice: at, text } if *at == choice => (1, text),
                        Event::ToolCall { choice: at, arguments, .. } if *at == choice => (2, arguments),
                        _ => continue,
                    };
                    match merged.last_mut() {
                        Some((last, whole)) if *last == strand => whole.push_str(text),
                        _ => merged.push((strand, text.clone())),
                    }
                }
                merged
            };
            prop_assert_eq!(merged(&out), merged(&events));
        }
        prop_assert_eq!(out.last(), Some(&used()));
        prop_assert_eq!(out.first(), Some(&begin()));
    }
}
