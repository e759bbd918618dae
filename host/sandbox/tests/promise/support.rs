//! A gateway over scripted targets, with real components for policies.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::StreamExt as _;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Choose, Chosen, Embed, Embedded, ErrorKind, Event,
    Events, FinishReason, Likelihood, Locality, Message, Permit, Price, Role, Target, Usage,
};
use lockgate_gateway::{
    Ask, Failure, Gateway, GatewayError, GatewayOptions, GatewayTarget, OnError, Outcome, Policies,
};
use lockgate_sandbox::{Grant, Limits, PluginSpec, Sandbox, SandboxOptions};

/// What a target does when it is asked for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Say(&'static str),
    /// In two pieces.
    SayTwo(&'static str, &'static str),
    Fail(ErrorKind),
    /// After so many milliseconds.
    Late(u64, &'static str),
    /// After its start.
    Hang,
    Endless,
    /// Says that it has passed the text on.
    Forwards,
}

/// A target that remembers what it was sent.
pub(crate) struct Fake {
    target: Arc<Target>,
    act: Act,
    sent: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn new(id: &str, locality: Locality, act: Act) -> Arc<Self> {
        Self::priced(id, locality, act, Some(Price { input: 1.0, output: 2.0 }))
    }

    pub(crate) fn priced(id: &str, locality: Locality, act: Act, price: Option<Price>) -> Arc<Self> {
        let target = Target {
            id: id.to_owned(),
            model: "m".to_owned(),
            locality,
            region: None,
            context_tokens: None,
            price,
            tools: true,
            images: false,
        };
        Arc::new(Self { target: Arc::new(target), act, sent: Mutex::default() })
    }

    /// Every text that it was sent.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("no panic").clone()
    }

    fn note(&self, text: String, permit: &Permit) {
        assert_eq!(permit.target(), self.target.id);
        self.sent.lock().expect("no panic").push(text);
    }
}

fn text_of(request: &ChatRequest) -> String {
    request.messages.iter().map(Message::joined_text).collect::<Vec<_>>().join("\n")
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

impl Backend for Fake {
    fn accepts(&self, _: &ChatRequest) -> Result<(), BackendError> {
        Ok(())
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, _: AttemptContext) -> Events {
        self.note(text_of(&request), &permit);
        let start = Event::Start { model: "m".to_owned() };
        let text = |text: &str| Event::Text { choice: 0, text: text.to_owned(), logprobs: Vec::new() };
        let tail = [
            Event::Finish { choice: 0, reason: FinishReason::Stop },
            Event::Usage(usage(request.estimate_tokens(), 10)),
        ];
        match &self.act {
            Act::Say(said) => {
                let items = [start, text(said)].into_iter().chain(tail).map(Ok).collect::<Vec<_>>();
                Box::pin(futures_util::stream::iter(items))
            }
            Act::Late(after, said) => {
                let items = [start, text(said)].into_iter().chain(tail).map(Ok).collect::<Vec<_>>();
                let pause = tokio::time::sleep(Duration::from_millis(*after));
                let said = futures_util::stream::once(pause)
                    .flat_map(move |()| futures_util::stream::iter(items.clone()));
                Box::pin(said)
            }
            Act::SayTwo(first, second) => {
                let texts = [start, text(first), text(second)];
                Box::pin(futures_util::stream::iter(
                    texts.into_iter().chain(tail).map(Ok).collect::<Vec<_>>(),
                ))
            }
            Act::Fail(kind) => {
                let error = BackendError::new(kind.clone(), "scripted: https://key@secret.example");
                Box::pin(futures_util::stream::iter([Err(error)]))
            }
            Act::Hang => {
                Box::pin(futures_util::stream::iter([Ok(start)]).chain(futures_util::stream::pending()))
            }
            Act::Endless => {
                let texts = futures_util::stream::repeat_with(move || Ok(text("x")));
                Box::pin(futures_util::stream::iter([Ok(start)]).chain(texts))
            }
            Act::Forwards => {
                let error = BackendError::new(ErrorKind::Locality, "it passes on").dispatched();
                Box::pin(futures_util::stream::iter([Err(error)]))
            }
        }
    }

    fn choose(
        &self,
        ask: Choose,
        permit: Permit,
        _: AttemptContext,
    ) -> BoxFuture<'static, Result<Chosen, BackendError>> {
        self.note(text_of(&ask.request), &permit);
        let likelihood = |text: &String| Likelihood { log_probability: -(text.len() as f64), tokens: 1 };
        let likelihoods = ask.continuations.iter().map(likelihood).collect();
        Box::pin(std::future::ready(Ok(Chosen { likelihoods, usage: usage(7, 0) })))
    }

    fn embed(
        &self,
        ask: Embed,
        permit: Permit,
        _: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        self.note(ask.inputs.join("\n"), &permit);
        let vectors = ask.inputs.iter().map(|text| vec![text.len() as f32, 0.5]).collect();
        Box::pin(std::future::ready(Ok(Embedded { vectors, usage: usage(3, 0) })))
    }

    fn count_tokens(
        &self,
        request: Arc<ChatRequest>,
        permit: Permit,
        _: AttemptContext,
    ) -> BoxFuture<'static, Result<u64, BackendError>> {
        self.note(text_of(&request), &permit);
        Box::pin(std::future::ready(Ok(42)))
    }
}

