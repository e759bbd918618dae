//! How much later an event of an upstream reaches the client with the redactor and another guard on: through the
//! production gateway, without HTTP.
//!
//! A target says a word each millisecond, with the time at which it does; now and then a placeholder, split over three
//! events, whose beginnings are held back until its end is there. Printed are p50 and p99 of the events that are not
//! held, beside the same stream without plugins.
#![allow(clippy::print_stdout, reason = "a bench reports")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Event, Events, FinishReason, Guard, Labels, Locality,
    Message, Permit, Plan, PlannedAttempt, PolicyError, Preprocessor, Role, RouteInput, Router, Target,
    Usage,
};
use lockgate_gateway::{Ask, Gateway, GatewayOptions, GatewayTarget, Policies};
use lockgate_sandbox::{PluginSpec, Sandbox, SandboxOptions};

const WORDS: usize = 3_000;
const EVERY: Duration = Duration::from_millis(1);
/// One of so many words is a placeholder.
const PLACEHOLDER_EACH: usize = 50;

/// What the target said: the text's length by then, when, and whether all of it may go out.
type Said = Arc<Mutex<Vec<(usize, Instant, bool)>>>;

struct Talking {
    said: Said,
}

impl Backend for Talking {
    fn accepts(&self, _: &ChatRequest) -> Result<(), BackendError> {
        Ok(())
    }

    fn stream(&self, _: Arc<ChatRequest>, _: Permit, _: AttemptContext) -> Events {
        let said = Arc::clone(&self.said);
        let mut pieces = Vec::new();
        for word in 0..WORDS {
            if word % PLACEHOLDER_EACH == PLACEHOLDER_EACH - 1 {
                pieces.extend([(" [EMA", false), ("IL-", false), ("1]", true)]);
            } else {
                pieces.push((" word", true));
            }
        }
        let text = futures_util::stream::iter(pieces).then(move |(piece, may_go)| {
            let said = Arc::clone(&said);
            async move {
                tokio::time::sleep(EVERY).await;
                let mut said = said.lock().expect("nobody panics");
                let length = said.last().map_or(0, |(length, ..)| *length) + piece.len();
                said.push((length, Instant::now(), may_go));
                Ok(Event::Text { choice: 0, text: piece.to_owned(), logprobs: Vec::new() })
            }
        });
        let start = futures_util::stream::iter([Ok(Event::Start { model: "m".to_owned() })]);
        let end =
            [Ok(Event::Finish { choice: 0, reason: FinishReason::Stop }), Ok(Event::Usage(Usage::default()))];
        Box::pin(start.chain(text).chain(futures_util::stream::iter(end)))
    }
}

struct Only;

impl Router for Only {
    fn id(&self) -> &str {
        "only"
    }

    fn route(&self, _: RouteInput) -> futures_core::future::BoxFuture<'_, Result<Plan, PolicyError>> {
        let plan = Plan { attempts: vec![PlannedAttempt::on("t")], ..Plan::default() };
        Box::pin(std::future::ready(Ok(plan)))
    }
}

fn main() {
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("the pool fits");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let component =
        |name: &str| lockgate_plugin_build::build(root.join(name), out).expect("it compiles").path;
    let spec = |id: &str| PluginSpec { id: id.to_owned(), ..PluginSpec::default() };
    let (redactor, json_guard) = (component("redactor"), component("json-guard"));
    let prepares = sandbox.load_preprocessor(&redactor, spec("redactor")).expect("it loads");
    let restores = sandbox.load_guard(&redactor, spec("redactor")).expect("it loads");
    let watches = sandbox.load_guard(&json_guard, spec("json-guard")).expect("it loads");
    let router = || Policies::router(Arc::new(Only));
    let guarded = Policies {
        preprocessors: vec![Arc::new(prepares) as Arc<dyn Preprocessor>],
        guards: vec![Arc::new(restores) as Arc<dyn Guard>, Arc::new(watches)],
        ..router()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    for (name, policies) in [("without plugins", router()), ("with redactor and json-guard", guarded)] {
        let delays = runtime.block_on(delays(policies));
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        println!(
            "{name}: p50 {:?}, p99 {:?}, most {:?} of {} events",
            at(0.5),
            at(0.99),
            at(1.0),
            delays.len()
        );
    }
}

/// For each event that may go out whole, how long it took to the client; sorted.
async fn delays(policies: Policies) -> Vec<Duration> {
    let said = Said::default();
    let target = Target {
        id: "t".to_owned(),
        model: "m".to_owned(),
        locality: Locality::Cloud,
        region: None,
        context_tokens: None,
        price: None,
        tools: true,
        images: false,
    };
    let backend = Arc::new(Talking { said: Arc::clone(&said) });
    let targets = vec![GatewayTarget { target: Arc::new(target), backend }];
    let gateway = Gateway::new(targets, policies, GatewayOptions::default()).expect("it is sound");
    let prompt = "Write to anna.schmidt@posteo.de, please.";
    let request = ChatRequest::new("auto", vec![Message::text(Role::User, prompt)]);
    let ask =
        Ask { request_id: "request-1".into(), request: Arc::new(request), labels: Labels::none(), key: None };
    let mut events = gateway.answer(ask).await.map_err(|failure| failure.error).expect("it answers").events;
    // What came, with the restored address counted as the placeholder that it stands for.
    let mut came = Vec::new();
    let mut length = 0;
    while let Some(event) = events.next().await {
        if let Event::Text { text, .. } = event.expect("it does not fail") {
            length += text.replace("anna.schmidt@posteo.de", "[EMAIL-1]").len();
            came.push((length, Instant::now()));
        }
    }
    let said = said.lock().expect("nobody panics");
    assert_eq!(said.last().map(|(length, ..)| *length), came.last().map(|(length, _)| *length));
    let free = said.iter().filter(|(.., may_go)| *may_go);
    let mut delays: Vec<Duration> = free
        .map(|(length, at, _)| {
            let place = came.partition_point(|(there, _)| there < length);
            came[place].1.duration_since(*at)
        })
        .collect();
    delays.sort_unstable();
    delays
}
