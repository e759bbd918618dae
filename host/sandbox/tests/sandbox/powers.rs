//! State, clock and randomness: what a grant gives, and that nothing more comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockgate_api::{Label, PolicyError, RouteInput, Scope};
use lockgate_sandbox::{
    Environment, Grant, Limits, LoadError, PluginSpec, RouterPlugin, Sandbox, SandboxOptions,
};

use crate::support::{attack, attacker, hostile, input, load, mode_of, reason, route, sandbox, scope, spec};

/// A clock that is set, and numbers that count.
#[derive(Default)]
struct Fixed(AtomicU64);

impl Environment for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.monotonic_ms()
    }
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn random(&self, bytes: &mut [u8]) -> Result<(), String> {
        (1..).zip(bytes).for_each(|(number, byte)| *byte = number);
        Ok(())
    }
}

fn of(mode: &str, scope: &Arc<Scope>) -> RouteInput {
    RouteInput { scope: Arc::clone(scope), ..mode_of(mode, input("hello")) }
}

/// One whole request.
fn settled(plugin: &RouterPlugin, mode: &str) -> Result<String, PolicyError> {
    let scope = scope();
    let outcome = route(plugin, of(mode, &scope)).map(|plan| plan.reason);
    scope.settle();
    outcome
}

#[test]
fn clock_and_randomness_are_the_host_s() {
    let options = SandboxOptions { calls_max: 2, ..SandboxOptions::default() };
    let clock = Arc::new(Fixed::default());
    let environment = Arc::clone(&clock) as Arc<dyn Environment>;
    let sandbox = Sandbox::with_environment(&options, environment).expect("a small pool fits");
    let plugin = load(&sandbox, &hostile(), spec());
    clock.0.store(1_500, Ordering::SeqCst);
    assert_eq!(reason(attack(&plugin, "clock")), "1700000001.5s 1.5s");
    assert_eq!(reason(attack(&plugin, "random-granted")), "[1, 2, 3] 807060504030201");
    // What a toolchain links unasked stays closed.
    assert_eq!(reason(attack(&plugin, "time")), "0ns 0ns");
}

#[test]
fn this_machine_s_time_goes_on_and_its_numbers_differ() {
    let plugin = attacker();
    assert_ne!(reason(attack(&plugin, "random-granted")), reason(attack(&plugin, "random-granted")));
    assert!(!reason(attack(&plugin, "clock")).starts_with("0ns"));
    let limit = "random bytes: 4097 where at most 4096 is allowed".to_owned();
    assert_eq!(attack(&plugin, "random-flood"), Err(PolicyError::Limit { limit }));
}

#[test]
fn each_needs_its_grant() {
    for (missing, line) in [
        (Grant::State, r#", "state"]"#),
        (Grant::Clock, r#", "clock"]"#),
        (Grant::Random, r#", "random"]"#),
        (Grant::Inference("here".to_owned()), r#", "inference:MODEL"]"#),
        (Grant::Cloud("claude".to_owned()), r#", "cloud:TARGET"]"#),
    ] {
        let grants = spec().grants.into_iter().filter(|grant| *grant != missing).collect();
        let error =
            sandbox().load(&hostile(), PluginSpec { grants, ..spec() }).expect_err("a grant is missing");
        assert!(matches!(error, LoadError::NotGranted { .. }), "{error}");
        assert!(error.to_string().ends_with(line), "{error}");
    }
}

#[test]
fn state_outlives_calls_but_not_their_failure() {
    let plugin = attacker();
    assert_eq!(settled(&plugin, "remember"), Ok("Ok(1)".to_owned()));
    assert_eq!(settled(&plugin, "remember"), Ok("Ok(2)".to_owned()));
    assert!(matches!(settled(&plugin, "remember-and-panic"), Err(PolicyError::Trap { .. })));
    assert!(matches!(settled(&plugin, "remember-nonsense"), Err(PolicyError::InvalidPlan { .. })));
    assert!(matches!(settled(&plugin, "remember-and-refuse"), Err(PolicyError::Refused { .. })));
    assert_eq!(settled(&plugin, "remember"), Ok("Ok(13)".to_owned()));
    // A request that settles nothing leaves nothing.
    assert_eq!(reason(attack(&plugin, "remember")), "Ok(14)");
    assert_eq!(reason(attack(&plugin, "remember")), "Ok(14)");
}

#[test]
fn state_belongs_to_a_plugin_and_a_tenant_and_survives_a_reload() {
    let sandbox = sandbox();
    let bytes = hostile();
    let first = load(&sandbox, &bytes, spec());
    assert_eq!(settled(&first, "remember"), Ok("Ok(1)".to_owned()));
    let again = load(&sandbox, &bytes, spec());
    assert_eq!(settled(&again, "remember"), Ok("Ok(2)".to_owned()));
    let other = load(&sandbox, &bytes, PluginSpec { id: "other".to_owned(), ..spec() });
    assert_eq!(settled(&other, "remember"), Ok("Ok(1)".to_owned()));
    let scope = scope();
    let nobody = RouteInput { key: None, ..of("remember", &scope) };
    assert_eq!(reason(route(&first, nobody)), "Ok(1)");
}

#[test]
fn labels_part_what_is_remembered() {
    let plugin = attacker();
    assert_eq!(settled(&plugin, "remember"), Ok("Ok(1)".to_owned()));
    let late = scope();
    assert_eq!(reason(route(&plugin, of("remember", &late))), "Ok(2)");
    late.add_labels([Label::LocalOnly]);
    late.settle();
    assert_eq!(settled(&plugin, "remember"), Ok("Ok(2)".to_owned()), "nothing of the labelled one shows");
    let labelled = scope();
    labelled.add_labels([Label::LocalOnly]);
    assert_eq!(reason(route(&plugin, of("remember", &labelled))), "Ok(3)");
}

#[test]
fn floods_of_state_end_at_its_quota() {
    let limits = Limits {
        host_calls_max: 1_000_000,
        output_bytes_max: 1 << 30,
        state_bytes_max: 64 << 10,
        time_max: Duration::from_secs(20),
        ..Limits::default()
    };
    let plugin = load(&sandbox(), &hostile(), PluginSpec { limits, ..spec() });
    assert_eq!(reason(attack(&plugin, "state-flood")), "60 entries");
    let entries = reason(attack(&plugin, "state-keys-flood"));
    let entries: usize = entries.strip_suffix(" entries").and_then(|n| n.parse().ok()).expect("a number");
    assert!((900..=1024).contains(&entries), "{entries}");
    let plugin = attacker();
    assert_eq!(
        reason(attack(&plugin, "state-errors")),
        "Err(TooLarge) Err(TooLarge) Err(TooLarge) Err(NotANumber)"
    );
}

#[test]
fn what_it_is_handed_is_counted() {
    let limits = Limits { input_bytes_max: 10 << 10, ..spec().limits };
    let plugin = load(&sandbox(), &hostile(), PluginSpec { limits, ..spec() });
    let outcome = route(&plugin, mode_of("input-flood", input(&"x".repeat(1000))));
    let limit = "input: 10240 bytes handed to the plugin".to_owned();
    assert_eq!(outcome, Err(PolicyError::Limit { limit }));
}