fn guest(folder: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    lockgate_plugin_build::build(root.join(folder), out).expect("the guest compiles").path
}

/// A spec with every grant and time enough for a busy machine, and these settings.
pub(crate) fn spec(id: &str, settings: &[(&str, &str)]) -> PluginSpec {
    let named = [Grant::Inference("here".to_owned()), Grant::Cloud("claude".to_owned())];
    let plain = [Grant::Log, Grant::State, Grant::Clock, Grant::Random];
    PluginSpec {
        id: id.to_owned(),
        grants: [&named[..], &plain].concat(),
        limits: Limits { time_max: Duration::from_secs(20), ..Limits::default() },
        settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..PluginSpec::default()
    }
}

/// The plugins of a gateway, each by its spec.
#[derive(Default)]
pub(crate) struct Plugins {
    pub(crate) preprocessors: Vec<PluginSpec>,
    /// By default one that plans the first target.
    pub(crate) router: Option<PluginSpec>,
    pub(crate) guards: Vec<PluginSpec>,
}

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) gateway: Gateway,
}

impl World {
    pub(crate) fn new(fakes: &[&Arc<Fake>], plugins: Plugins) -> Self {
        Self::with(fakes, plugins, OnError::Refuse)
    }

    pub(crate) fn with(fakes: &[&Arc<Fake>], plugins: Plugins, on_error: OnError) -> Self {
        let small = SandboxOptions { calls_max: 8, guards_max: 8, ..SandboxOptions::default() };
        let sandbox = Sandbox::new(&small).expect("a small pool fits");
        Self::build(sandbox, fakes, plugins, on_error)
    }

    /// Another gateway over the same sandbox, as after a reload.
    pub(crate) fn again(&self, fakes: &[&Arc<Fake>], plugins: Plugins) -> Self {
        Self::build(self.sandbox.clone(), fakes, plugins, OnError::Refuse)
    }

    fn build(sandbox: Sandbox, fakes: &[&Arc<Fake>], plugins: Plugins, on_error: OnError) -> Self {
        let (router_path, filter_path) = (guest("tests/hostile"), guest("tests/hostile-filter"));
        let router = plugins.router.unwrap_or_else(|| spec("router", &[("mode", "good")]));
        let router = sandbox.load_file(&router_path, router).expect("the router loads");
        let mut policies = Policies::router(Arc::new(router));
        policies.routes[0].on_error = on_error;
        for spec in plugins.preprocessors {
            let loaded = sandbox.load_preprocessor(&filter_path, spec).expect("the preprocessor loads");
            policies.preprocessors.push(Arc::new(loaded));
        }
        for spec in plugins.guards {
            policies.guards.push(Arc::new(sandbox.load_guard(&filter_path, spec).expect("the guard loads")));
        }
        let target = |fake: &&Arc<Fake>| GatewayTarget {
            target: Arc::clone(&fake.target),
            backend: Arc::clone(fake) as Arc<dyn Backend>,
        };
        let targets = fakes.iter().map(target).collect();
        let gateway = Gateway::new(targets, policies, GatewayOptions::default()).expect("the setup is sound");
        Self { sandbox, gateway }
    }

    /// One request: its answer's text, or why there is none.
    pub(crate) fn ask(&self, text: &str, labels: &str) -> Result<(String, Outcome), Failure> {
        let ask = ask(text, labels);
        run(async {
            let mut answer = self.gateway.answer(ask).await.map_err(|failure| *failure)?;
            let mut told = String::new();
            while let Some(event) = answer.events.next().await {
                match event {
                    Ok(Event::Text { text, .. }) => told.push_str(&text),
                    Ok(_) => {}
                    Err(error) => told.push_str(&format!("[{:?}]", error.kind)),
                }
            }
            Ok((told, answer.outcome))
        })
    }

    /// What a plugin that refuses says.
    pub(crate) fn refusal(&self, text: &str, labels: &str) -> String {
        match self.ask(text, labels).map(|(told, _)| told) {
            Err(Failure { error: GatewayError::PolicyRefused { reason, .. }, .. }) => reason,
            other => panic!("no refusal: {other:?}"),
        }
    }
}

pub(crate) fn ask(text: &str, labels: &str) -> Ask {
    Ask {
        request_id: Arc::from("req_1"),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, text)])),
        labels: labels.parse().expect("labels of a test parse"),
        key: None,
    }
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(future)
}
