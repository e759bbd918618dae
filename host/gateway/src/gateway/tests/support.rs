//! Scripted targets and policies that record what reaches them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lockgate_api::{
    AttemptContext, BackendError, Embed, Embedded, Event, Events, FinishReason, Label, Locality, Message,
    Permit, Plan, PlannedAttempt, Role, Router, Sampling, Usage,
};

use super::super::*;
use crate::setup::{GatewayTarget, OnError};

/// One step of what a target does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Event(Event),
    Error(BackendError),
    /// Seconds.
    Pause(u64),
    Hang,
}

pub(super) fn start() -> Act {
    Act::Event(Event::Start { model: "m".to_owned() })
}

pub(super) fn text(text: &str) -> Act {
    Act::Event(Event::Text { choice: 0, text: text.to_owned(), logprobs: Vec::new() })
}

pub(super) fn finish() -> Act {
    Act::Event(Event::Finish { choice: 0, reason: FinishReason::Stop })
}

pub(super) fn usage(output: u64) -> Act {
    Act::Event(Event::Usage(Usage { output, ..Usage::default() }))
}

pub(super) fn answer() -> Vec<Act> {
    vec![start(), text("hello"), finish(), usage(2)]
}

pub(super) fn fails(kind: ErrorKind) -> Vec<Act> {
    vec![Act::Error(BackendError::new(kind, "scripted"))]
}

pub(super) use lockgate_api::ErrorKind;

/// What a target saw of one send.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) permit_target: String,
    pub(super) permit_locality: Locality,
    pub(super) labels: Labels,
    /// Of the request's first message.
    pub(super) text: String,
    pub(super) total: Duration,
    pub(super) sampling: Sampling,
}

/// A target that does the same each time.
pub(super) struct Fake {
    pub(super) target: Arc<Target>,
    pub(super) script: Mutex<Vec<Act>>,
    pub(super) refuses: Option<BackendError>,
    /// Whether it refuses a request with a seed.
    pub(super) lacks_seeds: bool,
    /// Whether it refuses a request for log-probabilities once it is sent, though it accepts it.
    pub(super) lacks_logprobs: bool,
    pub(super) sent: Mutex<Vec<Sent>>,
    /// Streams that are alive.
    pub(super) alive: Arc<AtomicUsize>,
    /// Events that were taken.
    pub(super) taken: Arc<AtomicUsize>,
    /// Requests that wait inside.
    pub(super) waiting: AtomicU32,
    /// Whether asking will reveal that requests are passed on, and whether somebody asked.
    pub(super) passes_on: AtomicBool,
    pub(super) revealed: Arc<AtomicBool>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(super) fn new(id: &str, locality: Locality, script: Vec<Act>) -> Arc<Self> {
        Arc::new(Self::plain(id, locality, script))
    }

    pub(super) fn refusing(id: &str, field: &str) -> Arc<Self> {
        let kind = ErrorKind::Unsupported { field: field.to_owned() };
        let refuses = Some(BackendError::new(kind, "not here"));
        Arc::new(Self { refuses, ..Self::plain(id, Locality::Local, answer()) })
    }

    pub(super) fn seedless(id: &str) -> Arc<Self> {
        Arc::new(Self { lacks_seeds: true, ..Self::plain(id, Locality::Local, answer()) })
    }

    pub(super) fn without_logprobs(id: &str, script: Vec<Act>) -> Arc<Self> {
        Arc::new(Self { lacks_logprobs: true, ..Self::plain(id, Locality::Local, script) })
    }

    fn plain(id: &str, locality: Locality, script: Vec<Act>) -> Self {
        let target = Target {
            id: id.to_owned(),
            model: "m".to_owned(),
            locality,
            region: (locality == Locality::Cloud).then(|| "eu-1".to_owned()),
            context_tokens: None,
            price: None,
            tools: true,
            images: false,
        };
        Self {
            target: Arc::new(target),
            script: Mutex::new(script),
            refuses: None,
            lacks_seeds: false,
            lacks_logprobs: false,
            sent: Mutex::default(),
            alive: Arc::default(),
            taken: Arc::default(),
            waiting: AtomicU32::new(7),
            passes_on: AtomicBool::default(),
            revealed: Arc::default(),
        }
    }

