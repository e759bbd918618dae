use std::collections::BTreeMap;

use lockgate_plugin::testing::{FakeCatalog, FakeRequest, FakeSettings, FakeTarget};
use lockgate_plugin::{Breaker, Role, Router as _, Want};

use crate::Failover;

fn fast(id: &str, first_token_ms: f64) -> FakeTarget {
    FakeTarget {
        first_token_ms: Some(first_token_ms),
        tokens_per_second: Some(100.0),
        ..FakeTarget::cloud(id)
    }
}

fn ids(request: &FakeRequest, catalog: &FakeCatalog, settings: &FakeSettings) -> Vec<String> {
    let plan = Failover::route(request, catalog, settings).expect("there is a target");
    plan.targets().into_iter().map(str::to_owned).collect()
}

fn plain() -> FakeSettings {
    FakeSettings::none().with("sticky", "none")
}

#[test]
fn the_fastest_healthy_target_comes_first() {
    let failing = FakeTarget { error_rate: Some(0.6), ..fast("failing", 10.0) };
    let catalog = FakeCatalog::new([
        fast("slow", 900.0),
        fast("open", 10.0).breaker(Breaker::Open),
        failing,
        fast("probed", 10.0).breaker(Breaker::HalfOpen),
        fast("quick", 100.0),
        fast("forbidden", 1.0).forbidden(),
    ]);
    let expected = ["quick", "slow", "failing", "probed", "open"];
    assert_eq!(ids(&FakeRequest::user("hi"), &catalog, &plain()), expected);
}

#[test]
fn a_queue_counts_and_an_unknown_target_is_in_the_middle() {
    let busy = FakeTarget { queued: Some(9), in_flight: 4, ..fast("busy", 100.0) };
    let slow = FakeTarget { tokens_per_second: Some(5.0), ..fast("slow", 100.0) };
    let catalog = FakeCatalog::new([slow, FakeTarget::cloud("new"), busy, fast("free", 300.0)]);
    assert_eq!(ids(&FakeRequest::user("hi"), &catalog, &plain()), ["free", "busy", "new", "slow"]);
}

#[test]
fn what_cannot_do_it_comes_after_all_that_can() {
    let able = FakeTarget { offers: vec![Want::Images], ..fast("able", 2000.0) };
    let catalog = FakeCatalog::new([fast("blind", 10.0), able.breaker(Breaker::Open)]);
    assert_eq!(ids(&FakeRequest::user("hi").want(Want::Images), &catalog, &plain()), ["able", "blind"]);
}

#[test]
fn a_conversation_stays_while_it_grows_and_conversations_spread() {
    let all = || FakeCatalog::new(["a", "b", "c"].map(|id| fast(id, 100.0)));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut moved = 0;
    for number in 0..300 {
        let first = FakeRequest::user(format!("Question {number}"));
        let then = first.clone().message(Role::Assistant, "An answer").message(Role::User, "And?");
        let home = ids(&first, &all(), &FakeSettings::none())[0].clone();
        assert_eq!(ids(&then, &all(), &FakeSettings::none())[0], home);
        // Without `c` only those that it had move.
        let mut fewer = all();
        fewer.targets.truncate(2);
        if ids(&first, &fewer, &FakeSettings::none())[0] != home {
            assert_eq!(home, "c");
            moved += 1;
        }
        *counts.entry(home).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
    assert_eq!(moved, counts["c"]);
}

#[test]
fn nobody_stays_with_a_target_that_is_much_slower_or_ill() {
    let mut catalog = FakeCatalog::new(["a", "b"].map(|id| fast(id, 100.0)));
    let request = FakeRequest::user("hi");
    let home = ids(&request, &catalog, &FakeSettings::none())[0].clone();
    let place = usize::from(home == "b");
    catalog.targets[place].first_token_ms = Some(60_000.0);
    assert_ne!(ids(&request, &catalog, &FakeSettings::none())[0], home);
    catalog.targets[place] = fast(&home, 100.0).breaker(Breaker::Open);
    assert_ne!(ids(&request, &catalog, &FakeSettings::none())[0], home);
}

#[test]
fn keys_and_tenants_stay_together() {
    let catalog = FakeCatalog::new(["a", "b", "c", "d"].map(|id| fast(id, 100.0)));
    for (sticky, same) in [("key", true), ("tenant", true), ("conversation", false)] {
        let settings = FakeSettings::none().with("sticky", sticky);
        let homes: Vec<String> = (0..20)
            .map(|number| {
                let mut request = FakeRequest::user(format!("Question {number}"));
                (request.key, request.tenant) = (Some("desk".to_owned()), Some("clinic".to_owned()));
                ids(&request, &catalog, &settings)[0].clone()
            })
            .collect();
        assert_eq!(homes.iter().all(|home| *home == homes[0]), same, "{sticky}: {homes:?}");
    }
}

#[test]
fn nonsense_in_the_settings_refuses() {
    let catalog = FakeCatalog::new([fast("a", 1.0)]);
    for (key, value) in [("sticky", "yes"), ("slack", "0.5"), ("errors_max", "0"), ("speed", "1")] {
        let settings = FakeSettings::none().with(key, value);
        let refusal = Failover::route(&FakeRequest::user("hi"), &catalog, &settings).expect_err(key);
        assert!(refusal.reason.contains(key), "{}", refusal.reason);
    }
    let none = FakeCatalog::new([fast("a", 1.0).forbidden()]);
    assert!(Failover::route(&FakeRequest::user("hi"), &none, &FakeSettings::none()).is_err());
}

#[test]
fn a_hedge_is_on_every_attempt_and_only_where_it_is_set() {
    let catalog = FakeCatalog::new([fast("a", 100.0), fast("b", 200.0)]);
    let hedges = |settings: &FakeSettings| {
        let plan = Failover::route(&FakeRequest::user("hi"), &catalog, settings).expect("there is a target");
        plan.attempts.into_iter().map(|attempt| attempt.hedge_after).collect::<Vec<_>>()
    };
    assert_eq!(hedges(&plain()), [None, None]);
    let time = Some(std::time::Duration::from_millis(800));
    assert_eq!(hedges(&plain().with("hedge_after_ms", "800")), [time, time]);
    for unusable in ["0", "-1", "soon", "1e9"] {
        let settings = plain().with("hedge_after_ms", unusable);
        assert!(Failover::route(&FakeRequest::user("hi"), &catalog, &settings).is_err(), "{unusable}");
    }
}
