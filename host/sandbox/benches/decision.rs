//! One routing decision with a fresh instance: of `tests/reader`, which does no more than read the first 16 KiB; of
//! `privacy-first`, which reads the whole prompt and finds nothing in it; and of `cost-saver`, which reads at most the
//! last question's first 16 KiB.
//!
//! What is timed is from the request to the plan. What is left to do behind a call, as a request waits for its answer
//! (wiping its instance, making the next), is done between two of them and told apart.
//!
//! Criterion gives the distribution of the median; a plain loop before it prints p50 and p99, which is what a request
//! feels, with instances that are made ahead and such that are not, and compares the pool's settings when
//! `LOCKGATE_TUNE` is set. Each takes turns with `tests/reader` in a host that does the least that one can
//! ([`Least`]): the ratio to it says what is added, whatever the machine.
#![allow(clippy::print_stdout, reason = "a bench reports")]

#[path = "support/least.rs"]
mod least;
mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lockgate_api::{RouteInput, Router as _};
use lockgate_sandbox::{PluginSpec, RouterPlugin, Sandbox, SandboxOptions};
use tokio::runtime::Runtime;

use least::Least;
use support::input;

fn component(folder: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    lockgate_plugin_build::build(root.join(folder), out).expect("it compiles").path
}

fn plugin(folder: &str, options: &SandboxOptions) -> RouterPlugin {
    let spec = PluginSpec { id: folder.to_owned(), ..PluginSpec::default() };
    let sandbox = Sandbox::new(options).expect("the pool fits");
    sandbox.load_file(&component(folder), spec).expect("the component loads")
}

/// Something that makes one decision.
type Decides<'a> = dyn Fn(RouteInput) + 'a;

fn routes<'a>(runtime: &'a Runtime, plugin: &'a RouterPlugin) -> Box<Decides<'a>> {
    Box::new(|input| {
        let plan = runtime.block_on(plugin.route(input)).expect("it gives a plan");
        assert_eq!(plan.attempts.len(), 6, "{}", plan.reason);
    })
}

fn least<'a>(runtime: &'a Runtime, host: &'a Least) -> Box<Decides<'a>> {
    Box::new(|input| {
        let (attempts, reason) = runtime.block_on(host.route(input)).expect("it gives a plan");
        assert_eq!(attempts.len(), 6, "{reason}");
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
}

const READER: &str = "tests/reader";
/// How often those that are compared take turns.
const ROUNDS: usize = 9;
/// How long a server that has something else to do waits between two decisions.
const PAUSE: Duration = Duration::from_micros(300);

/// Median and 99th percentile of many decisions, with a pause before each; and the median of what is left to do behind
/// one.
fn percentiles(
    runtime: &Runtime,
    decides: &Decides<'_>,
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
            decides(input);
            let time = start.elapsed();
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
    let bare = Least::load(&component(READER)).expect("it loads");
    for folder in [READER, "plugins/privacy-first", "plugins/cost-saver"] {
        let policy = folder.rsplit('/').next().unwrap_or(folder);
        let on_the_spot = plugin(folder, &SandboxOptions { ready_max: 0, ..SandboxOptions::default() });
        let plugin = plugin(folder, &SandboxOptions::default());
        let subjects = [
            ("`reader` in the least host", least(&runtime, &bare)),
            ("on the spot", routes(&runtime, &on_the_spot)),
            ("made ahead", routes(&runtime, &plugin)),
        ];
        println!("compiling {policy} took {:?}", plugin.compile_time());
        for (name, bytes) in [("4 KiB", 4 << 10), ("100 KiB", 100 << 10)] {
            let input = input(bytes);
            for (pace, pause) in [("a pause before each", PAUSE), ("one after the other", Duration::ZERO)] {
                // They take turns, since a machine's speed changes from second to second: what is told is the median
                // round of each, and the median ratio of a round.
                let rounds: Vec<Vec<[Duration; 3]>> = (0..ROUNDS)
                    .map(|_| {
                        let one = |(_, decides): &(_, Box<Decides<'_>>)| {
                            percentiles(&runtime, decides, &input, 800, pause)
                        };
                        subjects.iter().map(one).collect()
                    })
                    .collect();
                println!(
                    "{policy}, {name} prompt, {pace} (p50, p99, behind it; p50 and p99 to those of the first):"
                );
                for (index, (subject, _)) in subjects.iter().enumerate() {
                    let middle = |of: &dyn Fn(&Vec<[Duration; 3]>) -> f64| {
                        let mut values: Vec<f64> = rounds.iter().map(of).collect();
                        values.sort_unstable_by(f64::total_cmp);
                        values[ROUNDS / 2]
                    };
                    let micros = |at: usize| middle(&|round| round[index][at].as_secs_f64() * 1e6);
                    let ratio = |at: usize| middle(&|round| round[index][at].div_duration_f64(round[0][at]));
                    println!(
                        "  {subject}: {:.1} {:.1} {:.1} us; {:.2} {:.2}",
                        micros(0),
                        micros(1),
                        micros(2),
                        ratio(0),
                        ratio(1)
                    );
                }
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
            let medians = plugins
                .each_ref()
                .map(|plugin| percentiles(runtime, &*routes(runtime, plugin), input, 500, Duration::ZERO)[0]);
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
