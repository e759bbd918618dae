//! What an adapter's component costs a token: one call that sets biases, one that sees the 64 most likely tokens, one
//! that masks most of a vocabulary; and one begin of a generation.
//!
//! A plain loop prints p50 and p99 first; criterion gives the distribution of the median.
#![allow(clippy::print_stdout, reason = "a bench reports")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate_api::{
    ChatRequest, HookInput, Labels, Message, Place, Role, TokenHook, TokenHooks as _, Vocabulary,
};
use lockgate_sandbox::{AdapterPlugin, Grant, PluginSpec, Sandbox, SandboxOptions};
use tokio::runtime::Runtime;

/// As large as SmolLM2's: its ids in decimal, but for the bytes at its beginning.
struct Numbers(Vec<Vec<u8>>);

const SIZE: u32 = 49_152;

impl Numbers {
    fn new() -> Self {
        let text =
            |token: u32| if token < 256 { vec![token as u8] } else { format!(" {token}").into_bytes() };
        Self((0..SIZE).map(text).collect())
    }
}

impl Vocabulary for Numbers {
    fn size(&self) -> u32 {
        SIZE
    }
    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        Some(text.bytes().map(u32::from).collect())
    }
    fn bytes(&self, token: u32) -> &[u8] {
        self.0.get(token as usize).map(Vec::as_slice).unwrap_or_default()
    }
    fn ends(&self) -> Vec<u32> {
        vec![2]
    }
}

fn adapter(sandbox: &Sandbox, crate_folder: &str, settings: &[(&str, &str)]) -> AdapterPlugin {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path: PathBuf = lockgate_plugin_build::build(root.join(crate_folder), out).expect("it compiles").path;
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let spec =
        PluginSpec { id: "bench".to_owned(), grants: vec![Grant::Log], settings, ..PluginSpec::default() };
    sandbox.load_adapter(&path, spec).expect("the component loads")
}

/// One call, polled as the thread of a model does. A call that a tick falls into is finished by the runtime.
fn asked(hook: Box<dyn TokenHook>, place: &Place, runtime: &Runtime) -> Box<dyn TokenHook> {
    let mut next = hook.next(place.clone());
    let answer = match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => runtime.block_on(next),
    };
    answer.expect("it says something").0
}

fn tokens(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime starts");
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("the pool fits");
    let hostile = "tests/hostile-adapter";
    let triage = "plugins/support-triage";
    let vocabulary: Arc<dyn Vocabulary> = Arc::new(Numbers::new());
    let extract = Message::text(Role::System, "Extract as JSON: sender, date (YYYY-MM-DD), amount.");
    let request = |messages| Arc::new(ChatRequest::new("bench", messages));
    let user = Message::text(Role::User, "I was charged 12.50 twice. Ada Byron");
    let input = HookInput {
        request_id: "request-1".into(),
        request: request(vec![extract, user]),
        choice: 0,
        labels: Arc::new(Labels::none()),
        vocabulary,
    };
    for (name, folder, settings, top) in [
        ("biases only", hostile, [("steer", "push"), ("top", "0")].as_slice(), 0),
        ("a view of 64", hostile, &[("steer", "never-best"), ("top", "64")], 64),
        ("a view of 256", hostile, &[("steer", "never-best"), ("top", "256")], 256),
        ("support-triage, 64 texts read", triage, &[], 64),
    ] {
        let plugin = adapter(&sandbox, folder, settings);
        assert_eq!(plugin.top(), top);
        // The first token of the view is the brace that the form begins with.
        let view = (0..top as u32).map(|token| ((token + 123) % SIZE, 20.0 - token as f32));
        let place = Place { chosen: None, top: view.collect() };
        let mut hook = Some(runtime.block_on(plugin.begin(input.clone())).expect("it begins"));
        let mut call = || hook = hook.take().map(|hook| asked(hook, &place, &runtime));
        let mut times: Vec<Duration> = (0..20_000)
            .map(|_| {
                let start = Instant::now();
                call();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("adapter, one token, {name}: p50 {p50:?}, p99 {p99:?}");
        criterion.bench_function(&format!("adapter/token/{name}"), |bencher| bencher.iter(&mut call));
        criterion.bench_function(&format!("adapter/begin/{name}"), |bencher| {
            bencher.iter(|| black_box(runtime.block_on(plugin.begin(input.clone())).is_ok()));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    targets = tokens
}
criterion_main!(benches);
