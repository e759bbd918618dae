//! Each attack of `tests/hostile` ends within its limit and with the right kind of error.

use std::time::{Duration, Instant};

use lockgate_api::{Label, PolicyError, Router as _};
use lockgate_sandbox::{Limits, PluginSpec, Sandbox, SandboxOptions};

use crate::support::{attack, attacked, hostile, input, labelled, load, reason, route, run, sandbox};

fn limit(mode: &str) -> String {
    match attacked(mode) {
        Err(PolicyError::Limit { limit }) => limit,
        other => panic!("{mode}: {other:?}"),
    }
}

fn trap(mode: &str) -> String {
    match attacked(mode) {
        Err(PolicyError::Trap { message }) => message,
        other => panic!("{mode}: {other:?}"),
    }
}

fn invalid(mode: &str) -> String {
    match attacked(mode) {
        Err(PolicyError::InvalidPlan { problem }) => problem,
        other => panic!("{mode}: {other:?}"),
    }
}

fn quick(mode: &str) -> PluginSpec {
    let limits = Limits { time_max: Duration::from_millis(30), ..Limits::default() };
    PluginSpec { limits, ..attack(mode) }
}

#[test]
fn an_endless_loop_ends_at_its_time() {
    let plugin = load(&sandbox(), &hostile(), quick("loop"));
    let start = Instant::now();
    let outcome = route(&plugin, input("hello"));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "time: 30 ms".to_owned() }));
}

#[test]
fn while_loops_run_others_are_served() {
    let sandbox = sandbox();
    let bytes = hostile();
    let looping = load(&sandbox, &bytes, PluginSpec {
        limits: Limits { time_max: Duration::from_millis(300), ..Limits::default() },
        ..attack("loop")
    });
    let good = load(&sandbox, &bytes, attack("good"));
    run(async {
        let loops = async {
            let all = [(); 8].map(|()| looping.route(input("hello")));
            futures_util::future::join_all(all).await
        };
        let served = async {
            for _ in 0..50 {
                good.route(input("hello")).await.expect("a good request is served meanwhile");
            }
        };
        // Both on one thread: a loop that kept it would let none of the fifty through.
        let (loops, ()) = tokio::join!(loops, served);
        assert!(loops.iter().all(|outcome| matches!(outcome, Err(PolicyError::Limit { .. }))), "{loops:?}");
    });
}

#[test]
fn memory_ends_at_its_limit() {
    assert_eq!(limit("memory"), format!("memory: {} bytes in all its memories", 64 << 20));
}

#[test]
fn a_guest_may_live_with_a_refused_growth() {
    let pages: u64 = reason(attacked("memory-refused"))
        .strip_suffix(" pages")
        .and_then(|pages| pages.parse().ok())
        .expect("it counts pages");
    assert!(pages > 900 && pages <= 1024, "{pages} pages of 64 KiB in 64 MiB");
}

#[test]
fn recursion_ends_at_the_stack() {
    assert_eq!(limit("recursion"), "stack");
    // The guest's own stack lies at the bottom of its memory; what is below it does not exist.
    assert!(trap("recursion-with-data").contains("out of bounds memory access"));
}

#[test]
fn a_panic_says_where_and_why() {
    let message = trap("panic");
    assert!(message.contains("panicked at tests/hostile/src/lib.rs:"), "{message}");
    assert!(message.contains("the prompt was: hello"), "{message}");
}

