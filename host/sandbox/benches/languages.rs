//! One routing decision of the shipped example in each language, with a fresh instance and with one that is kept: what
//! an interpreter in a component costs, and what `reuse` saves of it.
//!
//! Of the components in `target/plugins` (`cargo xtask plugins`); one that is not there is left out.
#![allow(clippy::print_stdout, reason = "a bench reports")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use lockgate_api::{RouteInput, Router as _};
use lockgate_sandbox::{Grant, Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};

use support::input;

const CALLS: usize = 400;
const PROMPT_BYTES: usize = 4 << 10;
const REUSE: u32 = 1_000_000;

const EXAMPLES: [(&str, &[Grant]); 4] =
    [("cost-saver", &[]), ("best-fit", &[]), ("by-language", &[]), ("office-hours", &[Grant::Clock])];

/// A request to which no label is to come, so that an instance is there for the next call at once.
fn settled() -> RouteInput {
    let input = input(PROMPT_BYTES);
    input.scope.settle();
    input
}

/// Median and 99th percentile.
fn percentiles(plugin: &RouterPlugin, calls: usize) -> [Duration; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it starts");
    let input = settled();
    let mut times: Vec<Duration> = (0..calls)
        .map(|_| {
            let input = input.clone();
            let start = Instant::now();
            runtime.block_on(plugin.route(input)).expect("it gives a plan");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    [times[calls / 2], times[calls * 99 / 100]]
}

fn main() {
    let sandbox = Sandbox::new(&SandboxOptions::default()).expect("the pool fits");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    // As a test, `cargo test --benches` runs it once.
    let calls = if std::env::args().any(|argument| argument == "--bench") { CALLS } else { 2 };
    for (name, grants) in EXAMPLES {
        let path = root.join(name).with_extension("wasm");
        if !path.is_file() {
            println!("{name}: not built");
            continue;
        }
        let plugin = |reuse| {
            let limits = Limits { time_max: Duration::from_secs(2), ..Limits::default() };
            let spec = PluginSpec {
                id: name.to_owned(),
                grants: grants.to_vec(),
                limits,
                reuse,
                ..PluginSpec::default()
            };
            sandbox.load_file(&path, spec).expect("the component loads")
        };
        let fresh = plugin(0);
        let compiled = fresh.compile_time();
        let [fresh_median, fresh_late] = percentiles(&fresh, calls);
        let [kept_median, kept_late] = percentiles(&plugin(REUSE), calls);
        println!(
            "{name}: compiled in {compiled:.1?}; fresh p50 {fresh_median:.1?}, p99 {fresh_late:.1?}; \
             kept p50 {kept_median:.1?}, p99 {kept_late:.1?}"
        );
    }
}
