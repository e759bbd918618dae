//! What a plugin sees of a request, and what becomes of what it says.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Label, Overrides, PlannedAttempt, PolicyError, RouteInput, Router as _};
use lockgate_sandbox::{Limits, PluginSpec, RouterPlugin};

use crate::support::{
    self, attack, attacker, hostile, input, labelled, load, mode_of, reason, route, sandbox, spec,
};

#[test]
fn a_plan_comes_out_as_the_guest_made_it() {
    let plugin = attacker();
    let plan = attack(&plugin, "label").expect("it gives a plan");
    assert_eq!(plan.attempts, [PlannedAttempt::on("here")]);
    assert_eq!(plan.add_labels, [Label::LocalOnly]);
    assert_eq!(plan.reason, "personal");
    assert_eq!(plugin.id(), "hostile");
}

#[test]
fn an_attempt_comes_out_with_its_overrides() {
    let plan = attack(&attacker(), "overrides").expect("it gives a plan");
    let sampling = Overrides {
        temperature: Some(0.25),
        top_p: Some(0.5),
        top_k: Some(7),
        seed: Some(u64::MAX),
        max_tokens: Some(64),
    };
    let timeout = Some(Duration::from_millis(900));
    assert_eq!(plan.attempts, [PlannedAttempt { timeout, sampling, ..PlannedAttempt::on("here") }]);
}

#[test]
fn hedges_come_out_with_their_times() {
    let plan = attack(&attacker(), "hedged").expect("it gives a plan");
    let hedges: Vec<_> = plan.attempts.iter().map(|attempt| attempt.hedge_after).collect();
    assert_eq!(hedges, [Some(Duration::from_millis(1)); 3]);
}

#[test]
fn the_adapters_of_each_model_are_told() {
    let mut given = mode_of("adapters", input("hi"));
    let mut catalog = given.catalog.to_vec();
    catalog[0].adapters = vec!["here:triage".to_owned(), "here:tone".to_owned()];
    given.catalog = catalog.into();
    assert_eq!(reason(route(&attacker(), given)), r#"[["here:triage", "here:tone"], [], []]"#);
}

#[test]
fn a_refusal_is_no_failure() {
    let outcome = attack(&attacker(), "refuse");
    assert_eq!(outcome, Err(PolicyError::Refused { reason: "not today".to_owned() }));
}

#[test]
fn settings_arrive() {
    let settings = [("size".to_owned(), "7".to_owned()), ("colour".to_owned(), "blue".to_owned())].into();
    let plugin = load(&sandbox(), &hostile(), PluginSpec { settings, ..spec() });
    assert_eq!(reason(attack(&plugin, "settings")), r#"Some("blue") [("colour", "blue"), ("size", "7")]"#);
}

#[test]
fn text_arrives_unchanged_and_at_the_cost_of_what_is_read() {
    let plugin = attacker();
    for text in ["", "hello", "zwölf €, 🙂\nand\ttabs", "\0\u{7f}"] {
        assert_eq!(reason(route(&plugin, mode_of("echo", input(text)))), text);
    }
    let long = mode_of("echo", input(&"x".repeat(32 << 20)));
    assert_eq!(reason(route(&plugin, long)).len(), 1 << 10);
}

#[test]
fn calls_run_side_by_side() {
    let plugin = Arc::new(attacker());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let calls: Vec<_> = (0..100)
            .map(|number| {
                let plugin = Arc::clone(&plugin);
                let input = mode_of("echo", input(&format!("call {number}")));
                tokio::spawn(async move { plugin.route(input).await })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(reason(call.await.expect("no call panics")), format!("call {number}"));
        }
    });
}

/// Runs one call and returns what an operator's log has of it when the request is over.
fn logged(plugin: &RouterPlugin, input: RouteInput) -> String {
    logged_with(plugin, input, None)
}

/// The same for a request that gets a label after the call.
fn logged_with(plugin: &RouterPlugin, input: RouteInput, later: Option<Label>) -> String {
    let scope = Arc::clone(&input.scope);
    support::logged(async {
        let _plan = plugin.route(input).await;
        scope.add_labels(later);
        scope.settle();
    })
}

#[test]
fn log_lines_carry_the_plugin_and_the_request() {
    let plugin = attacker();
    let log = logged(&plugin, mode_of("log", input("hello")));
    assert!(log.contains("a line for the operator plugin=\"hostile\" request=\"request-1\""), "{log}");
    assert!(log.contains("standard error: a line on standard error"), "{log}");

    // A label, the request's or the plan's own, keeps every line in.
    let log = logged(&plugin, mode_of("log", labelled("hello", Label::Region("eu".to_owned()))));
    assert_eq!(log, "");
    assert_eq!(logged(&plugin, mode_of("label-and-log", input("hello"))), "");
    // So does one that another plugin adds.
    assert_eq!(logged_with(&plugin, mode_of("log", input("hello")), Some(Label::LocalOnly)), "");
}

#[test]
fn a_log_flood_is_cut() {
    let limits = Limits { host_calls_max: 10_000, ..spec().limits };
    let plugin = load(&sandbox(), &hostile(), PluginSpec { limits, ..spec() });
    let log = logged(&plugin, mode_of("log-flood", input("hello")));
    assert!(log.contains("line 31 ") && !log.contains("line 32 "), "{log}");
    assert!(log.contains("dropped=968"), "{log}");
    let log = logged(&plugin, mode_of("log-long", input("hello")));
    assert!(log.contains('é') && log.len() < 5_000, "{} bytes", log.len());
}

#[test]
fn a_failure_is_logged_with_the_plugin() {
    let plugin = attacker();
    let log = logged(&plugin, mode_of("panic", input("hello")));
    assert!(
        log.contains("WARN") && log.contains("plugin=\"hostile\"") && log.contains("kind=\"trap\""),
        "{log}"
    );
    assert!(log.contains("the prompt was: hello"), "{log}");
    let log = logged(&plugin, mode_of("panic", labelled("my secret", Label::LocalOnly)));
    assert!(log.contains("kind=\"trap\"") && !log.contains("secret"), "{log}");
    let log = logged_with(&plugin, mode_of("panic", input("my secret")), Some(Label::LocalOnly));
    assert!(log.contains("kind=\"trap\"") && !log.contains("secret"), "{log}");
}
