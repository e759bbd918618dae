//! What a decision comes to, and bad logs.

use std::io::Cursor;

use lockgate_api::{Health, Label, Labels, Locality, PlannedAttempt, Price, TargetFacts, Usage};
use lockgate_gateway::record::{End, PolicyFacts, ReviewFacts};
use proptest::prelude::*;

use super::*;

fn facts(id: &str, locality: Locality, usd: f64) -> TargetFacts {
    let target = Target {
        id: id.to_owned(),
        model: id.to_owned(),
        locality,
        region: None,
        context_tokens: None,
        price: Some(Price { input: usd, output: usd }),
        tools: true,
        images: true,
    };
    let health = Health {
        first_token_median: Some(std::time::Duration::from_millis(100)),
        tokens_per_second_median: Some(50.0),
        ..Health::default()
    };
    TargetFacts { target: Arc::new(target), health, permitted: true, adapters: Vec::new() }
}

fn plan(ids: &[&str], labels: &[Label]) -> Plan {
    let attempts = ids.iter().map(|id| PlannedAttempt::on(*id)).collect();
    Plan { attempts, add_labels: labels.to_vec(), reason: String::new() }
}

fn routing(labels: &str) -> Routing {
    Routing {
        labels: labels.parse().expect("labels"),
        catalog: vec![facts("here", Locality::Local, 0.0), facts("far", Locality::Cloud, 2.0)],
        policy: "p".to_owned(),
        facts: PolicyFacts::default(),
        decided: Decided::of(&Ok(plan(&["far"], &[]))),
        reviews: Vec::new(),
    }
}

fn line(routing: Routing) -> Line {
    let request = lockgate_api::ChatRequest::new("auto", Vec::new());
    Line {
        version: VERSION,
        at_ms: 0,
        request_id: "r".to_owned(),
        model: "auto".to_owned(),
        key: None,
        estimated_tokens: 1,
        messages: 1,
        tools: 0,
        routing: Some(routing),
        end: End {
            end: "answered".to_owned(),
            target: Some("far".to_owned()),
            attempts: 1,
            labels: Labels::none(),
            usage: Some(Usage { input: 400_000, output: 100_000, ..Usage::default() }),
            usd: None,
            abandoned: Vec::new(),
            first_event_ms: None,
            elapsed_ms: 0.0,
        },
        content: Some(Content { request, reason: None, told: Vec::new(), reviewed: Vec::new() }),
    }
}

fn side(plan: Plan, routing: &Routing) -> Side {
    Side::of(&Ok(plan), routing, &line(routing.clone()))
}

#[test]
fn a_plan_goes_to_its_first_target_that_labels_and_breaker_let_through() {
    let open = routing("");
    assert_eq!(side(plan(&["far", "here"], &[]), &open).place(), "far");
    assert_eq!(side(plan(&["far", "here"], &[Label::LocalOnly]), &open).place(), "here");
    let labelled = side(plan(&["far", "here"], &[]), &routing("no-cloud"));
    assert_eq!((labelled.place().as_str(), labelled.violations), ("here", 1));
    assert_eq!(side(plan(&["far"], &[]), &routing("local-only")).place(), "(no permitted target)");
    let mut broken = routing("");
    broken.catalog[1].health.breaker = BreakerState::Open;
    assert_eq!(side(plan(&["far", "here"], &[]), &broken).place(), "here");
}

#[test]
fn costs_and_times_are_of_the_tokens_that_were() {
    let far = side(plan(&["far"], &[]), &routing(""));
    assert_eq!(far.usd, Some(1.0));
    assert_eq!(far.expected_ms, Some(100.0 + 2_000_000.0));
    let here = side(plan(&["here"], &[]), &routing(""));
    let record = line(routing(""));
    let mut report = Report::begin("p", None);
    report.add(1, &record, far, here, 0);
    report.finish();
    assert_eq!((report.moved, report.identical), (1, 0));
    assert_eq!((report.before.costs.usd, report.after.costs.usd), (1.0, 0.0));
    assert_eq!((report.flows[0].from.as_str(), report.flows[0].to.as_str()), ("far", "here"));
    assert_eq!((report.largest[0].usd_before, report.largest[0].usd_after), (1.0, 0.0));
}

