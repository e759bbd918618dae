//! The request log: what a line says of each end, and that content stays out of it where labels say so.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use lockgate_api::{
    HostCall, Label, Locality, Plan, PlannedAttempt, Price, ReviewInput, ReviewVerdict, Router,
};
use serde_json::json;

use super::support::*;
use crate::gateway::*;
use crate::record::{Abandoned, Decided, End, Entry, Line, PolicyFacts, RequestLog};

struct Log {
    record: Arc<RequestLog>,
    lines: Receiver<Entry>,
}

impl Log {
    fn new(room: usize) -> Self {
        let (sender, lines) = sync_channel(room);
        let facts = PolicyFacts {
            settings: [("k".to_owned(), "v".to_owned())].into(),
            grants: vec!["state".to_owned()],
        };
        let policies = [("policy".to_owned(), facts)].into();
        Self { record: Arc::new(RequestLog::new(sender, policies, || 1_700_000_000_000)), lines }
    }

    fn options(&self) -> GatewayOptions {
        GatewayOptions { record: Some(Arc::clone(&self.record)), ..GatewayOptions::default() }
    }

    fn text(&self) -> String {
        match self.lines.try_recv() {
            Ok(Entry::Line(line)) => line,
            other => panic!("a line is there: {other:?}"),
        }
    }

    /// The one line that was written.
    fn line(&self) -> Line {
        let line = serde_json::from_str(&self.text()).expect("a line is JSON of its type");
        assert!(self.lines.try_recv().is_err(), "one line a request");
        line
    }
}

fn cloud() -> Arc<Fake> {
    let mut fake =
        Fake::new("cloud", Locality::Cloud, vec![start(), Act::Pause(2), text("hello"), finish(), usage(4)]);
    let target = &mut Arc::get_mut(&mut fake).expect("nobody else has it").target;
    Arc::get_mut(target).expect("nobody else has it").price = Some(Price { input: 1.0, output: 5.0 });
    fake
}

