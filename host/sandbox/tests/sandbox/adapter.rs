//! Adapters: described when they are loaded, then one instance a generation, called token by token, and what a hostile
//! one can do.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, HookInput, Label, Labels, Mask, Message, NextStep, Place, PolicyError, Role, Steering, Step,
    TokenHook, TokenHooks as _, Vocabulary,
};
use lockgate_sandbox::{
    AdapterPlugin, Grant, Limits, LoadError, PluginSpec, Sandbox, SandboxOptions, Weights,
};

use crate::support::{guest, logged, run, sandbox, spec};

/// The 256 bytes, and one token that ends an answer.
struct Bytes(Vec<u8>);

const END: u32 = 256;

impl Vocabulary for Bytes {
    fn size(&self) -> u32 {
        END + 1
    }
    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        Some(text.bytes().map(u32::from).collect())
    }
    fn bytes(&self, token: u32) -> &[u8] {
        self.0.get(token as usize).map(std::slice::from_ref).unwrap_or_default()
    }
    fn ends(&self) -> Vec<u32> {
        vec![END]
    }
}

fn input(mode: &str) -> HookInput {
    let messages = vec![Message::text(Role::User, mode)];
    HookInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest::new("smollm2:hostile", messages)),
        choice: 0,
        labels: Arc::new(Labels::none()),
        vocabulary: Arc::new(Bytes((0..=u8::MAX).collect())),
    }
}

fn place(chosen: Option<u32>) -> Place {
    Place { chosen, top: (97..101).map(|token| (token, -(token as f32))).collect() }
}

fn component() -> PathBuf {
    guest("tests/hostile-adapter")
}

/// What the component of these settings is loaded as.
fn described(settings: &[(&str, &str)]) -> Result<AdapterPlugin, LoadError> {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let limits = Limits { time_max: Duration::from_millis(500), ..spec().limits };
    sandbox().load_adapter(&component(), PluginSpec { settings, limits, ..spec() })
}

fn adapter_with(limits: Limits) -> AdapterPlugin {
    sandbox().load_adapter(&component(), PluginSpec { limits, ..spec() }).expect("the component loads")
}

fn adapter() -> AdapterPlugin {
    adapter_with(spec().limits)
}

/// What the component says about the first tokens of an answer, each of them an `a`.
pub(crate) async fn steps(
    plugin: &AdapterPlugin,
    mode: &str,
    tokens: usize,
) -> Result<Vec<Step>, PolicyError> {
    let mut hook = plugin.begin(input(mode)).await?;
    let mut steps = Vec::new();
    for number in 0..tokens {
        let (same, step) = hook.next(place((number > 0).then_some(97))).await?;
        hook = same;
        steps.push(step);
    }
    Ok(steps)
}

fn attack(plugin: &AdapterPlugin, mode: &str) -> Result<Step, PolicyError> {
    run(steps(plugin, mode, 1)).map(|mut steps| steps.remove(0))
}

fn masked(mask: Mask) -> Result<Step, PolicyError> {
    Ok(Step::Steer(Steering { biases: Vec::new(), mask }))
}

fn limit(plugin: &AdapterPlugin, mode: &str) -> String {
    match attack(plugin, mode) {
        Err(PolicyError::Limit { limit }) => limit,
        other => panic!("{mode}: {other:?}"),
    }
}

fn invalid(mode: &str) -> String {
    match attack(&adapter(), mode) {
        Err(PolicyError::InvalidAnswer { problem }) => problem,
        other => panic!("{mode}: {other:?}"),
    }
}

