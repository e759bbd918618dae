//! Ten thousand requests through the production gateway and sandbox, taken down and decided again.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::StreamExt as _;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Choose, Chosen, Embed, Embedded, Event, Events,
    FinishReason, Labels, Likelihood, Locality, Message, Permit, Role, Router, Target, Usage,
};
use lockgate_gateway::record::{Entry, Line, PolicyFacts};
use lockgate_gateway::{Ask, Gateway, GatewayOptions, GatewayTarget, Key, Policies, RequestLog, Route};
use lockgate_sandbox::{Limits, PluginSpec, Sandbox, SandboxOptions};
use lockgate_workbench::replay::{Candidate, Report, replay};

use crate::support::{component, target};

const REQUESTS: usize = 10_000;

/// What the policy does, and the grants that it needs.
const MODES: [(&str, &[&str]); 12] = [
    ("good", &[]),
    ("both", &[]),
    ("echo", &[]),
    ("refuse", &[]),
    ("label", &[]),
    ("remember", &["state"]),
    ("clock", &["clock"]),
    ("random-granted", &["random"]),
    ("choose:small", &["inference:small"]),
    ("embed:small", &["inference:small"]),
    ("inference:small", &["inference:small"]),
    ("trap", &[]),
];
/// One of so many requests meets the last mode. A trap takes long to tell.
const TRAP_EACH: usize = 97;

/// Answers with what it has been asked before, so that nothing can be guessed.
struct Counting {
    target: Arc<Target>,
    asked: std::sync::atomic::AtomicU32,
}

