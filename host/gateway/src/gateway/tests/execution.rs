//! Attempts: failover before the first event, errors after it, timers, drops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use lockgate_api::{BackendError, BreakerState, Event, Labels, Locality, Plan, PlannedAttempt, TimeoutKind};
use tokio::time::Instant;

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

fn two(first: Vec<Act>) -> (Arc<Fake>, Arc<Fake>, Gateway) {
    let (a, b) = (Fake::new("a", Locality::Local, first), Fake::new("b", Locality::Cloud, answer()));
    let gateway = gateway(&[&a, &b], &Policy::plan(&["a", "b"]), GatewayOptions::default());
    (a, b, gateway)
}

#[tokio::test(start_paused = true)]
async fn the_first_step_that_begins_to_answer_answers() {
    let (_, b, gateway) = two(answer());
    let told = run(&gateway, ask("auto")).await.expect("answers");
    assert_eq!((told.target(), told.text.as_str(), told.outcome.attempts), ("a", "hello", 1));
    assert_eq!((&*told.outcome.policy, &told.error, b.sends()), ("policy", &None, 0));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_event_every_failure_of_a_target_moves_on() {
    use ErrorKind::*;
    for (name, script) in [
        ("invalid request", fails(InvalidRequest)),
        ("context", fails(ContextExceeded { prompt_tokens: 2, context_tokens: 1 })),
        ("late refusal of a field", fails(Unsupported { field: "n".to_owned() })),
        ("credentials", fails(Authentication)),
        ("rate", fails(RateLimited)),
        ("overload", fails(Overloaded)),
        ("down", fails(Unavailable)),
        ("connect", fails(Timeout(TimeoutKind::Connect))),
        ("5xx", fails(Upstream)),
        ("cut", fails(Cut)),
        ("fault", fails(Internal)),
        ("an empty stream", vec![]),
        ("an answer without a start", vec![text("a")]),
        ("silence", vec![Act::Hang]),
        ("a start that is too late", vec![Act::Pause(126), start(), text("late"), finish()]),
    ] {
        let (a, _, gateway) = two(script);
        let told = run(&gateway, ask("auto")).await.expect(name);
        assert_eq!((told.target(), told.outcome.attempts), ("b", 2), "{name}");
        assert_eq!((a.sends(), a.alive()), (1, 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_works_through_a_queue_is_busy_and_not_broken() {
    for (waiting, kind, state) in [
        (3, ErrorKind::Overloaded, BreakerState::Closed),
        (0, ErrorKind::Timeout(TimeoutKind::FirstEvent), BreakerState::Open),
    ] {
        let slow = Fake::new("slow", Locality::Local, vec![Act::Hang]);
        slow.waiting.store(waiting, Ordering::SeqCst);
        let gateway = gateway(&[&slow], &Policy::plan(&["slow"]), GatewayOptions::default());
        for _ in 0..5 {
            run(&gateway, ask("auto")).await.expect_err("nothing comes");
        }
        let failure = run(&gateway, ask("auto")).await.expect_err("nothing comes");
        let GatewayError::Exhausted(failures) = failure.error else { panic!("{failure:?}") };
        assert_eq!(failures[0].tried, state == BreakerState::Closed);
        assert!(failures[0].error.kind == kind || !failures[0].tried);
        assert_eq!(gateway.facts(&Labels::none())[0].health.breaker, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_not_tried_elsewhere() {
    let (_, b, gateway) = two(fails(ErrorKind::Cancelled));
    let failure = run(&gateway, ask("auto")).await.expect_err("cancelled");
    assert_eq!((failure.outcome.attempts, b.sends()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_first_event_an_error_ends_the_answer_and_is_told() {
    let error = |kind| Act::Error(BackendError::new(kind, "scripted").dispatched());
    for (name, script, text_so_far, kind) in [
        ("an error", vec![start(), text("a"), error(ErrorKind::Upstream)], "a", ErrorKind::Upstream),
        ("an error at once", vec![start(), error(ErrorKind::RateLimited)], "", ErrorKind::RateLimited),
        ("a silent end", vec![start(), text("a")], "a", ErrorKind::Cut),
        ("an end after the start", vec![start()], "", ErrorKind::Cut),
        ("silence", vec![start(), text("a"), Act::Hang], "a", ErrorKind::Timeout(TimeoutKind::Idle)),
        ("nonsense", vec![start(), text("a"), start()], "a", ErrorKind::Upstream),
        ("a breach", vec![start(), error(ErrorKind::Locality)], "", ErrorKind::Locality),
    ] {
        let (a, b, gateway) = two(script);
        let told = run(&gateway, ask("auto")).await.expect(name);
        assert_eq!(told.error.map(|error| error.kind), Some(kind), "{name}");
        assert_eq!((told.text.as_str(), told.outcome.attempts, b.sends()), (text_so_far, 1, 0), "{name}");
        assert_eq!(a.alive(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn thinking_before_speaking_is_no_silence_before_the_first_event() {
    let script = vec![start(), Act::Pause(50), text("a"), Act::Pause(50), finish(), usage(1)];
    let (_, _, gateway) = two(script);
    let told = run(&gateway, ask("auto")).await.expect("committed by its start");
    assert_eq!((told.target(), told.text.as_str(), &told.error), ("a", "a", &None));
}

#[tokio::test(start_paused = true)]
async fn each_timer_ends_what_it_is_for_at_its_time() {
    // Default timers: 5 + 120 s to the first event, 60 s of silence, 1800 s in all.
    let began = Instant::now();
    let (_, _, gateway) = two(vec![Act::Hang]);
    run(&gateway, ask("auto")).await.expect("the second answers");
    assert_eq!(began.elapsed(), Duration::from_secs(125));

    let began = Instant::now();
    let (_, _, gateway) = two(vec![start(), Act::Pause(10), text("a"), Act::Hang]);
    run(&gateway, ask("auto")).await.expect("the first began");
    assert_eq!(began.elapsed(), Duration::from_secs(70));

    let began = Instant::now();
    let drip = [vec![start()], (0..100).flat_map(|_| [Act::Pause(50), text("a")]).collect()].concat();
    let (_, _, gateway) = two(drip);
    let told = run(&gateway, ask("auto")).await.expect("the first began");
    assert_eq!(told.error.map(|error| error.kind), Some(ErrorKind::Timeout(TimeoutKind::Total)));
    assert_eq!(began.elapsed(), Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn a_plan_may_only_shorten_an_attempt() {
    let a = Fake::new("a", Locality::Local, vec![Act::Hang]);
    let b = Fake::new("b", Locality::Local, answer());
    let step = |target: &str, seconds| PlannedAttempt {
        timeout: Some(Duration::from_secs(seconds)),
        ..PlannedAttempt::on(target)
    };
    let proposal = Plan { attempts: vec![step("a", 3), step("b", 999_999)], ..Plan::default() };
    let gateway = gateway(&[&a, &b], &Policy::new(move |_| Ok(proposal.clone())), GatewayOptions::default());
    let began = Instant::now();
    let told = run(&gateway, ask("auto")).await.expect("the second answers");
    assert_eq!((told.target(), began.elapsed()), ("b", Duration::from_secs(3)));
    assert_eq!(a.sent.lock().expect("no panic")[0].total, Duration::from_secs(3));
    assert_eq!(b.sent.lock().expect("no panic")[0].total, Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn steps_are_tried_once_each_and_twice_only_when_planned_twice() {
    let a = Fake::new("a", Locality::Local, fails(ErrorKind::Unavailable));
    let b = Fake::new("b", Locality::Local, fails(ErrorKind::Timeout(TimeoutKind::Connect)));
    let gateway = gateway(&[&a, &b], &Policy::plan(&["a", "b", "a"]), GatewayOptions::default());
    let failure = run(&gateway, ask("auto")).await.expect_err("all are down");
    assert_eq!((a.sends(), b.sends(), failure.outcome.attempts), (2, 1, 3));
    assert_eq!(failure.outcome.target.map(|target| target.id.clone()), Some("a".to_owned()));
    let GatewayError::Exhausted(attempts) = &failure.error else { panic!("{:?}", failure.error) };
    assert_eq!(attempts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_honour_a_field_is_passed_over_or_named() {
    let (a, b) = (Fake::refusing("a", "logit_bias"), Fake::refusing("b", "tools"));
    let c = Fake::new("c", Locality::Local, answer());
    let all = [&a, &b, &c];
    let planned = |ids| gateway(&all, &Policy::plan(ids), GatewayOptions::default());

    let told = run(&planned(&["a", "b", "c"]), ask("auto")).await.expect("the third can");
    assert_eq!((told.target(), told.outcome.attempts), ("c", 1), "nothing was sent to the others");

    let failure = run(&planned(&["a", "b"]), ask("auto")).await.expect_err("neither can");
    let message = failure.error.to_string();
    for part in ["`a`", "`logit_bias`", "`b`", "`tools`"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!((failure.outcome.attempts, failure.outcome.target), (0, None));

    let failure = run(&planned(&["c"]), ask("a")).await.expect_err("the named one cannot");
    assert_eq!(failure.error.to_string(), "target `a` cannot honour `logit_bias`: not here");
    assert_eq!((a.sends(), b.sends(), c.sends()), (0, 0, 1), "and nothing stands in for it");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_answer_drops_the_targets_stream_at_once() {
    let script = [vec![start()], (0..1000).map(|_| text("a")).collect()].concat();
    let (a, _, gateway) = two(script);
    let mut answer = gateway.answer(ask("auto")).await.map_err(|failure| failure.error).expect("answers");
    assert!(matches!(answer.events.next().await, Some(Ok(Event::Start { .. }))));
    assert!(matches!(answer.events.next().await, Some(Ok(Event::Text { .. }))));
    assert_eq!(a.alive(), 1);
    drop(answer);
    assert_eq!(a.alive(), 0);
    assert_eq!(a.taken.load(std::sync::atomic::Ordering::SeqCst), 2, "nothing was read ahead");
    assert_eq!(gateway.facts(&Labels::none())[0].health.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn giving_up_while_waiting_drops_the_targets_stream_too() {
    let (a, b, gateway) = two(vec![Act::Hang]);
    let given_up = tokio::time::timeout(Duration::from_secs(3), gateway.answer(ask("auto"))).await;
    assert!(given_up.is_err());
    assert_eq!((a.sends(), a.alive(), b.sends()), (1, 0, 0));
    let health = gateway.facts(&Labels::none())[0].health;
    assert_eq!((health.in_flight, health.error_rate), (0, None), "which says nothing about the target");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_does_not_wait_for_the_end_of_its_stream() {
    let script = [answer(), vec![Act::Hang]].concat();
    let (a, _, gateway) = two(script);
    let began = Instant::now();
    let told = run(&gateway, ask("auto")).await.expect("answers");
    assert_eq!((told.error, began.elapsed(), a.alive()), (None, Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn a_missing_usage_does_not_spoil_a_finished_answer() {
    for tail in [vec![], vec![Act::Hang], fails(ErrorKind::Cut)] {
        let script = [vec![start(), text("hello"), finish()], tail].concat();
        let (_, _, gateway) = two(script);
        let told = run(&gateway, ask("auto")).await.expect("answers");
        assert_eq!((told.text.as_str(), told.error), ("hello", None));
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limits_requests_are_turned_away() {
    let a = Fake::new("a", Locality::Local, vec![start(), Act::Hang]);
    let limits = crate::limiter::Limits { concurrent: 1, waiting: 0, wait: Duration::from_secs(1) };
    let options = GatewayOptions { limits, ..GatewayOptions::default() };
    let gateway = gateway(&[&a], &Policy::plan(&["a"]), options);
    let held = gateway.answer(ask("a")).await.map_err(|failure| failure.error).expect("there is a place");
    let failure = run(&gateway, ask("a")).await.expect_err("there is none left");
    assert!(matches!(failure.error, GatewayError::Overloaded { .. }));
    assert_eq!((failure.outcome.attempts, a.sends()), (0, 1));
    drop(held);
    assert!(gateway.answer(ask("a")).await.is_ok(), "the place is free with the answer");
}
