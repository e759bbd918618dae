//! Attempts that run beside each other: who wins, what becomes of the others, and what labels have to say.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use lockgate_api::{
    BackendError, BreakerState, Label, Labels, Locality, Plan, PlannedAttempt, ReviewInput, ReviewVerdict,
    Router,
};
use proptest::prelude::*;
use tokio::time::Instant;

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// An attempt that runs alone for so many seconds.
fn hedged(target: &str, after: u64) -> PlannedAttempt {
    PlannedAttempt { hedge_after: Some(seconds(after)), ..PlannedAttempt::on(target) }
}

fn planning(fakes: &[&Arc<Fake>], attempts: Vec<PlannedAttempt>) -> Gateway {
    let plan = Plan { attempts, ..Plan::default() };
    gateway(fakes, &Policy::new(move |_| Ok(plan.clone())), GatewayOptions::default())
}

/// Says its name after so many seconds.
fn says(id: &str, locality: Locality, after: u64) -> Arc<Fake> {
    Fake::new(id, locality, vec![Act::Pause(after), start(), text(id), finish(), usage(2)])
}

/// `a` after `first` seconds, `b` after `second`; `a` is late after two.
fn two(first: u64, second: u64) -> (Arc<Fake>, Arc<Fake>, Gateway) {
    let (a, b) = (says("a", Locality::Local, first), says("b", Locality::Local, second));
    let gateway = planning(&[&a, &b], vec![hedged("a", 2), PlannedAttempt::on("b")]);
    (a, b, gateway)
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_not_late_runs_alone() {
    let (_, b, gateway) = two(1, 0);
    let told = run(&gateway, ask("auto")).await.expect("answers");
    assert_eq!((told.target(), told.text.as_str(), told.outcome.attempts, b.sends()), ("a", "a", 1, 0));
    // At the moment at which it would be late it is heard first.
    let (_, b, gateway) = two(2, 0);
    assert_eq!((run(&gateway, ask("auto")).await.expect("answers").target(), b.sends()), ("a", 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_to_say_something_answers_and_the_other_is_dropped() {
    for (first, second, by, after) in [(100, 1, "b", 3), (4, 10, "a", 4), (5, 3, "a", 5)] {
        let began = Instant::now();
        let (a, b, gateway) = two(first, second);
        let mut answer = gateway.answer(ask("auto")).await.map_err(|failure| failure.error).expect("answers");
        assert_eq!(began.elapsed(), seconds(after));
        assert_eq!(a.alive() + b.alive(), 1, "the other has stopped before the first event goes out");
        assert_eq!((answer.outcome.attempts, a.sends(), b.sends()), (2, 1, 1));
        assert_eq!(answer.outcome.target.as_ref().map(|target| target.id.as_str()), Some(by));
        let mut said = String::new();
        while let Some(event) = answer.events.next().await {
            if let lockgate_api::Event::Text { text, .. } = event.expect("no error") {
                said.push_str(&text);
            }
        }
        assert_eq!(said, by, "one stream, and nothing of the other");
        drop(answer);
        assert_eq!(a.alive() + b.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn losing_is_no_failure() {
    let (_, _, gateway) = two(100, 0);
    for _ in 0..10 {
        assert_eq!(run(&gateway, ask("auto")).await.expect("answers").target(), "b");
    }
    let facts = gateway.facts(&Labels::none());
    let health = facts[0].health;
    assert_eq!((health.breaker, health.error_rate, health.in_flight), (BreakerState::Closed, None, 0));
    assert_eq!(facts[1].health.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_race() {
    let fails_after = |id: &str, after| {
        let failed = BackendError::new(ErrorKind::Unavailable, "scripted");
        Fake::new(id, Locality::Local, vec![Act::Pause(after), Act::Error(failed)])
    };
    // The hedge fails: the next takes its place, beside the late one.
    let (a, b, c) = (says("a", Locality::Local, 100), fails_after("b", 1), says("c", Locality::Local, 1));
    let plan = || vec![hedged("a", 2), PlannedAttempt::on("b"), PlannedAttempt::on("c")];
    let began = Instant::now();
    let told = run(&planning(&[&a, &b, &c], plan()), ask("auto")).await.expect("answers");
    assert_eq!((told.target(), told.outcome.attempts, began.elapsed()), ("c", 3, seconds(4)));
    // The late one fails: its hedge goes on alone.
    let (a, b) = (fails_after("a", 3), says("b", Locality::Local, 10));
    let told = run(&planning(&[&a, &b, &c], plan()), ask("auto")).await.expect("answers");
    assert_eq!((told.target(), told.outcome.attempts), ("b", 2));
    // One that fails before it is late is followed at once.
    let (a, began) = (fails_after("a", 1), Instant::now());
    run(&planning(&[&a, &b, &c], plan()), ask("auto")).await.expect("answers");
    assert_eq!(began.elapsed(), seconds(11));
    // All fail: each is told, and the timers of each are its own.
    let (a, b) =
        (Fake::new("a", Locality::Local, vec![Act::Hang]), Fake::new("b", Locality::Local, vec![Act::Hang]));
    let began = Instant::now();
    let both = vec![hedged("a", 2), PlannedAttempt::on("b")];
    let failure = run(&planning(&[&a, &b], both), ask("auto")).await.expect_err("nobody answers");
    let GatewayError::Exhausted(failures) = &failure.error else { panic!("{failure:?}") };
    assert_eq!((failures.len(), failure.outcome.attempts, began.elapsed()), (2, 2, seconds(127)));
    assert_eq!(a.alive() + b.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn giving_up_drops_everybody_and_frees_every_place() {
    let (a, b, gateway) = two(100, 100);
    let given_up = tokio::time::timeout(seconds(5), gateway.answer(ask("auto"))).await;
    assert!(given_up.is_err());
    assert_eq!((a.sends(), b.sends(), a.alive(), b.alive()), (1, 1, 0, 0));
    for facts in gateway.facts(&Labels::none()).iter() {
        assert_eq!((facts.health.in_flight, facts.health.error_rate), (0, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_never_goes_where_a_label_forbids() {
    let (here, cloud) = (says("here", Locality::Local, 50), says("cloud", Locality::Cloud, 0));
    let gateway = planning(&[&here, &cloud], vec![hedged("here", 2), PlannedAttempt::on("cloud")]);
    for labels in ["local-only", "no-cloud"] {
        let told = run(&gateway, ask_with("auto", labels)).await.expect("it is slow");
        assert_eq!((told.target(), told.outcome.attempts, cloud.sends()), ("here", 1, 0));
    }
    assert_eq!(run(&gateway, ask("auto")).await.expect("it is permitted").target(), "cloud");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_is_checked_by_what_is_known_when_it_is_made() {
    // Found to pass requests on while the first attempt runs: it counts as a cloud by then.
    let (a, proxy, c) =
        (says("a", Locality::Local, 50), says("proxy", Locality::Local, 0), says("c", Locality::Local, 1));
    proxy.passes_on.store(true, Ordering::SeqCst);
    let plan = vec![hedged("a", 2), PlannedAttempt::on("proxy"), PlannedAttempt::on("c")];
    let gateway = planning(&[&a, &proxy, &c], plan);
    let revealed = Arc::clone(&proxy.revealed);
    let (told, ()) = tokio::join!(run(&gateway, ask_with("auto", "local-only")), async {
        tokio::time::sleep(seconds(1)).await;
        revealed.store(true, Ordering::SeqCst);
    });
    let told = told.expect("the third is permitted");
    assert_eq!((told.target(), told.outcome.attempts, proxy.sends()), ("c", 2, 0));
}

/// Judges the first answer, labels the request while it does, and is never content.
struct Labelling;

impl Router for Labelling {
    fn id(&self) -> &str {
        "labelling"
    }

    fn route(&self, _: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        let first = PlannedAttempt { review: true, ..PlannedAttempt::on("small") };
        let attempts = vec![first, hedged("here", 2), PlannedAttempt::on("cloud")];
        Box::pin(std::future::ready(Ok(Plan { attempts, ..Plan::default() })))
    }

    fn review(&self, input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        input.scope.add_labels([Label::LocalOnly]);
        Box::pin(std::future::ready(Ok(ReviewVerdict::Next { reason: String::new() })))
    }
}

#[tokio::test(start_paused = true)]
async fn a_label_that_comes_with_a_review_holds_for_what_follows() {
    let small = says("small", Locality::Local, 0);
    let (here, cloud) = (says("here", Locality::Local, 50), says("cloud", Locality::Cloud, 0));
    let policies = Policies::router(Arc::new(Labelling));
    let gateway = Gateway::new(targets(&[&small, &here, &cloud]), policies, GatewayOptions::default());
    let told = run(&gateway.expect("sound"), ask("auto")).await.expect("the local one answers");
    assert_eq!((told.target(), cloud.sends(), told.outcome.attempts), ("here", 0, 2));
    assert_eq!(told.outcome.labels.to_string(), "local-only");
    assert_eq!(here.sent.lock().expect("no panic")[0].labels.to_string(), "local-only");
}

#[tokio::test(start_paused = true)]
async fn a_breach_ends_the_race() {
    let leaky = BackendError::new(ErrorKind::Locality, "remote_host in the answer").dispatched();
    let proxy = Fake::new("proxy", Locality::Local, vec![Act::Pause(3), Act::Error(leaky)]);
    let b = says("b", Locality::Local, 10);
    let gateway = planning(&[&proxy, &b], vec![hedged("proxy", 2), PlannedAttempt::on("b")]);
    let failure = run(&gateway, ask_with("auto", "local-only")).await.expect_err("it has forwarded");
    assert!(matches!(failure.error, GatewayError::Locality { .. }), "{failure:?}");
    assert_eq!((b.sends(), b.alive()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_hedged_is_no_plan() {
    let a = says("a", Locality::Local, 0);
    let reviewed = |target: &str| PlannedAttempt { review: true, ..PlannedAttempt::on(target) };
    for (problem, attempts) in [
        ("0 ms", vec![hedged("a", 0)]),
        ("review", vec![PlannedAttempt { review: true, ..hedged("a", 2) }]),
        ("review", vec![hedged("a", 2), PlannedAttempt::on("a"), reviewed("a")]),
    ] {
        let failure = run(&planning(&[&a], attempts), ask("auto")).await.expect_err("it makes no sense");
        let GatewayError::PolicyFailed { error: PolicyError::InvalidPlan { problem: told }, .. } =
            &failure.error
        else {
            panic!("{failure:?}")
        };
        assert!(told.contains(problem), "{told}");
        assert_eq!(a.sends(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn hedges_are_counted() {
    let metrics = crate::metrics::Metrics::default();
    let (a, b) = (says("a", Locality::Local, 5), says("b", Locality::Local, 1));
    let plan = Plan { attempts: vec![hedged("a", 2), PlannedAttempt::on("b")], ..Plan::default() };
    let options = GatewayOptions { metrics: metrics.clone(), ..GatewayOptions::default() };
    let gateway = gateway(&[&a, &b], &Policy::new(move |_| Ok(plan.clone())), options);
    run(&gateway, ask("auto")).await.expect("b answers");
    b.does(vec![Act::Hang]);
    run(&gateway, ask("auto")).await.expect("a answers");
    let text = text_of(&metrics);
    for line in [
        "hedges_total{target=\"b\",result=\"started\"} 2",
        "hedges_total{target=\"b\",result=\"won\"} 1",
        "attempts_total{target=\"a\",result=\"abandoned\"} 1",
        "attempts_total{target=\"b\",result=\"abandoned\"} 1",
        "attempts_total{target=\"a\",result=\"ok\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn any_script() -> impl Strategy<Value = (u64, u8)> {
    (0_u64..8, 0_u8..4)
}

/// What a target of this id does: pauses, then answers, fails, breaks off, or goes on for ever in silence.
fn script(id: &str, (pause, way): (u64, u8)) -> Vec<Act> {
    let end = match way {
        0 | 1 => vec![start(), text(id), Act::Pause(1), text(id), finish(), usage(2)],
        2 => fails(ErrorKind::Unavailable),
        _ => vec![Act::Hang],
    };
    [vec![Act::Pause(pause)], end].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whoever is late, fails or hangs, in whatever order: the client gets one target's answer and nothing of another's;
    /// no step is sent twice or where labels forbid; everybody who runs is dropped or done in the end.
    #[test]
    fn a_race_has_one_winner(
        steps in prop::collection::vec((prop::sample::select(IDS.to_vec()), prop::option::of(1_u64..6)), 1..6),
        scripts in prop::collection::vec(any_script(), 4),
        is_labelled in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let localities = [Locality::Local, Locality::Cloud, Locality::Local, Locality::Lan];
        let fakes: Vec<_> = IDS.iter().zip(localities).zip(&scripts)
            .map(|((id, locality), doing)| Fake::new(id, locality, script(id, *doing)))
            .collect();
        let attempts = steps.iter()
            .map(|(id, after)| PlannedAttempt { hedge_after: after.map(seconds), ..PlannedAttempt::on(*id) })
            .collect();
        let gateway = planning(&fakes.iter().collect::<Vec<_>>(), attempts);
        let labels = if is_labelled { "local-only" } else { "" };
        let result = runtime.expect("a runtime").block_on(run(&gateway, ask_with("auto", labels)));
        let mut sends = 0;
        for fake in &fakes {
            let named = steps.iter().filter(|(id, _)| *id == fake.target.id).count();
            prop_assert!(fake.sends() <= named, "each step once");
            prop_assert!(fake.sends() == 0 || !is_labelled || fake.target.locality == Locality::Local);
            prop_assert_eq!(fake.alive(), 0, "nothing runs on");
            sends += fake.sends() as u32;
        }
        for facts in gateway.facts(&Labels::none()).iter() {
            prop_assert_eq!(facts.health.in_flight, 0);
        }
        match result {
            Ok(told) => {
                prop_assert_eq!(told.outcome.attempts, sends);
                prop_assert_eq!(told.error.as_ref(), None);
                prop_assert_eq!(&told.text, &told.target().repeat(2));
            }
            Err(failure) => {
                prop_assert_eq!(failure.outcome.attempts, sends);
                // Nobody who would have answered was left out.
                for (id, _) in &steps {
                    let place = IDS.iter().position(|known| known == id).expect("it is one of them");
                    let is_permitted = !is_labelled || fakes[place].target.locality == Locality::Local;
                    prop_assert!(!is_permitted || scripts[place].1 >= 2, "{id} would have answered");
                }
            }
        }
    }
}
