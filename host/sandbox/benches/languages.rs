//! One routing decision of the shipped example in each language, with a fresh instance and with one that is kept: what
//! an interpreter in a component costs, and what `reuse` saves of it.
//!
//! Of the components in `target/plugins` (`cargo xtask plugins`); one that is not there is left out.
#![allow(clippy::print_stdout, reason = "a bench reports")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, Health, Labels, Locality, Message, Role, RouteInput, Router as _, Scope, Target, TargetFacts,
};
use lockgate_sandbox::{Grant, Limits, PluginSpec, RouterPlugin, Sandbox, SandboxOptions};

const CALLS: usize = 400;
const PROMPT_BYTES: usize = 4 << 10;
const REUSE: u32 = 1_000_000;

const EXAMPLES: [(&str, &[Grant]); 4] =
    [("cost-saver", &[]), ("best-fit", &[]), ("by-language", &[]), ("office-hours", &[Grant::Clock])];

fn input() -> RouteInput {
    let words = "The committee met on Tuesday to discuss the budget, which had grown by 12 percent. ";
    let prompt: String = words.chars().cycle().take(PROMPT_BYTES).collect();
    let target = |number: usize| {
        let target = Target {
            id: format!("target-{number}"),
            model: format!("model-{number}"),
            locality: if number < 2 { Locality::Local } else { Locality::Cloud },
            region: None,
            context_tokens: Some(8192),
            price: None,
            tools: true,
            images: false,
        };
        TargetFacts { target: Arc::new(target), health: Health::default(), permitted: true }
    };
    let scope = Scope::new("request-1".into(), Arc::new(Labels::none()), None);
    // No label is to come, so that an instance is there for the next call at once.
    scope.settle();
    RouteInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, prompt)])),
        labels: Arc::new(Labels::none()),
        catalog: (0..6).map(target).collect(),
        key: None,
        scope,
    }
}

/// Median and 99th percentile.
fn percentiles(plugin: &RouterPlugin, calls: usize) -> [Duration; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it starts");
    let input = input();
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
