//! What a filter costs: one call of the redactor's guard on a chunk of a stream, one begin of it, and one
//! call of its preprocessor on a prompt with a little personal data in it.
//!
//! Criterion gives the distribution of the median; a plain loop before it prints p50 and p99.
#![allow(clippy::print_stdout, reason = "a bench reports")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate_api::{
    ChatRequest, Chunk, ChunkKind, Guard as _, Labels, Message, PrepareInput, Preprocessor as _, Role, Scope,
    Verdict, WatchInput,
};
use lockgate_sandbox::{PluginSpec, Sandbox, SandboxOptions};
use tokio::runtime::Runtime;

const WORDS: &str = "The committee met on Tuesday to discuss the budget for 2024, which had grown by 12 percent. \
                     Several members asked whether the new library could open earlier than planned. ";

fn component() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    lockgate_plugin_build::build(root.join("plugins/redactor"), out).expect("it compiles").path
}

fn prepare_input(prompt_bytes: usize) -> PrepareInput {
    let filler: String = WORDS.chars().cycle().take(prompt_bytes).collect();
    let prompt = format!("Write to anna.schmidt@posteo.de. {filler} Call +49 151 12345678.");
    PrepareInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, prompt)])),
        labels: Arc::new(Labels::none()),
        key: None,
        scope: Scope::new("request-1".into(), Arc::new(Labels::none()), None),
    }
}

/// Median and 99th percentile of many times.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

fn filters(criterion: &mut Criterion) {
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("the pool fits");
    let path = component();
    let spec = || PluginSpec { id: "redactor".to_owned(), ..PluginSpec::default() };
    let preprocessor = sandbox.load_preprocessor(&path, spec()).expect("the component loads");
    let guard = sandbox.load_guard(&path, spec()).expect("the component loads");
    let note = runtime.block_on(preprocessor.prepare(prepare_input(0))).expect("it prepares").note;
    assert!(note.is_some(), "something was redacted");
    let watch_input = WatchInput {
        request_id: "request-1".into(),
        choice: 0,
        labels: Arc::new(Labels::none()),
        key: None,
        note,
        scope: Scope::new("request-1".into(), Arc::new(Labels::none()), None),
    };

    let mut watch = runtime.block_on(guard.watch(watch_input.clone())).expect("it begins");
    for (name, text, expected) in [
        ("nothing to restore", " budget", Verdict::Pass),
        ("a placeholder", " [EMAIL-1]", Verdict::Replace(" anna.schmidt@posteo.de".to_owned())),
    ] {
        let chunk = Chunk { kind: ChunkKind::Text, text };
        let times = (0..20_000).map(|_| {
            let start = Instant::now();
            let verdict = runtime.block_on(watch.on_chunk(chunk)).expect("it gives a verdict");
            let time = start.elapsed();
            assert_eq!(verdict, expected);
            time
        });
        let [p50, p99] = percentiles(times.collect());
        println!("guard, one chunk, {name}: p50 {p50:?}, p99 {p99:?}");
        criterion.bench_function(&format!("guard/chunk/{name}"), |bencher| {
            bencher.iter(|| black_box(runtime.block_on(watch.on_chunk(chunk))));
        });
    }
    criterion.bench_function("guard/begin", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(guard.watch(watch_input.clone()))));
    });
    for (name, bytes) in [("4 KiB", 4 << 10), ("100 KiB", 100 << 10)] {
        let input = prepare_input(bytes);
        criterion.bench_function(&format!("preprocessor/redactor/{name}"), |bencher| {
            bencher.iter(|| black_box(runtime.block_on(preprocessor.prepare(input.clone()))));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    targets = filters
}
criterion_main!(benches);