#[test]
fn it_is_what_it_says() {
    let plain = described(&[]).expect("the component loads");
    let description = plain.description();
    assert_eq!((description.bases.as_slice(), description.scale), (["smollm2".to_owned()].as_slice(), 1.0));
    assert_eq!((plain.id(), plain.top(), description.steers), ("hostile", 4, Some(4)));
    assert_eq!(description.weights, None);

    let of = described(&[("describe", "weights-of"), ("weights", "triage")]).expect("it loads");
    assert_eq!(of.description().weights, Some(Weights::Of("triage".to_owned())));
    let beside = described(&[("describe", "weights-beside"), ("weights", "a/b")]).expect("it loads");
    assert_eq!(beside.description().weights, Some(Weights::Beside("a/b".into())));
    let silent = described(&[("describe", "no-steering")]).expect("it loads");
    assert_eq!((silent.description().steers, silent.top()), (None, 0));
    assert_eq!(silent.description().system.as_deref(), Some("be brief"));
    assert_eq!(silent.description().sampling.max_tokens, Some(5));
}

#[test]
fn what_makes_no_sense_does_not_load() {
    for (mode, words) in [
        ("nothing", "it names no base model"),
        ("outside", "the weights `../secrets` are not beside the component"),
        ("hot", "temperature: 9 is not between 0 and 2"),
        ("many-stops", "more than 16 stop strings"),
        ("long-template", "the template has 100000 bytes"),
        ("huge-template", "output: too many bytes"),
        ("see-all", "it wants to see 100000 tokens, at most 256"),
        ("panic", "not today"),
        ("loop", "time: 500 ms"),
        ("vocabulary", "has no vocabulary yet"),
    ] {
        let told = described(&[("describe", mode)]).expect_err("it makes no sense").to_string();
        assert!(told.contains("does not describe itself: ") && told.contains(words), "{mode}: {told}");
        assert!(told.contains("hostile_adapter.wasm"), "{mode}: {told}");
    }
}

#[test]
fn imports_that_wait_are_refused() {
    // A filter has them all, and none of an adapter's exports: so told which world it is not of.
    let told =
        sandbox().load_adapter(&guest("tests/hostile-filter"), spec()).expect_err("no adapter").to_string();
    assert!(told.contains("not a component of the world `adapter`") && told.contains("/adapt@0.1"), "{told}");
    let ungranted = PluginSpec { grants: vec![Grant::Clock], ..spec() };
    let told = sandbox().load_adapter(&component(), ungranted).expect_err("it writes to the log").to_string();
    assert!(told.contains("needs the grant `log`"), "{told}");
    let granted = adapter();
    let unused: Vec<String> = granted.grants_unused().iter().map(ToString::to_string).collect();
    assert_eq!(unused, ["state", "clock", "random", "inference:here", "cloud:claude"]);
    let report = sandbox().inspect(&component()).expect("it is a component");
    assert_eq!((report.worlds.len(), report.grants), (1, vec![Grant::Log]));
}

#[test]
fn steps_come_out_as_the_guest_gave_them() {
    let plugin = adapter();
    assert_eq!(attack(&plugin, "good"), Ok(Step::AsBefore));
    assert_eq!(attack(&plugin, "stop"), Ok(Step::Stop));
    assert_eq!(attack(&plugin, "only-abc"), masked(Mask::Only(vec![97, 98, 99])));
    assert_eq!(attack(&plugin, "never-best"), masked(Mask::Never(vec![97])));
    assert_eq!(attack(&plugin, "ends"), masked(Mask::Only(vec![END])));
    let vowels = b"AEIOUaeiou".iter().map(|&byte| u32::from(byte)).collect();
    assert_eq!(attack(&plugin, "never-vowels"), masked(Mask::Never(vowels)));
    let pushed = Steering { biases: vec![(97, 100.0)], mask: Mask::All };
    assert_eq!(attack(&plugin, "push"), Ok(Step::Steer(pushed)));
    assert_eq!(run(steps(&plugin, "facts", 5)), Ok(vec![Step::AsBefore; 5]));
    assert_eq!(run(steps(&plugin, "stop@2", 3)), Ok(vec![Step::AsBefore, Step::AsBefore, Step::Stop]));
}

