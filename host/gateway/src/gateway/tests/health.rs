//! What targets show of themselves, and what follows from it.

use std::time::Duration;

use lockgate_api::{BreakerState, Health, Locality, Router};

use super::support::*;
use crate::failure::GatewayError;
use crate::gateway::*;

fn health(gateway: &Gateway) -> Health {
    gateway.facts(&Labels::none())[0].health
}

#[tokio::test(start_paused = true)]
async fn speed_and_first_token_reach_the_policy() {
    let script = vec![Act::Pause(1), start(), Act::Pause(1), text("a"), Act::Pause(4), finish(), usage(9)];
    let a = Fake::new("a", Locality::Local, script);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let policy = Policy::new({
        let seen = Arc::clone(&seen);
        move |input| {
            seen.lock().expect("no panic").push(input.catalog[0].health);
            Ok(plan(&["a"], &[]))
        }
    });
    let gateway = gateway(&[&a], &policy, GatewayOptions::default());
    run(&gateway, ask("auto")).await.expect("answers");
    run(&gateway, ask("auto")).await.expect("answers");
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen[0], Health { queued: Some(7), ..Health::default() }, "nothing is known at first");
    assert_eq!(seen[1].first_token_median, Some(Duration::from_secs(2)));
    assert_eq!(seen[1].tokens_per_second_median, Some(2.0));
    assert_eq!((seen[1].error_rate, seen[1].in_flight), (Some(0.0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_keeps_failing_is_left_alone_and_comes_back() {
    let a = Fake::new("a", Locality::Cloud, fails(ErrorKind::Unavailable));
    let b = Fake::new("b", Locality::Cloud, answer());
    let gateway = gateway(&[&a, &b], &Policy::plan(&["a", "b"]), GatewayOptions::default());
    for _ in 0..5 {
        assert_eq!(run(&gateway, ask("auto")).await.expect("b answers").outcome.attempts, 2);
    }
    assert_eq!(health(&gateway).breaker, BreakerState::Open);
    let told = run(&gateway, ask("auto")).await.expect("b answers");
    assert_eq!((told.target(), told.outcome.attempts, a.sends()), ("b", 1, 5));

    let failure = run(&gateway, ask("a")).await.expect_err("nobody is asked");
    assert_eq!((failure.outcome.attempts, a.sends()), (0, 5));
    let GatewayError::Exhausted(attempts) = failure.error else { panic!("{:?}", failure.error) };
    assert_eq!(attempts[0].error.retry_after, Some(Duration::from_secs(5)));

    a.does(answer());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(health(&gateway).breaker, BreakerState::HalfOpen);
    assert_eq!(run(&gateway, ask("a")).await.expect("it is back").target(), "a");
    assert_eq!(health(&gateway).breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_not_a_broken_target() {
    let a = Fake::new("a", Locality::Local, fails(ErrorKind::Overloaded));
    let gateway = gateway(&[&a], &Policy::plan(&["a"]), GatewayOptions::default());
    for _ in 0..20 {
        run(&gateway, ask("a")).await.expect_err("full");
    }
    assert_eq!((a.sends(), health(&gateway).breaker), (20, BreakerState::Closed));
    assert_eq!(health(&gateway).error_rate, Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_survives_a_new_configuration_where_nothing_changed() {
    let a = Fake::new("a", Locality::Local, vec![start(), Act::Hang]);
    let b = Fake::new("b", Locality::Local, answer());
    let policy = Policy::plan(&["b"]);
    let old = gateway(&[&a, &b], &policy, GatewayOptions::default());
    let held = old.answer(ask("a")).await.map_err(|failure| failure.error).expect("begins");
    let router = || Policies::router(Arc::clone(&policy) as Arc<dyn Router>);
    let same = old.replaced(targets(&[&a, &b]), router(), GatewayOptions::default()).expect("sound");
    assert_eq!(health(&same).in_flight, 1);
    drop(old);
    drop(held);
    assert_eq!(health(&same).in_flight, 0, "and the answer in flight ended on what it began with");

    let renamed = Fake::new("a", Locality::Cloud, answer());
    for _ in 0..3 {
        run(&same, ask("b")).await.expect("answers");
    }
    let next = same.replaced(targets(&[&renamed, &b]), router(), GatewayOptions::default()).expect("sound");
    let facts = next.facts(&Labels::none());
    assert_eq!(facts[0].health.error_rate, None, "another target of the same name starts afresh");
    assert_eq!(facts[1].health.error_rate, Some(0.0));
}
