//! Each attack of `tests/hostile` ends within its limit and with the right kind of error.

use std::time::{Duration, Instant};

use lockgate_api::{Label, PolicyError, Router as _};
use lockgate_sandbox::{Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};

use crate::support::{
    attack, attacker, hostile, input, labelled, load, mode_of, reason, route, run, sandbox, spec,
};

fn limit(plugin: &RouterPlugin, mode: &str) -> String {
    match attack(plugin, mode) {
        Err(PolicyError::Limit { limit }) => limit,
        other => panic!("{mode}: {other:?}"),
    }
}

fn trap(plugin: &RouterPlugin, mode: &str) -> String {
    match attack(plugin, mode) {
        Err(PolicyError::Trap { message }) => message,
        other => panic!("{mode}: {other:?}"),
    }
}

fn within(time_ms: u64) -> PluginSpec {
    let limits = Limits { time_max: Duration::from_millis(time_ms), ..Limits::default() };
    PluginSpec { limits, ..spec() }
}

#[test]
fn an_endless_loop_ends_at_its_time() {
    let plugin = load(&sandbox(), &hostile(), within(30));
    let start = Instant::now();
    assert_eq!(limit(&plugin, "loop"), "time: 30 ms");
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn while_loops_run_others_are_served() {
    let (sandbox, bytes) = (sandbox(), hostile());
    let looping = load(&sandbox, &bytes, within(300));
    let good = load(&sandbox, &bytes, spec());
    run(async {
        let loops = async {
            let all = [(); 8].map(|()| looping.route(mode_of("loop", input("hello"))));
            futures_util::future::join_all(all).await
        };
        let served = async {
            for _ in 0..50 {
                let outcome = good.route(mode_of("good", input("hello"))).await;
                outcome.expect("a good request is served meanwhile");
            }
        };
        // Both on one thread: a loop that kept it would let none of the fifty through.
        let (loops, ()) = tokio::join!(loops, served);
        assert!(loops.iter().all(|outcome| matches!(outcome, Err(PolicyError::Limit { .. }))), "{loops:?}");
    });
}

#[test]
fn memory_ends_at_its_limit() {
    let plugin = attacker();
    assert_eq!(limit(&plugin, "memory"), format!("memory: {} bytes in all its memories", 64 << 20));
    // A guest may live with a growth that is refused.
    let pages = reason(attack(&plugin, "memory-refused"));
    let pages: u64 = pages.strip_suffix(" pages").and_then(|n| n.parse().ok()).expect("it counts pages");
    assert!(pages > 900 && pages <= 1024, "{pages} pages of 64 KiB in 64 MiB");
}

#[test]
fn recursion_ends_at_the_stack() {
    let plugin = attacker();
    assert_eq!(limit(&plugin, "recursion"), "stack");
    // The guest's own stack lies at the bottom of its memory; what is below it does not exist.
    assert!(trap(&plugin, "recursion-with-data").contains("out of bounds memory access"));
}

#[test]
fn a_panic_says_where_and_why() {
    let plugin = attacker();
    let message = trap(&plugin, "panic");
    assert!(message.contains("panicked at tests/hostile/src/lib.rs:"), "{message}");
    let (_, frames) = message.split_once("; in ").expect("it has a backtrace");
    assert!(frames.contains("route") && !frames.contains("panicking"), "{message}");
    assert!(message.contains("the prompt was: hello"), "{message}");

    // On a labelled request its words stay in.
    let outcome = route(&plugin, mode_of("panic", labelled("my secret", Label::LocalOnly)));
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("panicked at tests/hostile/src/lib.rs:"), "{message}");
    assert!(!message.contains("secret"), "{message}");

    let message = trap(&plugin, "panic-flood");
    assert!(message.len() < 5_000, "{} bytes", message.len());
}

#[test]
fn traps_and_exits_are_told_apart() {
    let plugin = attacker();
    let message = trap(&plugin, "trap");
    assert!(
        message.starts_with("wasm `unreachable` instruction executed; in <hostile::Hostile as lockgate_plugin::Router>::route <"),
        "{message}"
    );
    assert_eq!(trap(&plugin, "exit"), "the guest exited instead of answering");
}

#[test]
fn host_calls_are_counted() {
    assert_eq!(limit(&attacker(), "host-calls"), "host calls: 1000");
}

#[test]
fn handles_are_counted() {
    let limits = Limits { host_calls_max: 100_000, ..spec().limits };
    let plugin = load(&sandbox(), &hostile(), PluginSpec { limits, ..spec() });
    assert_eq!(limit(&plugin, "messages-kept"), "handles held at once");
    assert_eq!(limit(&plugin, "plans-kept"), "handles held at once");
    assert_eq!(reason(attack(&plugin, "plans-dropped")), "made and dropped");
}

