//! A policy that attacks its host, in the way that the request's model or its setting `mode` names.
//!
//! Owns the attacks. What must come of each is said by the tests of `host/sandbox`, which claim every mode:
//! one that they do not know is a refusal, and the test that asked for it fails.
#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, reason = "dying is among the things that this guest does")]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lockgate_plugin::guest::bindings::router::lockgate::plugin as raw;
use lockgate_plugin::{
    AskError, Attempt, Catalog, Plan, Prompt, Refusal, Request, Router, Settings, clock, cloud, inference,
    log, random, state,
};

struct Hostile;

/// Calls that this instance has counted, this one included.
fn counted() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    (CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string()
}

/// All targets, each with the next one beside it almost at once.
fn hedged(catalog: &impl Catalog) -> Plan {
    let attempts = catalog.ids().into_iter().map(|id| Attempt::on(id).hedge_after(Duration::from_millis(1)));
    attempts.fold(Plan::because("all of them at once"), Plan::then)
}

impl Router for Hostile {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        let mode = settings.get("mode").unwrap_or_else(|| request.model());
        let first = || catalog.ids().first().cloned().unwrap_or_default();
        let good = |reason: String| Ok(Plan::because(reason).then(first()));
        match mode.as_str() {
            "good" => good(format!("{} bytes", request.length())),
            "both" => Ok(catalog.ids().into_iter().fold(Plan::because("all of them"), Plan::then)),
            "refuse" => Err(Refusal::new("not today")),
            "echo" => good(request.text(1 << 10)),
            "settings" => good(format!("{:?} {:?}", settings.get("colour"), settings.all())),

            "count" => good(counted()),
            "count-labelled" => Ok(Plan::because(counted()).then(first()).label("no-cloud")),
            "count-holding" => {
                std::mem::forget(raw::plan::Plan::new());
                good(counted())
            }
            "count-asking" => {
                (0..600).for_each(|_| drop(black_box(request.model())));
                good(counted())
            }

            "loop" => loop {
                black_box(());
            },
            "busy" => {
                // Some fifty milliseconds at least, and an end.
                (0..40_000_000u64).for_each(|number| drop(black_box(number)));
                good("done".to_owned())
            }
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "memory-refused" => {
                let mut pages = 0;
                while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {
                    pages += 16;
                }
                good(format!("{pages} pages"))
            }
            "recursion" => good(format!("{}", deep(Step(black_box(deep)), 1))),
            "recursion-with-data" => good(format!("{}", deep_with_data(1))),
            "panic" => panic!("the prompt was: {}", request.text(64)),
            "panic-flood" => {
                for _ in 0..100 {
                    eprintln!("{}", "x".repeat(1000));
                }
                panic!("at last");
            }
            "trap" => core::arch::wasm32::unreachable(),
            "exit" => std::process::exit(3),

            "host-calls" => loop {
                black_box(catalog.permitted());
            },
            "messages-kept" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(request.message(0));
                }
            }
            "plans-kept" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(raw::plan::Plan::new());
                }
            }
            "plans-dropped" => {
                for _ in 0..5_000 {
                    drop(black_box(raw::plan::Plan::new()));
                }
                good("made and dropped".to_owned())
            }
            "log-flood" => {
                for number in 0..1_000 {
                    log::info(&format!("line {number}"));
                }
                good("flooded".to_owned())
            }
            "log-long" => {
                log::warn(&"é".repeat(10_000));
                good("one long line".to_owned())
            }
            "output-flood" => loop {
                log::info(&"x".repeat(4_000));
            },

            "unknown-target" => Ok(Plan::because("surprise").then("no-such\ntarget")),
            "no-target" => Ok(Plan::because("nothing")),
            "twice" => Ok(Plan::because("again").then(first()).then(first())),
            "many-targets" => Ok((0..100).fold(Plan::default(), |plan, _| plan.then(first()))),
            "unknown-label" => Ok(Plan::default().then(first()).label("top-secret")),
            "many-labels" => {
                Ok((0..100).fold(Plan::default().then(first()), |plan, _| plan.label("no-cloud")))
            }
            "zero-timeout" => {
                let mut plan = Plan::default().then(first());
                plan.attempts[0].timeout = Some(Duration::ZERO);
                Ok(plan)
            }
            "overrides" => {
                let attempt =
                    Attempt { top_p: Some(0.5), top_k: Some(7), seed: Some(u64::MAX), ..first().into() };
                let attempt = attempt.temperature(0.25).max_tokens(64).within(Duration::from_millis(900));
                Ok(Plan::because("as it likes").then(attempt))
            }
            "hedged" => Ok(hedged(catalog)),
            "hedged-and-label" => Ok(hedged(catalog).label("local-only")),
            "zero-hedge" => Ok(Plan::default().then(Attempt::on(first()).hedge_after(Duration::ZERO))),
            "adapters" => good(format!("{:?}", catalog.adapters())),
            "too-hot" => Ok(Plan::default().then(Attempt::on(first()).temperature(2.5))),
            "no-number" => Ok(Plan::default().then(Attempt { top_p: Some(f32::NAN), ..first().into() })),
            "no-token" => Ok(Plan::default().then(Attempt::on(first()).max_tokens(0))),
            "label" => Ok(Plan::because("personal").then(first()).label("local-only")),
            "label-and-log" => {
                log::info("a secret in the log");
                eprintln!("a secret on standard error");
                Ok(Plan::because("personal").then(first()).label("local-only"))
            }
            "log" => {
                log::info("a line for the operator");
                eprintln!("a line on standard error");
                good("logged".to_owned())
            }
            "long-reason" => good("x".repeat(5_000)),
            "huge-reason" => good("x".repeat(8 << 20)),
            "long-refusal" => Err(Refusal::new("x".repeat(5_000))),

            "state" => good(format!("{}", remembered())),
            "files" => good(format!("{}", std::fs::read_to_string("/etc/passwd").is_err())),
            "environment" => good(format!("{} {}", std::env::vars().count(), std::env::args().count())),
            "time" => {
                let start = Instant::now();
                let epoch = SystemTime::UNIX_EPOCH;
                good(format!("{:?} {:?}", epoch.elapsed().unwrap(), start.elapsed()))
            }
            "random" => {
                let map: HashMap<u32, u32, RandomState> = HashMap::default();
                good(format!("{:x}", map.hasher().hash_one(7)))
            }
            "clock" => good(format!("{:?} {:?}", clock::now(), clock::monotonic())),
            "random-granted" => good(format!("{:?} {:x}", random::bytes(3), random::number())),
            "random-flood" => good(format!("{}", random::bytes(4097).len())),
            "remember" => good(format!("{:?}", state::increment("calls", 1, None))),
            "remember-and-panic" => {
                must(state::increment("calls", 100, None));
                panic!("after writing");
            }
            "remember-and-refuse" => {
                must(state::increment("calls", 10, None));
                Err(Refusal::new("not today"))
            }
            "remember-nonsense" => {
                must(state::increment("calls", 100, None));
                Ok(Plan::because("nothing"))
            }
            "state-errors" => good(format!(
                "{:?} {:?} {:?} {:?}",
                state::get(""),
                state::set("k", &vec![0; 65_537], None),
                state::set(&"k".repeat(257), b"", None),
                state::set("text", b"x", None).and_then(|()| state::increment("text", 1, None)),
            )),
            "state-flood" => {
                let fits = |number: &u32| state::set(&number.to_string(), &[7; 1 << 10], None).is_ok();
                good(format!("{} entries", (0..10_000).take_while(fits).count()))
            }
            "state-keys-flood" => {
                let fits = |number: &u32| state::set(&number.to_string(), b"", None).is_ok();
                good(format!("{} entries", (0..100_000).take_while(fits).count()))
            }
            "input-flood" => loop {
                black_box(request.text(u32::MAX));
            },
            "ask-then-label" => {
                let asked = ask("cloud", "claude", request);
                Ok(Plan::because(asked).then(first()).label("local-only"))
            }
            "ask-then-panic" => panic!("{}", ask("cloud", "claude", request)),
            "label-then-ask" => {
                raw::plan::Plan::new().add_label("local-only");
                Err(Refusal::new(ask("cloud", "claude", request)))
            }
            "prompts-kept" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(Prompt::of(request));
                }
            }
            "prompt-flood" => {
                let mut prompt = Prompt::new();
                loop {
                    prompt = prompt.add(lockgate_plugin::Role::User, &"x".repeat(1_000));
                }
            }
            "stops-flood" => {
                drop((0..17).fold(Prompt::new(), |prompt, number| prompt.stop(&number.to_string())));
                good("no limit".to_owned())
            }
            "generations-kept" => {
                let mut hoard = Vec::new();
                let failed = loop {
                    match inference::generate("here", &Prompt::of(request).max_tokens(1)) {
                        Ok(generation) => hoard.push(generation),
                        Err(error) => break error,
                    }
                };
                Err(Refusal::new(format!("{} and then {failed:?}", hoard.len())))
            }
            "generations-dropped" => {
                let ask = || inference::generate("here", &Prompt::user("x").max_tokens(1));
                let made = (0..50).take_while(|_| ask().is_ok()).count();
                Err(Refusal::new(format!("{made} made and dropped")))
            }
            "endless-next" => {
                let mut generation = inference::generate("here", &Prompt::of(request)).unwrap();
                loop {
                    black_box(generation.next(1).unwrap());
                }
            }
            "spend" => {
                let ask = || cloud::generate("claude", &Prompt::of(request).max_tokens(100))?.text();
                let (asked, failed) = loop_until_error(ask);
                Err(Refusal::new(format!("{asked} and then {failed:?}")))
            }
            "wait-and-loop" => {
                let waited = ask("inference", "here", request);
                log::info(&waited);
                loop {
                    black_box(());
                }
            }
            "nothing-asked" => Err(Refusal::new(format!(
                "{:?} {:?} {:?}",
                inference::generate("here", &Prompt::new()).err(),
                inference::choose("here", &Prompt::user("x"), &[]).err(),
                inference::embed("here", &["a", ""]).err(),
            ))),
            ask_of if ask_of.contains(':') => {
                let (by, target) = ask_of.split_once(':').unwrap_or_default();
                Err(Refusal::new(ask(by, target, request)))
            }
            "network" => good(format!("{}", std::net::TcpStream::connect("127.0.0.1:80").is_ok())),
            other => Err(Refusal::new(format!("no such attack: {other}"))),
        }
    }
}

