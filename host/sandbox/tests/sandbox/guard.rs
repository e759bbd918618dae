//! Guards: one instance a choice, called chunk by chunk, and what a hostile one can do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    Chunk, ChunkKind, Guard as _, KeyFacts, Label, Labels, PolicyError, Verdict, Watch, WatchInput,
};
use lockgate_sandbox::{GuardPlugin, Limits, PluginSpec, Sandbox, SandboxOptions};

use crate::support::{guest, logged, run, sandbox, scope, spec};

fn filter_with(spec: PluginSpec) -> GuardPlugin {
    sandbox().load_guard(&guest("tests/hostile-filter"), spec).expect("the component loads")
}

fn filter() -> GuardPlugin {
    filter_with(spec())
}

fn input(mode: &str) -> WatchInput {
    WatchInput {
        request_id: "request-1".into(),
        choice: 3,
        labels: Arc::new(Labels::none()),
        key: Some(KeyFacts { name: "desk".into(), tenant: "clinic".into() }),
        note: Some(mode.as_bytes().into()),
        scope: scope(),
    }
}

fn chunk(text: &str) -> Chunk<'_> {
    Chunk { kind: ChunkKind::Text, text }
}

async fn begun(plugin: &GuardPlugin, mode: &str) -> Box<dyn Watch> {
    plugin.watch(input(mode)).await.expect("it begins")
}

/// One chunk of a fresh answer.
fn attack(plugin: &GuardPlugin, mode: &str) -> Result<Verdict, PolicyError> {
    run(async { begun(plugin, mode).await.on_chunk(chunk("hello")).await })
}

fn replaced(text: &str) -> Result<Verdict, PolicyError> {
    Ok(Verdict::Replace(text.to_owned()))
}

#[test]
fn verdicts_come_out_as_the_guest_gave_them() {
    let plugin = filter();
    assert_eq!(attack(&plugin, "pass"), Ok(Verdict::Pass));
    assert_eq!(attack(&plugin, "hold"), Ok(Verdict::Hold(u32::MAX as usize)));
    assert_eq!(attack(&plugin, "stop"), Ok(Verdict::Stop { reason: "it said hello".to_owned() }));
    assert_eq!(plugin.id(), "hostile");
}

#[test]
fn it_sees_what_a_chunk_is_part_of() {
    let plugin = filter();
    run(async {
        let mut watch = begun(&plugin, "echo").await;
        for (kind, told) in [
            (ChunkKind::Text, "Text: zwölf €"),
            (ChunkKind::Reasoning, "Reasoning: zwölf €"),
            (ChunkKind::Arguments { tool: "send" }, "Arguments(\"send\"): zwölf €"),
        ] {
            assert_eq!(watch.on_chunk(Chunk { kind, text: "zwölf €" }).await, replaced(told));
        }
    });
}

#[test]
fn it_is_told_the_answers_facts() {
    let settings = [("size".to_owned(), "7".to_owned())].into();
    let plugin = filter_with(PluginSpec { settings, ..spec() });
    let labels = Arc::new(Labels::none().with([Label::NoCloud]));
    let told = run(async {
        let mut watch =
            plugin.watch(WatchInput { labels, note: None, ..input("") }).await.expect("it begins");
        watch.on_chunk(chunk("hello")).await
    });
    let facts = "3 [\"no-cloud\"] Some(\"desk\") Some(\"clinic\") [(\"size\", \"7\")]";
    assert_eq!(told, replaced(facts));
}

#[test]
fn an_instance_lives_as_long_as_its_answer_and_no_longer() {
    let plugin = filter();
    run(async {
        let (mut first, mut second) = (begun(&plugin, "count").await, begun(&plugin, "count").await);
        assert_eq!(first.on_chunk(chunk("a")).await, replaced("1"));
        assert_eq!(first.on_chunk(chunk("b")).await, replaced("2"));
        assert_eq!(second.on_chunk(chunk("a")).await, replaced("1"));
        assert_eq!(first.end_run().await, Ok(Verdict::Pass));
        assert_eq!(first.finish().await, replaced("2 in all"));
    });
}

#[test]
fn it_may_refuse_and_fail_at_once() {
    let plugin = filter();
    let begin = |mode: &str| run(plugin.watch(input(mode))).map(|_| ());
    assert_eq!(begin("begin-refuse"), Err(PolicyError::Refused { reason: "not today".to_owned() }));
    assert!(matches!(begin("begin-panic"), Err(PolicyError::Trap { .. })));
    let limits = Limits { time_max: Duration::from_millis(30), ..Limits::default() };
    let plugin = filter_with(PluginSpec { limits, ..spec() });
    let outcome = run(plugin.watch(input("begin-loop"))).map(|_| ());
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "time: 30 ms".to_owned() }));
}

#[test]
fn each_call_has_the_whole_time_and_no_more() {
    let limits = Limits { time_max: Duration::from_millis(200), ..Limits::default() };
    let plugin = filter_with(PluginSpec { limits, ..spec() });
    run(async {
        // Longer in all than one call may take, with pauses in which time is nobody's.
        let mut watch = begun(&plugin, "pass").await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            assert_eq!(watch.on_chunk(chunk("hello")).await, Ok(Verdict::Pass));
        }
        let mut watch = begun(&plugin, "loop").await;
        let start = Instant::now();
        let outcome = watch.on_chunk(chunk("hello")).await;
        assert_eq!(outcome, Err(PolicyError::Limit { limit: "time: 200 ms".to_owned() }));
        assert!(start.elapsed() >= Duration::from_millis(200));
    });
}