#[test]
fn it_may_refuse_and_fail_at_once() {
    let plugin = adapter();
    let begin = |plugin: &AdapterPlugin, mode: &str| run(plugin.begin(input(mode))).map(|_| ());
    assert_eq!(begin(&plugin, "begin-refuse"), Err(PolicyError::Refused { reason: "not today".to_owned() }));
    assert!(matches!(begin(&plugin, "begin-panic"), Err(PolicyError::Trap { .. })));
    let hasty = adapter_with(Limits { time_max: Duration::from_millis(30), ..Limits::default() });
    assert_eq!(begin(&hasty, "begin-loop"), Err(PolicyError::Limit { limit: "time: 30 ms".to_owned() }));
}

#[test]
fn a_failure_at_the_nth_token_is_one_there() {
    let plugin = adapter();
    assert!(matches!(run(steps(&plugin, "trap@3", 3)), Ok(steps) if steps.len() == 3));
    assert!(matches!(run(steps(&plugin, "trap@3", 4)), Err(PolicyError::Trap { .. })));
    let outcome = attack(&plugin, "panic");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("panicked at tests/hostile-adapter/src/lib.rs:"), "{message}");
    // On a labelled request its words stay in.
    let labels = Arc::new(Labels::none().with([Label::LocalOnly]));
    let outcome = run(plugin.begin(HookInput { labels, ..input("begin-panic") })).map(|_| ());
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("withheld") && !message.contains("the prompt was"), "{message}");
}

#[test]
fn nonsense_is_told() {
    assert_eq!(invalid("no-such-token"), format!("its mask names token {} of 257", u32::MAX));
    assert_eq!(invalid("no-such-bias"), format!("a bias is for token {} of 257", u32::MAX));
    assert_eq!(invalid("nan"), "a bias of NaN is not between -100 and 100");
    assert!(invalid("huge-bias").contains("is not between -100 and 100"));
    // What leaves nothing is for the engine to find out: only it knows what the model leaves.
    assert_eq!(attack(&adapter(), "none"), masked(Mask::Only(Vec::new())));
}

#[test]
fn what_it_uses_is_bounded() {
    let plugin = adapter();
    assert_eq!(limit(&plugin, "huge-list"), "output: too many bytes handed to the host in one call");
    assert_eq!(limit(&plugin, "many-biases"), "output: too many bytes handed to the host in one call");
    assert_eq!(limit(&plugin, "memory"), format!("memory: {} bytes in all its memories", 64 << 20));
    assert_eq!(limit(&plugin, "host-calls"), "host calls: 1000");
    assert_eq!(
        limit(&plugin, "long-text"),
        "a text to be made into tokens: 5000 where at most 4096 is allowed"
    );
    assert_eq!(
        limit(&plugin, "many-texts"),
        "tokens whose texts are wanted: 5000 where at most 4096 is allowed"
    );
    // Memory is counted over all of a generation.
    let outcome = run(steps(&plugin, "slow-leak", 100));
    assert!(
        matches!(&outcome, Err(PolicyError::Limit { limit }) if limit.starts_with("memory")),
        "{outcome:?}"
    );
}

/// Asks as the thread of a model does: without a runtime, waker or patience.
fn asked(hook: Box<dyn TokenHook>) -> (NextStep, Poll<Result<(), PolicyError>>, Duration) {
    let mut next = hook.next(place(None));
    let start = Instant::now();
    let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    (next, polled.map_ok(drop), start.elapsed())
}