/// What comes of an ask, in words.
fn ask(by: &str, target: &str, request: &impl Request) -> String {
    let prompt = Prompt::of(request).max_tokens(50);
    let words = |result: Result<String, AskError>| result.unwrap_or_else(|error| format!("error: {error}"));
    match by {
        "cloud" => words(cloud::generate(target, &prompt).and_then(|answer| answer.text())),
        "inference" => words(inference::generate(target, &prompt).and_then(|answer| answer.text())),
        "choose" => words(inference::choose(target, &prompt, &["yes", "no"]).map(|all| {
            let all: Vec<_> = all.iter().map(|one| (one.log_probability, one.tokens)).collect();
            format!("{all:?}")
        })),
        "embed" => words(inference::embed(target, &["a", "bc"]).map(|all| format!("{all:?}"))),
        "embed-in-cloud" => words(cloud::embed(target, &["a", "bc"]).map(|all| format!("{all:?}"))),
        "count" => words(inference::count_tokens(target, &prompt).map(|count| count.to_string())),
        other => format!("no such ask: {other}"),
    }
}

fn loop_until_error<T>(ask: impl Fn() -> Result<T, AskError>) -> (u32, AskError) {
    for asked in 0.. {
        if let Err(error) = ask() {
            return (asked, error);
        }
    }
    unreachable!("the loop does not end")
}

fn must<T>(answer: Result<T, state::StateError>) {
    assert!(answer.is_ok(), "there is room");
}

/// How often this instance has been asked.
fn remembered() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::SeqCst) + 1
}

/// Keeps everything in locals, which live on the host's part of the stack. Calls itself through a pointer, so
/// that the compiler cannot make a loop of it.
#[derive(Clone, Copy)]
struct Step(fn(Self, u64) -> u64);

fn deep(step: Step, depth: u64) -> u64 {
    (step.0)(step, depth.wrapping_add(1)).wrapping_mul(depth | 1)
}

/// Keeps data whose address is taken, which lives on the guest's own stack.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the attack")]
fn deep_with_data(depth: u64) -> u64 {
    let data = black_box([depth; 64]);
    deep_with_data(data[7].wrapping_add(1)) ^ black_box(&data)[3]
}

lockgate_plugin::export_router!(Hostile);