    pub(super) fn does(&self, script: Vec<Act>) {
        *self.script.lock().expect("no panic") = script;
    }

    pub(super) fn sends(&self) -> usize {
        self.sent.lock().expect("no panic").len()
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Backend for Fake {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        if self.lacks_seeds && request.sampling.seed.is_some() {
            let kind = ErrorKind::Unsupported { field: "seed".to_owned() };
            return Err(BackendError::new(kind, "it has no seeds"));
        }
        self.refuses.clone().map_or(Ok(()), Err)
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events {
        self.sent.lock().expect("no panic").push(Sent {
            permit_target: permit.target().to_owned(),
            permit_locality: permit.locality(),
            labels: (*context.labels).clone(),
            text: request.messages[0].joined_text(),
            total: context.timeouts.total,
            sampling: request.sampling.clone(),
        });
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.alive));
        let taken = Arc::clone(&self.taken);
        let refuses = self.lacks_logprobs && request.logprobs.is_some();
        let refusal =
            || BackendError::new(ErrorKind::InvalidRequest, "logprobs is not supported").dispatched();
        let script = self.script.lock().expect("no panic").clone();
        let steps = if refuses { vec![Act::Error(refusal())] } else { script }.into_iter();
        Box::pin(futures_util::stream::unfold((steps, alive), move |(mut steps, alive)| {
            let taken = Arc::clone(&taken);
            async move {
                loop {
                    let item = match steps.next()? {
                        Act::Event(event) => Ok(event),
                        Act::Error(error) => Err(error),
                        Act::Pause(seconds) => {
                            tokio::time::sleep(Duration::from_secs(seconds)).await;
                            continue;
                        }
                        Act::Hang => std::future::pending().await,
                    };
                    taken.fetch_add(1, Ordering::SeqCst);
                    return Some((item, (steps, alive)));
                }
            }
        }))
    }

    fn queued(&self) -> Option<u32> {
        Some(self.waiting.load(Ordering::SeqCst))
    }

    fn forwards(&self) -> bool {
        self.passes_on.load(Ordering::SeqCst) && self.revealed.load(Ordering::SeqCst)
    }

    fn reveal(&self) -> futures_core::future::BoxFuture<'static, ()> {
        let revealed = Arc::clone(&self.revealed);
        Box::pin(async move { revealed.store(true, Ordering::SeqCst) })
    }

    /// One vector a text, which tells its length; the script's first error or pause comes before.
    fn embed(
        &self,
        ask: Embed,
        permit: Permit,
        context: AttemptContext,
    ) -> futures_core::future::BoxFuture<'static, Result<Embedded, BackendError>> {
        self.sent.lock().expect("no panic").push(Sent {
            permit_target: permit.target().to_owned(),
            permit_locality: permit.locality(),
            labels: (*context.labels).clone(),
            text: ask.inputs.join("|"),
            total: context.timeouts.total,
            sampling: Sampling::default(),
        });
        let script = self.script.lock().expect("no panic").clone();
        Box::pin(async move {
            for act in script {
                match act {
                    Act::Error(error) => return Err(error),
                    Act::Pause(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    Act::Hang => std::future::pending().await,
                    Act::Event(_) => {}
                }
            }
            let vectors = ask.inputs.iter().map(|text| vec![text.len() as f32]).collect();
            Ok(Embedded { vectors, usage: Usage { input: 3, ..Usage::default() } })
        })
    }
}

/// What a server's `/metrics` would say.
pub(super) fn text_of(metrics: &crate::metrics::Metrics) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("it encodes");
    text
}

type Decision = Box<dyn Fn(&RouteInput) -> Result<Plan, PolicyError> + Send + Sync>;

/// A policy that decides by a function, or never.
pub(super) struct Policy {
    id: &'static str,
    decide: Option<Decision>,
    pub(super) asked: AtomicUsize,
}

impl Policy {
    pub(super) fn new(
        decide: impl Fn(&RouteInput) -> Result<Plan, PolicyError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::named("policy", decide)
    }