impl Counting {
    fn next(&self) -> u32 {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

impl Backend for Counting {
    fn accepts(&self, _: &ChatRequest) -> Result<(), BackendError> {
        Ok(())
    }

    fn stream(&self, _: Arc<ChatRequest>, _: Permit, _: AttemptContext) -> Events {
        let events = [
            Event::Start { model: self.target.model.clone() },
            Event::Text { choice: 0, text: format!("answer {}", self.next()), logprobs: Vec::new() },
            Event::Finish { choice: 0, reason: FinishReason::Stop },
            Event::Usage(Usage { input: 7, output: 3, ..Usage::default() }),
        ];
        Box::pin(futures_util::stream::iter(events.map(Ok)))
    }

    fn choose(
        &self,
        ask: Choose,
        _: Permit,
        _: AttemptContext,
    ) -> BoxFuture<'static, Result<Chosen, BackendError>> {
        let first = -1.0 / f64::from(self.next() + 3);
        let likelihoods =
            ask.continuations.iter().map(|_| Likelihood { log_probability: first, tokens: 1 }).collect();
        Box::pin(std::future::ready(Ok(Chosen { likelihoods, usage: Usage::default() })))
    }

    fn embed(
        &self,
        ask: Embed,
        _: Permit,
        _: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        let vectors = ask.inputs.iter().map(|_| vec![0.1 * self.next() as f32, 0.3]).collect();
        Box::pin(std::future::ready(Ok(Embedded { vectors, usage: Usage::default() })))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
}

/// Leads requests through a gateway with one route a mode, and gives the log's lines.
fn recorded(sandbox: &Sandbox, requests: usize) -> Vec<String> {
    // Other tests run beside this one.
    recorded_within(sandbox, &MODES, Duration::from_secs(1), requests)
}

/// The same for these modes, the last of which is rare, in calls that may take so long.
fn recorded_within(
    sandbox: &Sandbox,
    modes: &[(&str, &[&str])],
    time_max: Duration,
    requests: usize,
) -> Vec<String> {
    let bytes = std::fs::read(component("tests/hostile")).expect("it was built");
    let (sender, lines) = sync_channel(requests);
    let mut facts = BTreeMap::new();
    let routes = modes.iter().enumerate().map(|(number, (mode, grants))| {
        let id = format!("policy-{number}");
        let settings: BTreeMap<_, _> = [("mode".to_owned(), (*mode).to_owned())].into();
        let grants: Vec<String> = grants.iter().map(|grant| (*grant).to_owned()).collect();
        let imports = ["log", "state", "clock", "random", "inference:small", "cloud:claude"];
        let all: Vec<String> = imports
            .iter()
            .map(|grant| (*grant).to_owned())
            .filter(|grant| !grants.contains(grant))
            .chain(grants.clone())
            .collect();
        facts.insert(id.clone(), PolicyFacts { settings: settings.clone(), grants: all.clone() });
        let grants = all.iter().map(|grant| grant.parse().expect("a grant")).collect();
        let limits = Limits { time_max, ..Limits::default() };
        let spec = PluginSpec { id, grants, settings, limits, ..PluginSpec::default() };
        Route::of(Arc::new(sandbox.load(&bytes, spec).expect("it loads")) as Arc<dyn Router>)
    });
    let routes: Vec<Route> = routes.collect();
    let record = Arc::new(RequestLog::new(sender, facts, || 1_700_000_000_000));
    let options = GatewayOptions { record: Some(record), ..GatewayOptions::default() };
    let policies = Policies { routes, preprocessors: Vec::new(), guards: Vec::new() };
    let targets = [("small", Locality::Local), ("claude", Locality::Cloud)].map(|(id, locality)| {
        let target = target(id, locality).target;
        let backend = Arc::new(Counting { target: Arc::clone(&target), asked: Default::default() });
        GatewayTarget { target, backend }
    });
    let gateway = Gateway::new(targets.into(), policies, options).expect("it is sound");
    let keys = ["a", "b"].map(|tenant| {
        Arc::new(Key { name: tenant.into(), tenant: tenant.into(), labels: Labels::none(), router: None })
    });
    runtime().block_on(async {
        for number in 0..requests {
            let last = modes.len() - 1;
            let mode = if number.is_multiple_of(TRAP_EACH) { last } else { number % last };
            let rest = number / last;
            let text = format!("request {rest} says \"ä\" and 0.1");
            let request =
                ChatRequest::new(format!("auto:policy-{mode}"), vec![Message::text(Role::User, text)]);
            let labels = if rest % 10 == 9 { "local-only" } else { "" }.parse().expect("labels");
            let key = (!rest.is_multiple_of(3)).then(|| Arc::clone(&keys[rest % 2]));
            let request_id = format!("request-{number}").into();
            let ask = Ask { request_id, request: Arc::new(request), labels, key };
            if let Ok(mut answer) = gateway.answer(ask).await {
                while answer.events.next().await.is_some() {}
            }
        }
    });
    lines
        .try_iter()
        .map(|entry| match entry {
            Entry::Line(line) => line,
            Entry::End => panic!("nobody ends the log"),
        })
        .collect()
}

fn again(sandbox: &Sandbox, lines: &[String], settings: &[(&str, &str)]) -> Report {
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut policy =
        Candidate::read(sandbox, &component("tests/hostile"), &settings).expect("the file is there");
    replay(Cursor::new(lines.join("\n")), &mut policy, None).expect("the log is whole")
}

#[test]
fn the_policy_that_made_the_log_decides_every_request_as_it_did() {
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("there is room for a pool");
    let lines = recorded(&sandbox, REQUESTS);
    assert_eq!(lines.len(), REQUESTS);
    let parsed: Vec<Line> = lines.iter().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let withheld = parsed.iter().filter(|line| line.content.is_none()).count() as u64;
    assert!(withheld > 1_000, "labels of clients and of the policy: {withheld}");
    let told: usize = parsed.iter().flat_map(|line| &line.content).map(|content| content.told.len()).sum();
    assert!(told > 4_000, "much did not follow from the facts: {told}");
    let report = again(crate::support::sandbox(), &lines, &[]);
    assert_eq!((report.requests, report.content_withheld), (REQUESTS as u64, withheld));
    assert_eq!(report.replayed, REQUESTS as u64 - withheld);
    assert_eq!(report.identical, report.replayed);
    assert_eq!((report.moved, report.asks_unanswered), (0, 0));
    assert_eq!(report.before, report.after);
    assert!(report.after.failed["trap"] > 70 && report.after.refused > 700);
}

/// On the machine that replays it there is time enough: the log says where the other's ended.
#[test]
fn a_call_that_the_clock_ended_ends_so_again_and_only_of_the_same_component() {
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("there is room for a pool");
    let modes: [(&str, &[&str]); 2] = [("busy", &[]), ("busy", &[])];
    let lines = recorded_within(&sandbox, &modes, Duration::from_millis(1), 20);
    let report = again(crate::support::sandbox(), &lines, &[]);
    let replayed = report.replayed;
    assert!(replayed > 0);
    assert_eq!((report.identical, report.after.failed["limit"]), (replayed, replayed));
    let path = component("tests/reader");
    let mut another = Candidate::read(crate::support::sandbox(), &path, &[]).expect("the file is there");
    let report = replay(Cursor::new(lines.join("\n")), &mut another, None).expect("the log is whole");
    assert_eq!((report.replayed, report.moved, report.after.failed.len()), (replayed, replayed, 0));
}

#[test]
fn another_policy_is_told_what_is_known_and_no_more() {
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("there is room for a pool");
    let lines = recorded(&sandbox, 120);
    // It asks a model now where it did not.
    let report = again(crate::support::sandbox(), &lines, &[("mode", "choose:small")]);
    assert!(report.asks_unanswered > 0 && report.asks_unanswered < report.replayed);
    assert_eq!(report.after.refused, report.replayed, "that mode refuses with what it was told");
    assert!(report.moved > 0);
    let gone: u64 = report.flows.iter().filter(|flow| flow.to == "(refused)").map(|flow| flow.requests).sum();
    assert_eq!(gone, report.moved);
}
