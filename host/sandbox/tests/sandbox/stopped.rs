//! Calls that the machine ended, by its clock or for want of a place: noted, and ended so again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_api::{HostCall, Journal, PolicyError, RouteInput, Router as _, Scope};
use lockgate_sandbox::{Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};
use serde_json::Value;

use crate::support::{guest, hostile, input, load, mode_of, route, run, sandbox, spec};

/// Keeps what is noted and tells it again.
#[derive(Default)]
struct Book {
    is_told: bool,
    notes: Mutex<BTreeMap<String, Value>>,
}

impl Journal for Book {
    fn recall(&self, plugin: &str, call: &HostCall) -> Option<Value> {
        let notes = self.notes.lock().expect("no test panicked here");
        self.is_told.then(|| notes.get(&format!("{plugin} {call:?}")).cloned()).flatten()
    }

    fn note(&self, plugin: &str, call: HostCall, answer: Value) {
        self.notes.lock().expect("no test panicked here").insert(format!("{plugin} {call:?}"), answer);
    }
}

impl Book {
    /// The same notes, to be told now.
    fn told(self: &Arc<Self>) -> Arc<Self> {
        let notes = self.notes.lock().expect("no test panicked here").clone();
        Arc::new(Self { is_told: true, notes: Mutex::new(notes) })
    }

    fn is_empty(&self) -> bool {
        self.notes.lock().expect("no test panicked here").is_empty()
    }
}

fn journaled(mode: &str, book: &Arc<Book>) -> RouteInput {
    let input = mode_of(mode, input("hello"));
    let journal = Some(Arc::clone(book) as _);
    let scope = Scope::recorded(Arc::clone(&input.request_id), Arc::clone(&input.labels), None, journal);
    RouteInput { scope, ..input }
}

/// The hostile guest with so much time for each call.
fn within(sandbox: &Sandbox, milliseconds: u64) -> RouterPlugin {
    let limits = Limits { time_max: Duration::from_millis(milliseconds), ..Limits::default() };
    load(sandbox, &hostile(), PluginSpec { limits, ..spec() })
}

fn is_limit(outcome: &Result<lockgate_api::Plan, PolicyError>) -> bool {
    matches!(outcome, Err(PolicyError::Limit { limit }) if limit.starts_with("time"))
}

#[test]
fn a_call_whose_time_was_up_is_repeated_where_there_is_time_enough() {
    let sandbox = sandbox();
    let book = Arc::new(Book::default());
    assert!(is_limit(&route(&within(&sandbox, 1), journaled("busy", &book))));
    let patient = within(&sandbox, 20_000);
    assert!(route(&patient, journaled("busy", &Arc::default())).is_ok(), "it has an end");
    assert!(is_limit(&route(&patient, journaled("busy", &book.told()))));
}

#[test]
fn another_component_is_not_ended_by_it() {
    let sandbox = sandbox();
    let book = Arc::new(Book::default());
    assert!(is_limit(&route(&within(&sandbox, 1), journaled("busy", &book))));
    let bytes = std::fs::read(guest("tests/reader")).expect("the component was just built");
    // Under the same name.
    let reader = load(&sandbox, &bytes, spec());
    assert!(route(&reader, journaled("busy", &book.told())).is_ok());
    // Nor the same one with other settings.
    let settings = [("colour".to_owned(), "blue".to_owned())].into();
    let limits = Limits { time_max: Duration::from_secs(20), ..Limits::default() };
    let blue = load(&sandbox, &hostile(), PluginSpec { settings, limits, ..spec() });
    assert!(route(&blue, journaled("busy", &book.told())).is_ok());
}

#[test]
fn a_call_that_found_no_place_finds_none_again() {
    let sandbox = Sandbox::new(&SandboxOptions { calls_max: 1, ..SandboxOptions::default() })
        .expect("a small pool fits");
    let (holding, hasty) = (within(&sandbox, 2_000), within(&sandbox, 20));
    let book = Arc::new(Book::default());
    let (held, refused) = run(async {
        let first = holding.route(mode_of("loop", input("hello")));
        let second = async {
            tokio::task::yield_now().await;
            hasty.route(journaled("good", &book)).await
        };
        tokio::join!(first, second)
    });
    assert!(is_limit(&held));
    assert_eq!(refused, Err(PolicyError::Overloaded));
    assert!(route(&hasty, journaled("good", &Arc::default())).is_ok(), "the place is free again");
    assert_eq!(route(&hasty, journaled("good", &book.told())), Err(PolicyError::Overloaded));
}

#[test]
fn ends_of_the_plugins_own_are_not_noted() {
    let sandbox = sandbox();
    let plugin = within(&sandbox, 20_000);
    for mode in ["good", "refuse", "trap", "memory", "host-calls"] {
        let book = Arc::new(Book::default());
        let outcome = route(&plugin, journaled(mode, &book));
        assert_eq!(outcome.is_ok(), mode == "good", "{mode}: {outcome:?}");
        assert!(book.is_empty(), "{mode} follows from what it is told");
    }
}
