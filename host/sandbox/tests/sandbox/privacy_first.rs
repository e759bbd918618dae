//! The default policy as it is shipped: compiled, fresh for each request, reading through the host.

use lockgate_api::{ChatRequest, Label, Message, PlannedAttempt, Role, RouteInput, Tool};
use lockgate_sandbox::{Limits, PluginSpec, RouterPlugin};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{guest, input, labelled, load, route, sandbox};

fn policy() -> RouterPlugin {
    let bytes = std::fs::read(guest("plugins/privacy-first")).expect("the component was just built");
    let limits = Limits {
        // The limits of the documentation's example, but for time, which a busy machine needs.
        host_calls_max: 64,
        time_max: Duration::from_secs(20),
        ..Limits::default()
    };
    let id = "privacy-first".to_owned();
    // No grant at all.
    load(&sandbox(), &bytes, PluginSpec { id, limits, ..PluginSpec::default() })
}

fn targets(attempts: &[PlannedAttempt]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt.target.as_str()).collect()
}

#[test]
fn simple_and_hard_work_part_ways() {
    let policy = policy();
    let plan = route(&policy, input("What is the capital of France?")).expect("it gives a plan");
    assert_eq!(targets(&plan.attempts), ["here", "next-door", "claude"]);
    assert_eq!(plan.add_labels, []);
    let plan = route(&policy, input("Prove it step by step.")).expect("it gives a plan");
    assert_eq!(targets(&plan.attempts), ["claude", "next-door", "here"]);
}

#[test]
fn personal_data_is_found_wherever_it_is() {
    let policy = policy();
    let secret = "anna.schmidt@posteo.de";
    let filler = "Nothing of interest happens here. ";
    // Past the first piece, past a megabyte, and where pieces meet.
    for before in [0, 100, 400, 478, 479, 480, 481, 482, 483, 900, 1445, 40_000] {
        let plan = route(&policy, input(&format!("{}{secret} and on", filler.repeat(before))));
        let plan = plan.expect("it gives a plan");
        assert_eq!(targets(&plan.attempts), ["here"], "behind {} bytes", before * filler.len());
        assert_eq!(plan.add_labels, [Label::LocalOnly]);
        assert_eq!(plan.reason, "stays on this machine: an e-mail address");
    }
}

#[test]
fn every_kind_is_found_at_every_offset() {
    let policy = policy();
    let personal = [
        ("see my\ndoctor", "a word about health"),
        ("HIV", "a word about health"),
        ("sk-8fK2mQ9xTq4Lw7Zr1Vb6", "an access token"),
        ("DE89 3704 0044 0532 0130 00", "a bank account number"),
        ("+49 151 12345678", "a telephone number"),
        ("a@b.io", "an e-mail address"),
    ];
    for offset in 0..=17 {
        for (text, kind) in personal {
            let plan =
                route(&policy, input(&format!("{} {text}", "x".repeat(offset)))).expect("it gives a plan");
            assert_eq!(
                plan.reason,
                format!("stays on this machine: {kind}"),
                "{text} behind {offset} letters"
            );
        }
        let plan =
            route(&policy, input(&format!("{} my doctrine", "x".repeat(offset)))).expect("it gives a plan");
        assert_eq!(plan.add_labels, [], "behind {offset} letters");
    }
}

#[test]
fn tools_and_passed_fields_are_read_too() {
    let policy = policy();
    let mut request = ChatRequest::new("auto", vec![Message::text(Role::User, "hello")]);
    request.tools.push(Tool {
        name: "mail".to_owned(),
        description: Some("Sends mail as anna.schmidt@posteo.de".to_owned()),
        parameters: None,
        strict: None,
    });
    let plan = route(&policy, RouteInput { request: Arc::new(request), ..input("") });
    assert_eq!(targets(&plan.expect("it gives a plan").attempts), ["here"]);

    let mut request = ChatRequest::new("auto", vec![Message::text(Role::User, "hello")]);
    request.extra.insert("metadata".to_owned(), serde_json::json!({"card": 4_111_111_111_111_111_u64}));
    let plan = route(&policy, RouteInput { request: Arc::new(request), ..input("") });
    assert_eq!(plan.expect("it gives a plan").reason, "stays on this machine: a payment card number");
}

#[test]
fn a_label_stays() {
    let plan = route(&policy(), labelled("hello", Label::LocalOnly)).expect("it gives a plan");
    assert_eq!(targets(&plan.attempts), ["here"]);
    assert_eq!(plan.add_labels, [Label::LocalOnly]);
    let plan = route(&policy(), labelled("hello", Label::NoCloud)).expect("it gives a plan");
    assert_eq!(targets(&plan.attempts), ["here", "next-door"]);
}

#[test]
fn a_large_prompt_fits_its_limits() {
    let prompt = "Many words that mean little. ".repeat(400_000);
    let plan = route(&policy(), input(&prompt)).expect("eleven megabytes are read within the limits");
    assert_eq!(plan.attempts.len(), 3);
}

#[test]
fn compiled_and_native_agree() {
    // The component looks at sixteen bytes at a time, the native tests at one.
    let policy = policy();
    for shift in 0..17 {
        let prompt = format!("{}call +49 151 12345678 now", " ".repeat(shift));
        let plan = route(&policy, input(&prompt)).expect("it gives a plan");
        assert_eq!(plan.reason, "stays on this machine: a telephone number", "shifted by {shift}");
        let prompt = format!("{}on 2024-05-11 12:30 commit d41d8cd98f00b204e98", "é".repeat(shift));
        let plan = route(&policy, input(&prompt)).expect("it gives a plan");
        assert_eq!(plan.attempts.len(), 3, "shifted by {shift}: {}", plan.reason);
    }
}
