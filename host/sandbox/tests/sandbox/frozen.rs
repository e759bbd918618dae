//! Components that were compiled when an earlier state of the contract was current still load and decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{
    Chunk, ChunkKind, FinishReason, Guard as _, Label, Mask, PrepareInput, Preprocessor as _, ReviewInput,
    ReviewVerdict, Reviewed, ReviewedChoice, Router as _, Steering, Step, TokenHooks as _, Verdict,
    WatchInput,
};

use crate::adapter::steps;
use crate::support::*;

fn frozen(version: &str, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/frozen");
    root.join(version).join(format!("{name}.wasm"))
}

#[test]
fn a_router_of_0_1_0_decides() {
    let bytes = std::fs::read(frozen("0.1.0", "privacy-first")).expect("it is kept");
    let plugin = load(&sandbox(), &bytes, spec());
    let plan = route(&plugin, input("Write to anna.schmidt@posteo.de")).expect("it decides");
    assert_eq!(plan.add_labels, [Label::LocalOnly]);
    assert_eq!(plan.attempts.iter().map(|attempt| attempt.target.as_str()).collect::<Vec<_>>(), ["here"]);
    let plan = route(&plugin, input("What is the capital of France?")).expect("it decides");
    assert_eq!((plan.attempts.len(), plan.add_labels.len()), (3, 0));
}

#[test]
fn a_filter_of_0_1_0_redacts_and_restores() {
    let path = frozen("0.1.0", "redactor");
    let sandbox = sandbox();
    let first = sandbox.load_preprocessor(&path, spec()).expect("its first half loads");
    let second = sandbox.load_guard(&path, spec()).expect("its second half loads");
    run(async {
        let given = input("Write to anna.schmidt@posteo.de");
        let prepared = first
            .prepare(PrepareInput {
                request_id: Arc::clone(&given.request_id),
                request: Arc::clone(&given.request),
                labels: Arc::clone(&given.labels),
                key: given.key.clone(),
                scope: Arc::clone(&given.scope),
            })
            .await
            .expect("it prepares");
        assert_eq!(prepared.request.messages[0].joined_text(), "Write to [EMAIL-1]");
        let mut watch = second
            .watch(WatchInput {
                request_id: given.request_id,
                choice: 0,
                labels: given.labels,
                key: given.key,
                note: prepared.note,
                scope: given.scope,
            })
            .await
            .expect("it watches");
        let chunk = Chunk { kind: ChunkKind::Text, text: "Dear [EMAIL-1]!" };
        let verdict = watch.on_chunk(chunk).await.expect("it says something");
        assert_eq!(verdict, Verdict::Replace("Dear anna.schmidt@posteo.de!".to_owned()));
    });
}

#[test]
fn a_reviewer_of_0_1_0_plans_and_judges() {
    let bytes = std::fs::read(frozen("0.1.0", "cascade")).expect("it is kept");
    let plugin = load(&sandbox(), &bytes, spec());
    let plan = route(&plugin, input("What is the capital of France?")).expect("it decides");
    assert_eq!(plan.attempts.iter().map(|attempt| attempt.review).collect::<Vec<_>>(), [true, true, false]);
    let judged = |text: &str| {
        let given = input("What is the capital of France?");
        let choice = ReviewedChoice {
            text: text.to_owned(),
            finish: Some(FinishReason::Stop),
            ..ReviewedChoice::default()
        };
        let answer = Reviewed {
            target: Arc::clone(&given.catalog[0].target),
            attempt: 0,
            attempts_left: 2,
            choices: vec![choice],
            output_tokens: None,
            mean_log_probability: None,
            lowest_log_probability: None,
            elapsed: Duration::from_millis(80),
        };
        run(plugin.review(ReviewInput {
            request_id: given.request_id,
            request: given.request,
            labels: given.labels,
            catalog: given.catalog,
            key: given.key,
            answer: Arc::new(answer),
            scope: given.scope,
        }))
    };
    assert_eq!(judged("The capital of France is Paris, on the Seine."), Ok(ReviewVerdict::Accept));
    assert!(matches!(judged(""), Ok(ReviewVerdict::Next { .. })));
}

#[test]
fn an_adapter_of_0_1_0_describes_itself_and_steers() {
    let plugin = sandbox().load_adapter(&frozen("0.1.0", "steering"), spec()).expect("it loads");
    assert_eq!((plugin.description().bases.as_slice(), plugin.top()), (["smollm2".to_owned()].as_slice(), 4));
    let only = Step::Steer(Steering { biases: Vec::new(), mask: Mask::Only(vec![97, 98, 99]) });
    assert_eq!(run(steps(&plugin, "only-abc", 1)), Ok(vec![only]));
    assert_eq!(run(steps(&plugin, "stop@2", 3)), Ok(vec![Step::AsBefore, Step::AsBefore, Step::Stop]));
}