#[test]
fn while_guards_loop_others_are_served() {
    let plugin = filter();
    let limits = Limits { time_max: Duration::from_millis(300), ..Limits::default() };
    let looping = filter_with(PluginSpec { limits, ..spec() });
    run(async {
        let loops = futures_util::future::join_all(
            [(); 8].map(|()| async { begun(&looping, "loop").await.on_chunk(chunk("hello")).await }),
        );
        let served = async {
            let mut watch = begun(&plugin, "pass").await;
            for _ in 0..50 {
                assert_eq!(watch.on_chunk(chunk("hello")).await, Ok(Verdict::Pass));
            }
        };
        let (loops, ()) = tokio::join!(loops, served);
        assert!(loops.iter().all(|outcome| matches!(outcome, Err(PolicyError::Limit { .. }))), "{loops:?}");
    });
}

#[test]
fn memory_is_counted_over_all_calls() {
    let plugin = filter();
    run(async {
        let mut watch = begun(&plugin, "slow-leak").await;
        let mut calls = 0;
        let failed = loop {
            match watch.on_chunk(chunk("hello")).await {
                Ok(_) => calls += 1,
                Err(error) => break error,
            }
        };
        assert!((40..64).contains(&calls), "{calls} megabytes of 64");
        let limit = format!("memory: {} bytes in all its memories", 64 << 20);
        assert_eq!(failed, PolicyError::Limit { limit });
    });
}

#[test]
fn host_calls_are_counted_a_call() {
    let outcome = attack(&filter(), "host-calls");
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "host calls: 1000".to_owned() }));
    let plugin = filter();
    run(async {
        let mut watch = begun(&plugin, "some-host-calls").await;
        for _ in 0..4 {
            assert_eq!(watch.on_chunk(chunk("hello")).await, Ok(Verdict::Pass));
        }
    });
}

#[test]
fn what_it_says_is_bounded() {
    let limit = "output: too many bytes handed to the host in one call".to_owned();
    assert_eq!(attack(&filter(), "flood"), Err(PolicyError::Limit { limit }));
    let limit = "the reason of the stop: 5000 where at most 4096 is allowed".to_owned();
    assert_eq!(attack(&filter(), "long-reason"), Err(PolicyError::Limit { limit }));
}

#[test]
fn a_handle_is_gone_with_its_call() {
    let outcome = attack(&filter(), "kept-handle");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("handle"), "{message}");
}

#[test]
fn traps_and_panics_are_told_and_withheld() {
    let outcome = attack(&filter(), "panic");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("the answer was: hello"), "{message}");
    let plugin = filter();
    let labels = Arc::new(Labels::none().with([Label::LocalOnly]));
    let outcome = run(async {
        let mut watch = plugin.watch(WatchInput { labels, ..input("panic") }).await.expect("it begins");
        watch.on_chunk(chunk("my secret")).await
    });
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("withheld") && !message.contains("secret"), "{message}");
    assert!(matches!(attack(&filter(), "trap"), Err(PolicyError::Trap { .. })));
}

#[test]
fn after_a_failure_or_an_abandoned_call_it_is_not_entered_again() {
    let plugin = filter();
    run(async {
        let mut watch = begun(&plugin, "end-trap").await;
        assert!(matches!(watch.end_run().await, Err(PolicyError::Trap { .. })));
        assert!(matches!(watch.finish().await, Err(PolicyError::Host { .. })));

        let mut watch = begun(&plugin, "loop").await;
        let abandoned = tokio::time::timeout(Duration::from_millis(5), watch.on_chunk(chunk("hello"))).await;
        assert!(abandoned.is_err(), "a loop does not answer");
        assert!(matches!(watch.on_chunk(chunk("hello")).await, Err(PolicyError::Host { .. })));
    });
}

#[test]
fn a_full_pool_of_guards_is_an_overload_and_does_not_stop_other_calls() {
    let options = SandboxOptions { calls_max: 1, guards_max: 2, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(&options).expect("a small pool fits");
    let limits = Limits { time_max: Duration::from_millis(50), ..Limits::default() };
    let path = guest("tests/hostile-filter");
    let plugin = sandbox.load_guard(&path, PluginSpec { limits, ..spec() }).expect("the component loads");
    run(async {
        let (mut first, second) = (begun(&plugin, "pass").await, begun(&plugin, "pass").await);
        let third = plugin.watch(input("pass")).await.map(|_| ());
        assert_eq!(third, Err(PolicyError::Overloaded));
        assert_eq!(first.on_chunk(chunk("hello")).await, Ok(Verdict::Pass));
        drop(second);
        begun(&plugin, "pass").await;
    });
}

#[test]
fn its_lines_are_logged_as_they_come_and_cut() {
    let plugin = filter();
    let log = logged(async {
        let mut watch = begun(&plugin, "log").await;
        for _ in 0..100 {
            assert_eq!(watch.on_chunk(chunk("hello")).await, Ok(Verdict::Pass));
        }
    });
    assert!(log.contains("line 32 ") && !log.contains("line 33 "), "{log}");
    assert!(log.contains("plugin=\"hostile\" request=\"request-1\""), "{log}");
}
