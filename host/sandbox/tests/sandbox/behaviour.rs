//! What a plugin sees of a request, and what becomes of what it says.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_api::{Label, PlannedAttempt, PolicyError, RouteInput, Router as _};
use lockgate_sandbox::PluginSpec;

use crate::support::{attack, hostile, input, labelled, load, reason, route, run, sandbox};

#[test]
fn a_plan_comes_out_as_the_guest_made_it() {
    let plugin = load(&sandbox(), &hostile(), attack("label"));
    let plan = route(&plugin, input("hello")).expect("it gives a plan");
    assert_eq!(plan.attempts, [PlannedAttempt { target: "here".to_owned(), timeout: None }]);
    assert_eq!(plan.add_labels, [Label::LocalOnly]);
    assert_eq!(plan.reason, "personal");
    assert_eq!(plugin.id(), "hostile");
}

#[test]
fn a_refusal_is_no_failure() {
    let outcome = route(&load(&sandbox(), &hostile(), attack("refuse")), input("hello"));
    assert_eq!(outcome, Err(PolicyError::Refused { reason: "not today".to_owned() }));
}

#[test]
fn text_arrives_unchanged() {
    for text in ["", "hello", "zwölf €, 🙂\nand\ttabs", "\0\u{7f}"] {
        let outcome = route(&load(&sandbox(), &hostile(), attack("echo")), input(text));
        assert_eq!(reason(outcome), text);
    }
}

#[test]
fn a_long_prompt_costs_what_is_read() {
    let plugin = load(&sandbox(), &hostile(), attack("echo"));
    let outcome = route(&plugin, input(&"x".repeat(32 << 20)));
    assert_eq!(reason(outcome).len(), 1 << 10);
}

#[test]
fn calls_run_side_by_side() {
    let plugin = load(&sandbox(), &hostile(), attack("echo"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    let plugin = Arc::new(plugin);
    runtime.expect("a runtime starts").block_on(async {
        let calls: Vec<_> = (0..100)
            .map(|number| {
                let plugin = Arc::clone(&plugin);
                tokio::spawn(async move { plugin.route(input(&format!("call {number}"))).await })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(reason(call.await.expect("no call panics")), format!("call {number}"));
        }
    });
}

/// Runs one call and returns what an operator's log has of it.
fn logged(spec: PluginSpec, input: RouteInput) -> String {
    let plugin = load(&sandbox(), &hostile(), spec);
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // The outcome is in the log.
        let _outcome = run(plugin.route(input));
    });
    let bytes = written.0.lock().expect("no writer panicked").clone();
    let log = String::from_utf8(bytes).expect("a log is text");
    log.lines().filter(|line| line.contains("lockgate::plugin")).map(|line| format!("{line}\n")).collect()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn log_lines_carry_the_plugin_and_the_request() {
    let log = logged(attack("log"), input("hello"));
    assert!(log.contains("a line for the operator plugin=\"hostile\" request=\"request-1\""), "{log}");
    assert!(log.contains("standard error: a line on standard error"), "{log}");
}

#[test]
fn a_labelled_request_leaves_no_line() {
    let log = logged(attack("log"), labelled("hello", Label::Region("eu".to_owned())));
    assert_eq!(log, "");
    let log = logged(attack("label-and-log"), input("hello"));
    assert_eq!(log, "", "the plan's own label counts, too");
}

#[test]
fn a_log_flood_is_cut() {
    let spec = attack("log-flood");
    let limits = lockgate_sandbox::Limits { host_calls_max: 10_000, ..spec.limits };
    let log = logged(PluginSpec { limits, ..attack("log-flood") }, input("hello"));
    assert!(log.contains("line 31 ") && !log.contains("line 32 "), "{log}");
    assert!(log.contains("dropped=968"), "{log}");
    let log = logged(attack("log-long"), input("hello"));
    assert!(log.len() < 5_000, "{} bytes", log.len());
}

#[test]
fn a_failure_is_logged_with_the_plugin() {
    let log = logged(attack("panic"), input("hello"));
    assert!(log.contains("WARN") && log.contains("plugin=\"hostile\"") && log.contains("kind=\"trap\""), "{log}");
    let log = logged(attack("panic"), labelled("my secret", Label::LocalOnly));
    assert!(log.contains("kind=\"trap\"") && !log.contains("secret"), "{log}");
}

#[test]
fn without_a_clock_nothing_waits() {
    // A call that is answered at once arms no timer that outlives it.
    let plugin = load(&sandbox(), &hostile(), attack("good"));
    run(async {
        let answer = tokio::time::timeout(Duration::from_secs(20), plugin.route(input("hello")));
        assert_eq!(reason(answer.await.expect("it answers")), "5 bytes");
    });
}