#[test]
fn a_call_that_never_returns_keeps_the_models_thread_for_a_tick() {
    let limits = Limits { time_max: Duration::from_secs(2), ..Limits::default() };
    let plugin = adapter_with(limits);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime starts");
    let hook = runtime.block_on(plugin.begin(input("loop"))).expect("it begins");
    let (mut next, polled, first) = asked(hook);
    assert!(polled.is_pending());
    // A tick is 2 ms; a machine may be busy.
    assert!(first < Duration::from_millis(1500), "{first:?}");
    let began = Instant::now();
    let outcome = loop {
        let start = Instant::now();
        let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(start.elapsed() < Duration::from_millis(1500), "looking again costs nothing");
        match polled {
            Poll::Ready(outcome) => break outcome.map(drop),
            Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it never ends");
    };
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "time: 2000 ms".to_owned() }));

    // Whoever is not waited for any more is gone, and its place is free.
    let small = Sandbox::new(&SandboxOptions { calls_max: 1, guards_max: 1, ..SandboxOptions::default() });
    let small = small.expect("a small pool fits").load_adapter(&component(), spec()).expect("it loads");
    for _ in 0..5 {
        let hook = runtime.block_on(small.begin(input("loop"))).expect("the only place is free");
        let (next, polled, _) = asked(hook);
        assert!(polled.is_pending());
        drop(next);
    }
    // A good one needs no runtime at all.
    let hook = runtime.block_on(small.begin(input("good"))).expect("the only place is free");
    drop(runtime);
    let (_, polled, _) = asked(hook);
    assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
}

#[test]
fn a_host_that_shuts_down_ends_what_runs() {
    let plugin = adapter();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime starts");
    let hook = runtime.block_on(plugin.begin(input("loop"))).expect("it begins");
    runtime.shutdown_background();
    let (mut next, mut polled, _) = asked(hook);
    while polled.is_pending() {
        std::thread::sleep(Duration::from_millis(1));
        polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop())).map_ok(drop);
    }
    assert!(matches!(polled, Poll::Ready(Err(PolicyError::Host { .. }))), "{polled:?}");
}

#[test]
fn a_generation_has_a_time_for_all_of_its_calls() {
    let limits = Limits { generation_time_max: Duration::from_millis(20), ..spec().limits };
    let outcome = run(steps(&adapter_with(limits), "slow", 1_000));
    let limit = "time: 20 ms in all calls of one generation".to_owned();
    assert_eq!(outcome, Err(PolicyError::Limit { limit }));
    assert_eq!(run(steps(&adapter(), "slow", 2)), Ok(vec![Step::AsBefore; 2]));
}

#[test]
fn while_adapters_loop_others_are_served() {
    let plugin = adapter();
    let looping = adapter_with(Limits { time_max: Duration::from_millis(300), ..Limits::default() });
    run(async {
        let loops = futures_util::future::join_all([(); 8].map(|()| steps(&looping, "loop", 1)));
        let served = async {
            for _ in 0..50 {
                assert_eq!(steps(&plugin, "only-abc", 5).await.map(|steps| steps.len()), Ok(5));
            }
        };
        let (loops, ()) = tokio::join!(loops, served);
        assert!(loops.iter().all(|outcome| matches!(outcome, Err(PolicyError::Limit { .. }))), "{loops:?}");
    });
}

#[test]
fn a_full_pool_is_an_overload() {
    let options = SandboxOptions { calls_max: 1, guards_max: 2, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let limits = Limits { time_max: Duration::from_millis(50), ..Limits::default() };
    let plugin = sandbox.load_adapter(&component(), PluginSpec { limits, ..spec() }).expect("it loads");
    run(async {
        let _first = plugin.begin(input("good")).await.expect("a free place");
        let second = plugin.begin(input("good")).await.expect("a free place");
        assert_eq!(plugin.begin(input("good")).await.map(|_| ()), Err(PolicyError::Overloaded));
        drop(second);
        plugin.begin(input("good")).await.expect("a place is free again");
    });
}

#[test]
fn its_lines_are_logged_as_they_come_and_cut() {
    let plugin = adapter();
    let log = logged(steps(&plugin, "log", 100));
    assert!(log.contains("token 32") && !log.contains("token 33"), "{log}");
    assert!(log.contains("plugin=\"hostile\" request=\"request-1\""), "{log}");
}