    pub(super) fn named(
        id: &'static str,
        decide: impl Fn(&RouteInput) -> Result<Plan, PolicyError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { id, decide: Some(Box::new(decide)), asked: AtomicUsize::new(0) })
    }

    /// Always this target.
    pub(super) fn to(id: &'static str, target: &str) -> Arc<Self> {
        let plan = plan(&[target], &[]);
        Self::named(id, move |_| Ok(plan.clone()))
    }

    pub(super) fn hanging() -> Arc<Self> {
        Arc::new(Self { id: "policy", decide: None, asked: AtomicUsize::new(0) })
    }

    pub(super) fn failing(error: PolicyError) -> Arc<Self> {
        Self::new(move |_| Err(error.clone()))
    }

    /// Always these targets, in this order.
    pub(super) fn plan(ids: &[&str]) -> Arc<Self> {
        let plan = plan(ids, &[]);
        Self::new(move |_| Ok(plan.clone()))
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(super) fn plan(ids: &[&str], labels: &[Label]) -> Plan {
    let attempts = ids.iter().map(|id| PlannedAttempt::on(*id)).collect();
    Plan { attempts, add_labels: labels.to_vec(), reason: "because".to_owned() }
}

impl Router for Policy {
    fn id(&self) -> &str {
        self.id
    }

    fn route(&self, input: RouteInput) -> futures_core::future::BoxFuture<'_, Result<Plan, PolicyError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match &self.decide {
                Some(decide) => decide(&input),
                None => std::future::pending().await,
            }
        })
    }
}

pub(super) fn targets(fakes: &[&Arc<Fake>]) -> Vec<GatewayTarget> {
    let one = |fake: &&Arc<Fake>| GatewayTarget {
        target: Arc::clone(&fake.target),
        backend: Arc::clone(fake) as Arc<dyn Backend>,
    };
    fakes.iter().map(one).collect()
}

pub(super) fn gateway(fakes: &[&Arc<Fake>], router: &Arc<Policy>, options: GatewayOptions) -> Gateway {
    let router: Arc<dyn Router> = Arc::clone(router) as Arc<dyn Router>;
    Gateway::new(targets(fakes), Policies::router(router), options).expect("the setup is sound")
}

/// The same, with a router whose failure falls back to the first local target.
pub(super) fn forgiving(fakes: &[&Arc<Fake>], router: &Arc<Policy>, options: GatewayOptions) -> Gateway {
    Gateway::new(targets(fakes), Policies::route(forgiving_route(router)), options)
        .expect("the setup is sound")
}

pub(super) fn forgiving_route(router: &Arc<Policy>) -> Route {
    let router: Arc<dyn Router> = Arc::clone(router) as Arc<dyn Router>;
    Route { on_error: OnError::FirstTarget, ..Route::of(router) }
}

pub(super) fn ask(model: &str) -> Ask {
    ask_with(model, "")
}

pub(super) fn ask_with(model: &str, labels: &str) -> Ask {
    Ask {
        request_id: Arc::from("req_1"),
        request: Arc::new(ChatRequest::new(model, vec![Message::text(Role::User, "hi")])),
        labels: labels.parse().expect("labels of a test parse"),
        key: None,
    }
}

/// What a request came to: the answer's text and its error, if any.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) text: String,
    pub(super) error: Option<BackendError>,
}

impl Told {
    pub(super) fn target(&self) -> &str {
        self.outcome.target.as_ref().map_or("", |target| &target.id)
    }
}

pub(super) async fn run(gateway: &Gateway, ask: Ask) -> Result<Told, Failure> {
    let mut answer = gateway.answer(ask).await.map_err(|failure| *failure)?;
    let mut told = Told { outcome: answer.outcome, text: String::new(), error: None };
    while let Some(item) = answer.events.next().await {
        assert!(told.error.is_none(), "nothing follows an error");
        match item {
            Ok(Event::Text { text, .. }) => told.text.push_str(&text),
            Ok(_) => {}
            Err(error) => told.error = Some(error),
        }
    }
    Ok(told)
}