#[test]
fn output_is_counted() {
    let plugin = attacker();
    assert_eq!(limit(&plugin, "output-flood"), format!("output: {} bytes handed to the host", 256 << 10));
    assert_eq!(limit(&plugin, "long-reason"), "the plan's reason: 5000 where at most 4096 is allowed");
    assert_eq!(limit(&plugin, "long-refusal"), "the refusal's reason: 5000 where at most 4096 is allowed");
    assert_eq!(limit(&plugin, "huge-reason"), "output: too many bytes handed to the host in one call");
}

#[test]
fn nonsense_plans_are_refused() {
    let plugin = attacker();
    for (mode, expected) in [
        ("unknown-target", "unknown target `no-such\\ntarget`"),
        ("no-target", "it names no target"),
        ("twice", "target `here` twice"),
        ("many-targets", "more than 16 attempts"),
        ("unknown-label", "unknown label `top-secret`"),
        ("many-labels", "more than 16 labels"),
        ("zero-timeout", "attempt 0 has a timeout of 0 ms"),
        ("zero-hedge", "attempt 0 has a hedge after 0 ms"),
        ("too-hot", "attempt 0 has a temperature of 2.5, where 0 to 2 is allowed"),
        ("no-number", "attempt 0 has a top-p of NaN, where 0 to 1 is allowed"),
        ("no-token", "attempt 0 has an answer of at most 0 tokens"),
    ] {
        let problem = expected.to_owned();
        assert_eq!(attack(&plugin, mode), Err(PolicyError::InvalidPlan { problem }), "{mode}");
    }
    // For a labelled request its words are not quoted.
    let outcome = route(&plugin, mode_of("unknown-target", labelled("my secret", Label::NoCloud)));
    let problem = "unknown target `(withheld)`".to_owned();
    assert_eq!(outcome, Err(PolicyError::InvalidPlan { problem }));
}

#[test]
fn the_outside_world_is_closed() {
    let plugin = attacker();
    assert_eq!(reason(attack(&plugin, "files")), "true");
    assert_eq!(reason(attack(&plugin, "environment")), "0 0");
    assert_eq!(reason(attack(&plugin, "time")), "0ns 0ns");
    match attack(&plugin, "network") {
        Err(PolicyError::Denied { what }) => assert!(what.contains("wasi:sockets/"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn randomness_follows_from_the_request() {
    let plugin = attacker();
    let first = reason(attack(&plugin, "random"));
    assert_eq!(first, reason(attack(&plugin, "random")));
    let mut other = mode_of("random", input("hello"));
    other.request_id = "request-2".into();
    assert_ne!(first, reason(route(&plugin, other)));
}

#[test]
fn nothing_is_remembered() {
    let plugin = attacker();
    for _ in 0..3 {
        assert_eq!(reason(attack(&plugin, "state")), "1");
    }
}

#[test]
fn a_full_pool_queues_and_then_is_an_overload() {
    let options = SandboxOptions { calls_max: 1, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let bytes = hostile();
    let looping = load(&sandbox, &bytes, within(200));
    let hasty = load(&sandbox, &bytes, within(20));
    let patient = load(&sandbox, &bytes, spec());
    run(async {
        let (first, second, third) = tokio::join!(
            looping.route(mode_of("loop", input("hello"))),
            hasty.route(mode_of("good", input("hello"))),
            patient.route(mode_of("good", input("hello"))),
        );
        assert!(matches!(first, Err(PolicyError::Limit { .. })), "{first:?}");
        assert_eq!(second, Err(PolicyError::Overloaded));
        assert!(third.is_ok(), "{third:?}");
    });
}

#[test]
fn a_dropped_call_gives_its_instance_back() {
    let options = SandboxOptions { calls_max: 1, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let plugin = load(&sandbox, &hostile(), spec());
    let looping = || plugin.route(mode_of("loop", input("hello")));
    let good = || plugin.route(mode_of("good", input("hello")));
    run(async {
        for _ in 0..20 {
            let dropped = tokio::time::timeout(Duration::from_millis(5), looping()).await;
            assert!(dropped.is_err(), "a loop does not answer");
            good().await.expect("the only instance is free again");
        }
        // Dropped before the first poll, and after it, while waiting for the pool.
        drop(looping());
        let mut held = looping();
        assert!(futures_util::poll!(&mut held).is_pending());
        let mut waiting = good();
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(held);
        good().await.expect("the only instance is free again");
    });
}
