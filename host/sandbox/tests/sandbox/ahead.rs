//! Instances that are made before the calls that they are for: each is as fresh as one made on the spot.

use std::time::{Duration, Instant};

use lockgate_api::{Label, PolicyError, Router as _};
use lockgate_sandbox::{Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};
use prometheus_client::registry::Registry;

use crate::support::{attack, hostile, input, labelled, load, mode_of, reason, route, run, spec};

const SECONDS_MAX: u64 = 30;

struct Counted(Registry);

impl Counted {
    fn of(sandbox: &Sandbox) -> Self {
        let mut registry = Registry::default();
        sandbox.register(&mut registry);
        Self(registry)
    }

    /// Calls so far that found an instance.
    fn ahead(&self) -> u32 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0).expect("it is text");
        let name = "plugin_ahead_calls_total{";
        let counts = text.lines().filter(|line| line.starts_with(name));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum()
    }
}

fn sandbox(calls_max: u32) -> Sandbox {
    Sandbox::new(&SandboxOptions { calls_max, ..SandboxOptions::default() }).expect("the pool fits")
}

/// Calls until this many found an instance that had been made.
fn call_until(counted: &Counted, count: u32, mut call: impl FnMut()) {
    let begun = Instant::now();
    while counted.ahead() < count {
        assert!(begun.elapsed() < Duration::from_secs(SECONDS_MAX), "none is made ahead");
        call();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn counts_one(plugin: &RouterPlugin) {
    assert_eq!(reason(attack(plugin, "count")), "1");
}

#[test]
fn an_instance_made_ahead_serves_one_call_and_remembers_none() {
    let sandbox = sandbox(16);
    let counted = Counted::of(&sandbox);
    let plugin = load(&sandbox, &hostile(), spec());
    call_until(&counted, 40, || counts_one(&plugin));
}

#[test]
fn each_call_has_its_own_request_labels_and_randomness() {
    let sandbox = sandbox(16);
    let counted = Counted::of(&sandbox);
    let plugin = load(&sandbox, &hostile(), spec());
    let mut numbers = Vec::new();
    call_until(&counted, 20, || {
        numbers.push(reason(attack(&plugin, "random-granted")));
        let plan = route(&plugin, mode_of("good", labelled("mine", Label::LocalOnly))).expect("it answers");
        assert!(!plan.attempts.is_empty());
    });
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn limits_are_those_of_the_call() {
    let sandbox = sandbox(16);
    let counted = Counted::of(&sandbox);
    let limits = Limits { time_max: Duration::from_millis(20), ..spec().limits };
    let plugin = load(&sandbox, &hostile(), PluginSpec { limits, ..spec() });
    call_until(&counted, 6, || {
        let looping = attack(&plugin, "loop");
        assert!(matches!(looping, Err(PolicyError::Limit { .. })), "{looping:?}");
        assert!(attack(&plugin, "good").is_ok());
    });
}

#[test]
fn what_is_made_ahead_is_in_nobody_s_way() {
    // Two plugins take turns, and calls wait while others hold all places.
    for calls_max in 1..=4 {
        let sandbox = sandbox(calls_max);
        let bytes = hostile();
        let plugin = load(&sandbox, &bytes, spec());
        let plugins = [plugin.within(&sandbox), plugin];
        run(async {
            for _ in 0..100 {
                for plugin in &plugins {
                    plugin.route(mode_of("good", input("hello"))).await.expect("there is a place");
                }
                let all = (0..calls_max as usize)
                    .map(|call| plugins[call % 2].route(mode_of("good", input("hello"))));
                let answers = futures_util::future::join_all(all).await;
                answers.into_iter().for_each(|answer| drop(answer.expect("there are as many places")));
            }
        });
    }
}

#[test]
fn a_plugin_that_is_dropped_gives_its_places_back() {
    let sandbox = sandbox(4);
    let counted = Counted::of(&sandbox);
    let other = load(&sandbox, &hostile(), spec());
    for round in 1..=10 {
        // As a reload loads it.
        let plugin = other.within(&sandbox);
        call_until(&counted, round, || counts_one(&plugin));
        drop(plugin);
        run(async {
            let all = (0..4).map(|_| other.route(mode_of("good", input("hello"))));
            for answer in futures_util::future::join_all(all).await {
                answer.expect("all places are there");
            }
        });
    }
}
