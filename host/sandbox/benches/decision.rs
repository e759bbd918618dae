//! One routing decision with a fresh instance: of `tests/reader`, which does no more than read the first 16 KiB; of
//! `privacy-first`, which reads the whole prompt and finds nothing in it; and of `cost-saver`, which reads at most the
//! last question's first 16 KiB.
//!
//! What is timed is from the request to the plan. What is left to do behind a call, as a request waits for its answer
//! (wiping its instance, making the next), is done between two of them and told apart.
//!
//! Criterion gives the distribution of the median; a plain loop before it prints p50 and p99, which is what a request
//! feels, with instances that are made ahead and such that are not, and compares the pool's settings when
//! `LOCKGATE_TUNE` is set.
#![allow(clippy::print_stdout, reason = "a bench reports")]

mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lockgate_api::{RouteInput, Router as _};
use lockgate_sandbox::{PluginSpec, RouterPlugin, Sandbox, SandboxOptions};
use tokio::runtime::Runtime;

use support::input;

fn plugin(folder: &str, options: &SandboxOptions) -> RouterPlugin {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = lockgate_plugin_build::build(root.join(folder), out).expect("it compiles");
    let spec = PluginSpec { id: folder.to_owned(), ..PluginSpec::default() };
    let sandbox = Sandbox::new(options).expect("the pool fits");
    sandbox.load_file(&built.path, spec).expect("the component loads")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
}

/// How long a server that has something else to do waits between two decisions.
const PAUSE: Duration = Duration::from_micros(300);

/// Median and 99th percentile of many decisions, with a pause before each; and the median of what is left to do behind
/// one.
fn percentiles(
    runtime: &Runtime,
    plugin: &RouterPlugin,
    input: &RouteInput,
    count: usize,
    pause: Duration,
) -> [Duration; 3] {
    let mut behind = Vec::with_capacity(count);
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let input = input.clone();
            let begun = Instant::now();
            while begun.elapsed() < pause {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            let plan = runtime.block_on(plugin.route(input)).expect("it gives a plan");
            let time = start.elapsed();
            assert_eq!(plan.attempts.len(), 6, "{}", plan.reason);
            let start = Instant::now();
            runtime.block_on(tokio::task::yield_now());
            behind.push(start.elapsed());
            time
        })
        .collect();
    times.sort_unstable();
    behind.sort_unstable();
    [times[count / 2], times[count * 99 / 100], behind[count / 2]]
}

fn decision(criterion: &mut Criterion) {
    let runtime = runtime();
    if std::env::var_os("LOCKGATE_TUNE").is_some() {
        tune(&runtime);
    }
    for folder in ["tests/reader", "plugins/privacy-first", "plugins/cost-saver"] {
        let policy = folder.rsplit('/').next().unwrap_or(folder);
        let on_the_spot = plugin(folder, &SandboxOptions { ready_max: 0, ..SandboxOptions::default() });
        let plugin = plugin(folder, &SandboxOptions::default());
        println!("compiling {policy} took {:?}", plugin.compile_time());
        for (name, bytes) in [("4 KiB", 4 << 10), ("100 KiB", 100 << 10)] {
            let input = input(bytes);
            for (pace, pause) in [("a pause before each", PAUSE), ("one after the other", Duration::ZERO)] {
                // They take turns, since a machine's speed changes from second to second.
                let mut rounds: Vec<[[Duration; 3]; 2]> = (0..5)
                    .map(|_| {
                        [&on_the_spot, &plugin]
                            .map(|plugin| percentiles(&runtime, plugin, &input, 800, pause))
                    })
                    .collect();
                rounds.sort_unstable_by_key(|[_, [p50, ..]]| *p50);
                let [spot, ahead] = rounds[rounds.len() / 2];
                println!(
                    "{policy}, {name} prompt, {pace}: ahead {ahead:?}, on the spot {spot:?} (p50, p99, behind it)"
                );
            }
            criterion.bench_function(&format!("decision/{policy}/{name}"), |bencher| {
                bencher.iter_batched(
                    || {
                        runtime.block_on(tokio::task::yield_now());
                        input.clone()
                    },
                    |input| black_box(runtime.block_on(plugin.route(input))),
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

/// The settings that `engine` documents, each beside the default. They take turns, since a machine's speed changes
/// from second to second: what counts is the ratio to the default in the same round.
fn tune(runtime: &Runtime) {
    const ROUNDS: usize = 9;
    let inputs = [input(16), input(4 << 10), input(100 << 10)];
    let settings = [
        (true, true, 128),
        (true, false, 128),
        (true, true, 0),
        (true, false, 0),
        (true, true, 1024),
        (false, true, 0),
        (false, false, 0),
    ];
    let plugins = settings.map(|(pooling, copy_on_write, resident_kib)| {
        let memory_resident_bytes = resident_kib << 10;
        let defaults = SandboxOptions::default();
        plugin(
            "plugins/privacy-first",
            &SandboxOptions { pooling, copy_on_write, memory_resident_bytes, ..defaults },
        )
    });
    let mut ratios = vec![[const { Vec::new() }; 3]; settings.len()];
    for _ in 0..ROUNDS {
        for (size, input) in inputs.iter().enumerate() {
            let medians =
                plugins.each_ref().map(|plugin| percentiles(runtime, plugin, input, 500, Duration::ZERO)[0]);
            for (setting, median) in medians.iter().enumerate() {
                ratios[setting][size].push(median.as_secs_f64() / medians[0].as_secs_f64());
            }
        }
    }
    for ((pooling, copy_on_write, resident_kib), ratios) in settings.iter().zip(&mut ratios) {
        let [none, short, long] = ratios.each_mut().map(|ratios| {
            ratios.sort_unstable_by(f64::total_cmp);
            ratios[ROUNDS / 2]
        });
        println!(
            "pooling {pooling}, copy on write {copy_on_write}, {resident_kib} KiB resident: {none:.2} {short:.2} {long:.2}"
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    targets = decision
}
criterion_main!(benches);