#[tokio::test(start_paused = true)]
async fn a_line_says_what_was_seen_decided_and_done() {
    let (log, cloud) = (Log::new(8), cloud());
    let gateway = gateway(&[&cloud], &Policy::to("policy", "cloud"), log.options());
    let told = run(&gateway, ask("auto")).await.expect("answered");
    assert_eq!(told.text, "hello");
    let line = log.line();
    assert_eq!((line.version, line.at_ms, &*line.request_id), (1, 1_700_000_000_000, "req_1"));
    let routing = line.routing.expect("it was routed");
    assert_eq!((&*routing.policy, &*routing.facts.grants[0]), ("policy", "state"));
    assert_eq!(routing.catalog[0].target, cloud.target);
    let attempts = vec![PlannedAttempt::on("cloud")];
    assert_eq!(routing.decided, Decided::Plan { attempts, add_labels: Vec::new() });
    let end = line.end;
    assert_eq!((&*end.end, end.target.as_deref(), end.attempts), ("answered", Some("cloud"), 1));
    assert_eq!((end.usd, end.first_event_ms, end.elapsed_ms), (Some(20e-6), Some(0.0), 2000.0));
    let content = line.content.expect("nothing withholds it");
    assert_eq!(content.request, *ask("auto").request);
    assert_eq!(content.reason.as_deref(), Some("because"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_given_up_is_told_with_what_its_prompt_may_cost() {
    let (log, cloud) = (Log::new(8), cloud());
    cloud.does(vec![Act::Hang]);
    let local = Fake::new("local", Locality::Local, answer());
    let hedged = PlannedAttempt {
        hedge_after: Some(std::time::Duration::from_secs(1)),
        ..PlannedAttempt::on("cloud")
    };
    let plan = Plan { attempts: vec![hedged.clone(), PlannedAttempt::on("local")], ..Plan::default() };
    let router = Policy::new(move |_| Ok(plan.clone()));
    run(&gateway(&[&cloud, &local], &router, log.options()), ask("auto")).await.expect("answered");
    let line = log.line();
    assert_eq!((line.end.target.as_deref(), line.end.attempts), (Some("local"), 2));
    // One token, by the request's two bytes.
    let given_up = Abandoned { target: "cloud".to_owned(), usd: Some(1e-6) };
    assert_eq!(line.end.abandoned, [given_up]);
    let attempts = vec![hedged, PlannedAttempt::on("local")];
    assert_eq!(line.routing.expect("routed").decided, Decided::Plan { attempts, add_labels: Vec::new() });
}

#[tokio::test(start_paused = true)]
async fn a_line_of_before_hedges_and_overrides_is_read() {
    let attempt = json!({ "target": "a", "timeout": null, "review": false });
    let read: PlannedAttempt = serde_json::from_value(attempt.clone()).expect("it has all that it had then");
    assert_eq!(read, PlannedAttempt::on("a"));
    assert_eq!(
        serde_json::to_value(&read).expect("plain data"),
        attempt,
        "and nothing is written for nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn content_stays_out_whenever_a_label_is_on_the_request_in_the_end() {
    let local = Fake::new("local", Locality::Local, answer());
    let labelling = Policy::new(|_| Ok(plan(&["local"], &[Label::LocalOnly])));
    for (router, ask) in
        [(Policy::to("policy", "local"), ask_with("auto", "no-cloud")), (labelling, ask_with("auto", ""))]
    {
        let log = Log::new(8);
        let gateway = gateway(&[&local], &router, log.options());
        run(&gateway, ask).await.expect("answered");
        let text = log.text();
        assert!(!text.contains("\"hi\"") && !text.contains("because"), "{text}");
        let line: Line = serde_json::from_str(&text).expect("a line");
        assert_eq!(line.content, None);
        assert!(line.routing.is_some() && !line.end.labels.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_has_its_word() {
    let local = Fake::new("local", Locality::Local, answer());
    let log = Log::new(8);
    let router = Policy::to("policy", "local");
    let plain = gateway(&[&local], &router, log.options());
    // Named by the client: nothing was routed.
    run(&plain, ask("local")).await.expect("answered");
    let line = log.line();
    assert_eq!((line.routing, &*line.end.end), (None, "answered"));
    // Nobody reads on.
    drop(plain.answer(ask("auto")).await.expect("it begins"));
    assert_eq!(log.line().end.end, "abandoned");
    local.does(vec![start(), text("h")]);
    run(&plain, ask("auto")).await.expect("it begins");
    assert_eq!(log.line().end.end, "cut");
    run(&plain, ask("nobody")).await.expect_err("there is no such model");
    assert_eq!(log.line().end.end, "unknown_model");
    let refusing = Policy::failing(PolicyError::Refused { reason: "not this".to_owned() });
    run(&gateway(&[&local], &refusing, log.options()), ask("auto")).await.expect_err("refused");
    let line = log.line();
    assert_eq!(
        (&*line.end.end, line.routing.expect("it was asked").decided),
        ("policy_refused", Decided::Refused)
    );
    assert_eq!(line.content.and_then(|content| content.reason).as_deref(), Some("not this"));
    let failing = Policy::failing(PolicyError::Overloaded);
    run(&gateway(&[&local], &failing, log.options()), ask("auto")).await.expect_err("failed");
    let kind = "overloaded".to_owned();
    assert_eq!(log.line().routing.expect("it was asked").decided, Decided::Failed { kind });
}

#[tokio::test(start_paused = true)]
async fn what_the_deciding_policy_was_told_is_kept_and_what_others_were_is_not() {
    let local = Fake::new("local", Locality::Local, answer());
    let router = Policy::new(|input| {
        let call = |function| HostCall { function: Cow::Borrowed(function), arguments: json!(["k"]) };
        let journal = input.scope.journal().expect("a recorded request has a journal");
        assert_eq!(journal.recall("policy", &call("state.get")), None, "it only takes down");
        journal.note("policy", call("state.get"), json!(1));
        journal.note("another", call("state.set"), json!(2));
        Ok(plan(&["local"], &[]))
    });
    let log = Log::new(8);
    run(&gateway(&[&local], &router, log.options()), ask("auto")).await.expect("answered");
    let told = log.line().content.expect("nothing withholds it").told;
    assert_eq!(told.len(), 1);
    assert_eq!((&*told[0].call.function, &told[0].answer), ("state.get", &json!(1)));
    // Without a log, nothing is noted.
    let router = Policy::new(|input| {
        assert!(input.scope.journal().is_none());
        Ok(plan(&["local"], &[]))
    });
    run(&gateway(&[&local], &router, GatewayOptions::default()), ask("auto")).await.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn a_full_log_holds_nobody_up() {
    let local = Fake::new("local", Locality::Local, answer());
    let log = Log::new(1);
    let gateway = gateway(&[&local], &Policy::to("policy", "local"), log.options());
    for _ in 0..4 {
        run(&gateway, ask("auto")).await.expect("answered");
    }
    assert_eq!(log.record.lost(), 3);
}

/// Accepts the second target's answer.
struct Choosy;

impl Router for Choosy {
    fn id(&self) -> &str {
        "choosy"
    }

    fn route(&self, _: RouteInput) -> futures_core::future::BoxFuture<'_, Result<Plan, PolicyError>> {
        let review = |id: &str| PlannedAttempt { review: true, ..PlannedAttempt::on(id) };
        let plan = Plan { attempts: vec![review("a"), review("b")], ..Plan::default() };
        Box::pin(std::future::ready(Ok(plan)))
    }

    fn review(
        &self,
        input: ReviewInput,
    ) -> futures_core::future::BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        let verdict = if input.answer.target.id == "b" {
            ReviewVerdict::Accept
        } else {
            ReviewVerdict::Next { reason: String::new() }
        };
        Box::pin(std::future::ready(Ok(verdict)))
    }
}

#[tokio::test(start_paused = true)]
async fn judgements_are_taken_down_with_what_they_are_about() {
    let [a, b] = ["a", "b"].map(|id| Fake::new(id, Locality::Local, answer()));
    let log = Log::new(8);
    let gateway =
        Gateway::new(targets(&[&a, &b]), Policies::router(Arc::new(Choosy)), log.options()).expect("sound");
    run(&gateway, ask("auto")).await.expect("answered");
    let line = log.line();
    let reviews = line.routing.expect("it was routed").reviews;
    assert_eq!(
        reviews.iter().map(|review| (&*review.target, review.accepted)).collect::<Vec<_>>(),
        [("a", Some(false)), ("b", Some(true))]
    );
    // Both are paid for.
    assert!(reviews.iter().all(|review| review.usage.is_some() && review.usage == line.end.usage));
    let reviewed = line.content.expect("nothing withholds it").reviewed;
    assert_eq!(reviewed[0].choices[0].text, "hello");
    assert_eq!(line.end.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_no_longer_leaves_a_line() {
    let local = Fake::new("local", Locality::Local, vec![Act::Hang]);
    let log = Log::new(8);
    let metrics = crate::metrics::Metrics::default();
    let options = GatewayOptions { metrics: metrics.clone(), ..log.options() };
    let policy = Policy::new(|_| Ok(plan(&["local"], &[Label::NoCloud])));
    let gateway = gateway(&[&local], &policy, options);
    let gone = tokio::time::timeout(Duration::from_secs(1), gateway.answer(ask("auto"))).await;
    assert!(gone.is_err(), "it hangs");
    let End { end, target, attempts, labels, .. } = log.line().end;
    assert_eq!((&*end, target.as_deref(), attempts), ("abandoned", Some("local"), 1));
    assert_eq!(labels.to_string(), "no-cloud");
    let text = text_of(&metrics);
    assert!(text.contains("requests_total{policy=\"policy\",outcome=\"abandoned\"} 1"), "{text}");
}