#[test]
fn a_panic_on_a_labelled_request_keeps_its_words() {
    let plugin = load(&sandbox(), &hostile(), attack("panic"));
    let outcome = route(&plugin, labelled("my secret", Label::LocalOnly));
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("panicked at tests/hostile/src/lib.rs:"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn last_words_are_bounded() {
    let message = trap("panic-flood");
    assert!(message.len() < 5_000, "{} bytes", message.len());
}

#[test]
fn traps_and_exits_are_told_apart() {
    assert_eq!(trap("trap"), "wasm `unreachable` instruction executed");
    assert_eq!(trap("exit"), "the guest exited instead of answering");
}

#[test]
fn host_calls_are_counted() {
    assert_eq!(limit("host-calls"), "host calls: 1000");
}

#[test]
fn handles_are_counted() {
    let roomy = |mode| PluginSpec {
        limits: Limits { host_calls_max: 100_000, ..attack(mode).limits },
        ..attack(mode)
    };
    for mode in ["messages-kept", "plans-kept"] {
        let outcome = route(&load(&sandbox(), &hostile(), roomy(mode)), input("hello"));
        assert_eq!(outcome, Err(PolicyError::Limit { limit: "handles held at once".to_owned() }), "{mode}");
    }
    let outcome = route(&load(&sandbox(), &hostile(), roomy("plans-dropped")), input("hello"));
    assert_eq!(reason(outcome), "made and dropped");
}

#[test]
fn output_is_counted() {
    assert_eq!(limit("output-flood"), format!("output: {} bytes handed to the host", 256 << 10));
    assert_eq!(limit("long-reason"), "the plan's reason: 5000 where at most 4096 is allowed");
    assert_eq!(limit("long-refusal"), "the refusal's reason: 5000 where at most 4096 is allowed");
    assert_eq!(limit("huge-reason"), "output: too many bytes handed to the host in one call");
}

#[test]
fn nonsense_plans_are_refused() {
    assert_eq!(invalid("unknown-target"), "unknown target `no-such\\ntarget`");
    assert_eq!(invalid("no-target"), "it names no target");
    assert_eq!(invalid("twice"), "target `here` twice");
    assert_eq!(invalid("many-targets"), "more than 16 attempts");
    assert_eq!(invalid("unknown-label"), "unknown label `top-secret`");
    assert_eq!(invalid("many-labels"), "more than 16 labels");
    assert_eq!(invalid("zero-timeout"), "attempt 0 has a timeout of 0 ms");
}

#[test]
fn a_nonsense_plan_for_a_labelled_request_is_not_quoted() {
    let plugin = load(&sandbox(), &hostile(), attack("unknown-target"));
    let outcome = route(&plugin, labelled("my secret", Label::NoCloud));
    assert_eq!(outcome, Err(PolicyError::InvalidPlan { problem: "unknown target `(withheld)`".to_owned() }));
}

#[test]
fn the_outside_world_is_closed() {
    assert_eq!(reason(attacked("files")), "true");
    assert_eq!(reason(attacked("environment")), "0 0");
    assert_eq!(reason(attacked("time")), "0ns 0ns");
    match attacked("network") {
        Err(PolicyError::Denied { what }) => assert!(what.contains("wasi:sockets/"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn randomness_follows_from_the_request() {
    let plugin = load(&sandbox(), &hostile(), attack("random"));
    let first = reason(route(&plugin, input("hello")));
    assert_eq!(first, reason(route(&plugin, input("hello"))));
    let mut other = input("hello");
    other.request_id = "request-2".into();
    assert_ne!(first, reason(route(&plugin, other)));
}

#[test]
fn nothing_is_remembered() {
    let plugin = load(&sandbox(), &hostile(), attack("state"));
    for _ in 0..3 {
        assert_eq!(reason(route(&plugin, input("hello"))), "1");
    }
}

#[test]
fn a_full_pool_queues_and_then_is_an_overload() {
    let options = SandboxOptions { calls_max: 1, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let bytes = hostile();
    let looping = load(&sandbox, &bytes, PluginSpec {
        limits: Limits { time_max: Duration::from_millis(200), ..Limits::default() },
        ..attack("loop")
    });
    let hasty = load(&sandbox, &bytes, PluginSpec {
        limits: Limits { time_max: Duration::from_millis(20), ..Limits::default() },
        ..attack("good")
    });
    let patient = load(&sandbox, &bytes, attack("good"));
    run(async {
        let (first, second, third) = tokio::join!(
            looping.route(input("hello")),
            hasty.route(input("hello")),
            patient.route(input("hello")),
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
    let bytes = hostile();
    let looping = load(&sandbox, &bytes, attack("loop"));
    let good = load(&sandbox, &bytes, attack("good"));
    run(async {
        for _ in 0..20 {
            let dropped = tokio::time::timeout(Duration::from_millis(5), looping.route(input("hello"))).await;
            assert!(dropped.is_err(), "a loop does not answer");
            good.route(input("hello")).await.expect("the only instance is free again");
        }
        // Dropped before the first poll, and after it, while waiting for the pool.
        drop(looping.route(input("hello")));
        let mut held = looping.route(input("hello"));
        assert!(futures_util::poll!(&mut held).is_pending());
        let mut waiting = good.route(input("hello"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(held);
        good.route(input("hello")).await.expect("the only instance is free again");
    });
}
