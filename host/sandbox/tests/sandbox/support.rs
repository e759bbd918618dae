//! What the tests share: guests built from source, a small world for them to decide in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_api::{
    ChatRequest, Health, KeyFacts, Label, Labels, Locality, Message, Plan, PolicyError, Role, RouteInput,
    Router, Scope, Target, TargetFacts, permit,
};
use lockgate_sandbox::{Grant, Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};

/// Compiles a guest crate of this workspace and returns its component.
pub(crate) fn guest(folder: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    lockgate_plugin_build::build(root.join(folder), out).expect("the guest compiles").path
}

pub(crate) fn hostile() -> Vec<u8> {
    std::fs::read(guest("tests/hostile")).expect("the component was just built")
}

pub(crate) fn sandbox() -> Sandbox {
    let options = SandboxOptions { calls_max: 16, ..SandboxOptions::default() };
    Sandbox::new(&options).expect("a small pool fits")
}

/// A spec with every grant of the hostile guests, and time enough for a busy machine.
pub(crate) fn spec() -> PluginSpec {
    PluginSpec {
        id: "hostile".to_owned(),
        grants: [
            Grant::Log,
            Grant::State,
            Grant::Clock,
            Grant::Random,
            Grant::Inference("here".to_owned()),
            Grant::Cloud("claude".to_owned()),
        ]
        .to_vec(),
        limits: Limits { time_max: Duration::from_secs(20), ..Limits::default() },
        ..PluginSpec::default()
    }
}

pub(crate) fn load(sandbox: &Sandbox, bytes: &[u8], spec: PluginSpec) -> RouterPlugin {
    sandbox.load(bytes, spec).expect("the component loads")
}

/// The hostile guest, loaded once.
pub(crate) fn attacker() -> RouterPlugin {
    load(&sandbox(), &hostile(), spec())
}

/// One call of the hostile guest that attacks in this mode.
pub(crate) fn attack(plugin: &RouterPlugin, mode: &str) -> Result<Plan, PolicyError> {
    route(plugin, mode_of(mode, input("hello")))
}

/// The request that makes the hostile guest attack in this mode.
pub(crate) fn mode_of(mode: &str, input: RouteInput) -> RouteInput {
    let request = ChatRequest { model: mode.to_owned(), ..(*input.request).clone() };
    RouteInput { request: Arc::new(request), ..input }
}

/// A request of one message, in a world of a local, a LAN and a cloud target.
pub(crate) fn input(text: &str) -> RouteInput {
    RouteInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, text)])),
        labels: Arc::new(Labels::none()),
        catalog: catalog(&Labels::none()),
        key: Some(KeyFacts { name: "desk".into(), tenant: "clinic".into() }),
        scope: scope(),
    }
}

/// What the plugins of a request without labels share.
pub(crate) fn scope() -> Arc<Scope> {
    Scope::new("request-1".into(), Arc::new(Labels::none()), None)
}

/// The same with a label on the request.
pub(crate) fn labelled(text: &str, label: Label) -> RouteInput {
    let labels = Labels::none().with([label]);
    RouteInput { catalog: catalog(&labels), labels: Arc::new(labels), ..input(text) }
}

fn catalog(labels: &Labels) -> Arc<[TargetFacts]> {
    let target = |id: &str, locality| {
        let target = Target {
            id: id.to_owned(),
            model: format!("{id}-model"),
            locality,
            region: None,
            context_tokens: Some(8192),
            price: None,
            tools: true,
            images: false,
        };
        let permitted = permit(labels, &target).is_ok();
        TargetFacts { target: Arc::new(target), health: Health::default(), permitted, adapters: Vec::new() }
    };
    [("here", Locality::Local), ("next-door", Locality::Lan), ("claude", Locality::Cloud)]
        .map(|(id, locality)| target(id, locality))
        .into()
}

/// Runs one call on a runtime of one thread, where a guest that does not yield would stop everything.
pub(crate) fn route(plugin: &RouterPlugin, input: RouteInput) -> Result<Plan, PolicyError> {
    run(plugin.route(input))
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let done = future.await;
        // As a request that waits for its answer: what is left to do behind the call is done.
        tokio::task::yield_now().await;
        done
    })
}

pub(crate) fn reason(outcome: Result<Plan, PolicyError>) -> String {
    outcome.expect("the guest gives a plan").reason
}

/// Runs a future and returns what an operator's log has of the plugins' calls in it.
pub(crate) fn logged<T>(future: impl Future<Output = T>) -> String {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // The outcome is in the log.
        let _outcome = run(future);
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