#[test]
fn answers_that_were_not_accepted_are_paid_for() {
    let mut routing = routing("");
    routing.catalog.push(facts("dear", Locality::Cloud, 10.0));
    let usage = Some(Usage { input: 100_000, output: 50_000, ..Usage::default() });
    let judged = |accepted| ReviewFacts { target: "far".to_owned(), accepted, usage, usd: None };
    let steps = |ids: &[(&str, bool)]| {
        let attempt =
            |(id, review): &(&str, bool)| PlannedAttempt { review: *review, ..PlannedAttempt::on(*id) };
        Plan { attempts: ids.iter().map(attempt).collect(), ..Plan::default() }
    };
    let cascade = steps(&[("far", true), ("dear", false)]);
    let usd = |plan: &Plan, routing: &Routing| side(plan.clone(), routing).usd;

    routing.reviews = vec![judged(Some(false))];
    assert_eq!(usd(&cascade, &routing), Some(0.3 + 5.0));
    assert_eq!(usd(&steps(&[("dear", false)]), &routing), Some(5.0));
    assert_eq!(usd(&steps(&[("far", true)]), &routing), Some(0.3));
    let expected = side(cascade.clone(), &routing).expected_ms;
    assert_eq!(expected, Some(100.0 + 1_000_000.0 + 100.0 + 2_000_000.0));
    // Nobody knows what its router would have said.
    assert_eq!(usd(&steps(&[("dear", true), ("far", false)]), &routing), None);

    routing.reviews = vec![judged(Some(true))];
    assert_eq!(usd(&cascade, &routing), Some(1.0));
    routing.reviews = vec![judged(None)];
    assert_eq!(usd(&cascade, &routing), None);
    routing.reviews = vec![ReviewFacts { usage: None, ..judged(Some(false)) }];
    assert_eq!(usd(&cascade, &routing), None, "as in logs that do not tell");
}

fn problem_of(text: &str) -> String {
    let mut cursor = Cursor::new(text.to_owned());
    let Err(error) = next_line(&mut cursor, &mut String::new(), 3) else { panic!("{text} is a line") };
    error.to_string()
}

#[test]
fn a_line_that_breaks_off_is_passed_over() {
    let whole = serde_json::to_string(&line(routing(""))).expect("plain data");
    let mut log = Cursor::new(format!("{}\n{whole}\n{}", &whole[..whole.len() / 2], &whole[..7]));
    let mut text = String::new();
    assert!(matches!(next_line(&mut log, &mut text, 1), Ok(Next::Torn)));
    assert!(matches!(next_line(&mut log, &mut text, 2), Ok(Next::Line(_))));
    assert!(matches!(next_line(&mut log, &mut text, 3), Ok(Next::Torn)));
    assert!(matches!(next_line(&mut log, &mut text, 4), Ok(Next::End)));
}

#[test]
fn a_bad_line_is_told_by_its_number() {
    assert!(problem_of("{\"version\": 1}").contains("line 3: it is no line of a request log"));
    assert!(problem_of("hello").starts_with("line 3: "));
    let mut newer = line(routing(""));
    newer.version = 2;
    let text = serde_json::to_string(&newer).expect("plain data");
    assert!(problem_of(&text).contains("version 2"));
}

proptest! {
    /// Whatever a plan says, it comes to no target that the labels forbid.
    #[test]
    fn no_plan_comes_to_a_forbidden_target(places in prop::collection::vec(0_usize..2, 1..6), labels in 0_usize..4) {
        let routing = routing(["", "no-cloud", "local-only", "region:eu"][labels]);
        let ids: Vec<&str> = places.iter().map(|place| ["here", "far"][*place]).collect();
        let found = side(plan(&ids, &[]), &routing);
        if let Some(target) = found.target {
            prop_assert!(lockgate_api::permit(&routing.labels, &target).is_ok());
        }
    }
}
