//! Instances that are kept between calls: whom they serve, and what drops them. The guest counts its calls in a global.

use std::sync::Arc;

use lockgate_api::{KeyFacts, Label, PolicyError, RouteInput, Scope};
use lockgate_sandbox::{PluginSpec, RouterPlugin, Sandbox, SandboxOptions};

use crate::support::{hostile, input, labelled, load, mode_of, route, sandbox, spec};

const REUSE: u32 = 4;

fn counting(sandbox: &Sandbox, reuse: u32) -> RouterPlugin {
    load(sandbox, &hostile(), PluginSpec { reuse, ..spec() })
}

/// A request of its own scope, as the gateway makes one for each.
fn fresh(input: RouteInput) -> RouteInput {
    let scope = Scope::new(Arc::clone(&input.request_id), Arc::clone(&input.labels), None);
    RouteInput { scope, ..input }
}

/// What the guest has counted in the instance that served the request. Then the request's labels are settled.
fn count(plugin: &RouterPlugin, input: RouteInput) -> String {
    let (count, scope) = called(plugin, "count", input);
    scope.settle();
    count
}

fn called(plugin: &RouterPlugin, mode: &str, input: RouteInput) -> (String, Arc<Scope>) {
    let input = fresh(mode_of(mode, input));
    let scope = Arc::clone(&input.scope);
    let plan = route(plugin, input).expect("it counts");
    scope.add_labels(plan.add_labels.iter().cloned());
    (plan.reason, scope)
}

fn of_tenant(tenant: &str) -> RouteInput {
    RouteInput { key: Some(KeyFacts { name: "desk".into(), tenant: tenant.into() }), ..input("hello") }
}

#[test]
fn an_instance_serves_as_many_calls_as_it_may() {
    let plugin = counting(&sandbox(), REUSE);
    let counts: Vec<String> = (0..9).map(|_| count(&plugin, input("hello"))).collect();
    assert_eq!(counts, ["1", "2", "3", "4", "1", "2", "3", "4", "1"]);
}

#[test]
fn without_it_each_call_has_its_own() {
    for reuse in [0, 1] {
        let plugin = counting(&sandbox(), reuse);
        assert_eq!([(); 3].map(|()| count(&plugin, input("hello"))), ["1", "1", "1"]);
    }
}

#[test]
fn tenants_and_sets_of_labels_share_no_instance() {
    let plugin = counting(&sandbox(), 100);
    let of_nobody = || RouteInput { key: None, ..input("hello") };
    for round in 1..=3 {
        let round = round.to_string();
        assert_eq!(count(&plugin, of_tenant("clinic")), round);
        assert_eq!(count(&plugin, of_tenant("school")), round);
        assert_eq!(count(&plugin, of_nobody()), round);
        assert_eq!(count(&plugin, labelled("hello", Label::LocalOnly)), round);
        assert_eq!(count(&plugin, labelled("hello", Label::NoCloud)), round);
    }
}

#[test]
fn a_label_that_the_request_gains_drops_it_whoever_brings_it() {
    let plugin = counting(&sandbox(), 100);
    assert_eq!(count(&plugin, input("hello")), "1");
    let (counted, scope) = called(&plugin, "count-labelled", input("hello"));
    assert_eq!(counted, "2");
    scope.settle();
    assert_eq!(count(&plugin, input("hello")), "1", "by the plan");
    let (counted, scope) = called(&plugin, "count", input("hello"));
    assert_eq!(counted, "2");
    scope.add_labels([Label::LocalOnly]);
    scope.settle();
    assert_eq!(count(&plugin, input("hello")), "1", "by a later plugin");
}

#[test]
fn it_waits_until_no_label_can_come() {
    let plugin = counting(&sandbox(), 100);
    let (first, scope) = called(&plugin, "count", input("hello"));
    assert_eq!(first, "1");
    assert_eq!(count(&plugin, input("hello")), "1", "the first request may still gain a label");
    scope.settle();
    assert_eq!(count(&plugin, input("hello")), "2");
    // A request that ends without settling anything takes its instance along.
    let (_, scope) = called(&plugin, "count", of_tenant("school"));
    drop(scope);
    assert_eq!(count(&plugin, of_tenant("school")), "1");
}

#[test]
fn a_call_that_fails_drops_it() {
    for mode in ["trap", "panic", "memory", "host-calls"] {
        let plugin = counting(&sandbox(), 100);
        assert_eq!(count(&plugin, input("hello")), "1");
        let failing = fresh(mode_of(mode, input("hello")));
        let scope = Arc::clone(&failing.scope);
        route(&plugin, failing).expect_err(mode);
        scope.settle();
        assert_eq!(count(&plugin, input("hello")), "1", "{mode}");
    }
}

#[test]
fn a_refusal_is_an_answer() {
    let plugin = counting(&sandbox(), 100);
    assert_eq!(count(&plugin, input("hello")), "1");
    let refused = fresh(mode_of("refuse", input("hello")));
    let scope = Arc::clone(&refused.scope);
    assert!(matches!(route(&plugin, refused), Err(PolicyError::Refused { .. })));
    scope.settle();
    assert_eq!(count(&plugin, input("hello")), "2");
}

#[test]
fn one_that_holds_a_handle_is_not_kept() {
    let plugin = counting(&sandbox(), 100);
    let (counted, scope) = called(&plugin, "count-holding", input("hello"));
    assert_eq!(counted, "1");
    scope.settle();
    assert_eq!(count(&plugin, input("hello")), "1");
}

#[test]
fn limits_are_of_a_call() {
    let plugin = counting(&sandbox(), 100);
    // Each takes more than half of the host calls that one may make.
    for round in 1..=3 {
        let (counted, scope) = called(&plugin, "count-asking", input("hello"));
        assert_eq!(counted, round.to_string());
        scope.settle();
    }
}

#[test]
fn kept_instances_give_way_to_whoever_waits() {
    let options = SandboxOptions { calls_max: 2, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let (plugin, other) = (counting(&sandbox, 100), counting(&sandbox, 0));
    // Of two places one is kept, for one tenant at a time.
    for tenant in ["clinic", "school", "clinic"] {
        assert_eq!(count(&plugin, of_tenant(tenant)), "1");
    }
    assert_eq!(count(&plugin, of_tenant("clinic")), "2");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let other = Arc::new(other);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let other = Arc::clone(&other);
            runtime.spawn(async move {
                lockgate_api::Router::route(&*other, fresh(mode_of("count", input("hello")))).await
            })
        })
        .collect();
    for call in calls {
        let plan = runtime.block_on(call).expect("it does not panic").expect("it finds a place");
        assert_eq!(plan.reason, "1");
    }
}

#[test]
fn a_reload_begins_anew_and_gives_the_places_back() {
    let options = SandboxOptions { calls_max: 2, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    for _ in 0..5 {
        let plugin = counting(&sandbox, 100);
        assert_eq!([(); 2].map(|()| count(&plugin, input("hello"))), ["1", "2"]);
    }
}

#[test]
fn what_is_counted_says_how_many_calls_were_warm() {
    let sandbox = sandbox();
    let mut registry = prometheus_client::registry::Registry::default();
    sandbox.register(&mut registry);
    let plugin = counting(&sandbox, REUSE);
    (0..8).for_each(|_| drop(count(&plugin, input("hello"))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is text");
    assert!(text.contains("plugin_warm_calls_total{plugin=\"hostile\",world=\"router\"} 6"), "{text}");
}
