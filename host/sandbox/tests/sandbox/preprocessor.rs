//! Preprocessors: what they can change, and that a hostile one ends within its limits and with the right kind
//! of error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, ImageSource, Label, Labels, Message, Part, PolicyError, PrepareInput, Prepared,
    Preprocessor as _, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
use lockgate_sandbox::{Limits, LoadError, PluginSpec, PreprocessorPlugin, World};
use serde_json::json;

use crate::support::{guest, logged, run, sandbox, scope, spec};

fn filter() -> PreprocessorPlugin {
    filter_with(spec())
}

fn filter_with(spec: PluginSpec) -> PreprocessorPlugin {
    sandbox().load_preprocessor(&guest("tests/hostile-filter"), spec).expect("the component loads")
}

fn input(mode: &str, request: ChatRequest) -> PrepareInput {
    PrepareInput {
        request_id: "request-1".into(),
        request: Arc::new(ChatRequest { model: mode.to_owned(), ..request }),
        labels: Arc::new(Labels::none()),
        key: None,
        scope: scope(),
    }
}

fn user(text: &str) -> ChatRequest {
    ChatRequest::new("auto", vec![Message::text(Role::User, text)])
}

fn attack(plugin: &PreprocessorPlugin, mode: &str) -> Result<Prepared, PolicyError> {
    run(plugin.prepare(input(mode, user("hello"))))
}

/// What the guest says as the reason of a refusal.
fn said(mode: &str, request: ChatRequest) -> String {
    match run(filter().prepare(input(mode, request))) {
        Err(PolicyError::Refused { reason }) => reason,
        other => panic!("{mode}: {other:?}"),
    }
}

/// A request with a piece of text in every place.
fn whole() -> ChatRequest {
    let mut message = Message::text(Role::User, "content");
    message.content.push(Part::Image(ImageSource::Url("https://pictures/1".to_owned())));
    message.content.push(Part::Image(ImageSource::Base64 {
        media_type: "image/png".to_owned(),
        data: "AAAA".to_owned(),
    }));
    message.content.push(Part::Text("more".to_owned()));
    message.name = Some("name".to_owned());
    let mut answer = Message::text(Role::Assistant, "answer");
    answer.reasoning = Some("reasoning".to_owned());
    answer.tool_calls.push(ToolCall {
        id: "call-1".to_owned(),
        name: "send".to_owned(),
        arguments: "{}".to_owned(),
    });
    let mut result = Message::text(Role::Tool, "result");
    result.tool_call_id = Some("call-1".to_owned());
    let mut request = ChatRequest::new("auto", vec![message, answer, result]);
    request.tools.push(Tool {
        name: "send".to_owned(),
        description: Some("sends".to_owned()),
        parameters: Some(json!({"a": ["b", 1, null, {"c": "d"}], "e": "f"})),
        strict: None,
    });
    request.tool_choice = ToolChoice::Function("send".to_owned());
    request.response_format = ResponseFormat::JsonSchema {
        name: "schema".to_owned(),
        description: Some("describes".to_owned()),
        schema: json!("g"),
        strict: None,
    };
    request.sampling.stop.push("stop".to_owned());
    request.extra.insert("user".to_owned(), json!("somebody"));
    request.extra.insert("metadata".to_owned(), json!({"x": "y"}));
    request
}

#[test]
fn every_piece_has_its_place() {
    assert_eq!(
        said("pieces", whole()),
        "Content(0) !Picture(0) Content(0) Name(0) Content(1) Reasoning(1) !Identifier Arguments(1) !Identifier \
         Content(2) !Identifier !Identifier Description !Key Value !Key !Key Value !Key Value !Identifier !Identifier \
         Description Value Stop !Key Value !Key !Key Value"
    );
    let mut silent = Message::text(Role::Assistant, "");
    silent.content.clear();
    assert_eq!(said("pieces", ChatRequest::new("auto", vec![silent])), "");
}

#[test]
fn what_is_changed_is_read_and_what_is_fixed_stays() {
    assert_eq!(
        said("change-all", whole()),
        "<0>\nhttps://pictures/1\n<2>\n<3>\n<4>\n<5>\nsend\n<7>\ncall-1\n<9>\ncall-1\nsend\n<12>\na\n<14>\n1\nc\n<17>\ne\n\
         <19>\nsend\nschema\n<22>\n<23>\n<24>\nuser\n<26>\nmetadata\nx\n<29>"
    );
}

#[test]
fn a_changed_request_comes_out_with_labels_and_note() {
    let given = input("change", whole());
    let prepared = run(filter().prepare(given.clone())).expect("it prepares");
    let mut expected = (*given.request).clone();
    expected.messages[0].content[0] = Part::Text("changed".to_owned());
    assert_eq!(*prepared.request, expected);
    assert_eq!(prepared.add_labels, [Label::NoCloud]);
    assert_eq!(prepared.note.as_deref(), Some(&b"for the guard"[..]));
}

#[test]
fn an_unchanged_request_is_not_copied() {
    let given = input("good", user("hello"));
    let prepared = run(filter().prepare(given.clone())).expect("it prepares");
    assert!(Arc::ptr_eq(&prepared.request, &given.request));
    assert_eq!((prepared.add_labels, prepared.note), (Vec::new(), None));
}

#[test]
fn changes_that_make_no_sense_are_told_to_the_guest() {
    let mut request = user("é€!");
    request.sampling.stop.push("stop".to_owned());
    assert_eq!(
        said("edit-errors", request),
        "[Err(OutOfRange), Err(OutOfRange), Err(OutOfRange), Err(OutOfRange), Err(NoSuchPiece), Err(OutOfRange), \
         Err(Empty)]"
    );
}

#[test]
fn a_label_holds_at_once() {
    assert_eq!(said("label-shows", user("hello")), "[\"local-only\"]");
    // What it says while it dies counts as the request's text.
    let outcome = attack(&filter(), "label-and-panic");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("withheld") && !message.contains("hello"), "{message}");
}

#[test]
fn labels_without_sense_fail_the_call() {
    for (mode, problem) in
        [("unknown-label", "unknown label `top-secret`"), ("many-labels", "more than 16 labels")]
    {
        let problem = problem.to_owned();
        let outcome = attack(&filter(), mode).map(|_| ());
        assert_eq!(outcome, Err(PolicyError::InvalidAnswer { problem }), "{mode}");
    }
}

#[test]
fn a_refusal_is_no_failure_and_settings_arrive() {
    let outcome = attack(&filter(), "refuse").map(|_| ());
    assert_eq!(outcome, Err(PolicyError::Refused { reason: "not today".to_owned() }));
    let settings = [("size".to_owned(), "7".to_owned())].into();
    let plugin = filter_with(PluginSpec { settings, ..spec() });
    let outcome = attack(&plugin, "settings").map(|_| ());
    assert_eq!(outcome, Err(PolicyError::Refused { reason: r#"[("size", "7")]"#.to_owned() }));
}

#[test]
fn it_ends_at_its_time() {
    let limits = Limits { time_max: Duration::from_millis(30), ..Limits::default() };
    let plugin = filter_with(PluginSpec { limits, ..spec() });
    let start = Instant::now();
    let outcome = attack(&plugin, "loop").map(|_| ());
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "time: 30 ms".to_owned() }));
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn every_other_attack_ends_at_its_limit() {
    let plugin = filter();
    for (mode, limit) in [
        ("memory", format!("memory: {} bytes in all its memories", 64 << 20)),
        ("edit-flood", "host calls: 1000".to_owned()),
        ("output-flood", format!("output: {} bytes handed to the host", 256 << 10)),
        ("huge-edit", "output: too many bytes handed to the host in one call".to_owned()),
        ("long-note", "the note: 65537 where at most 65536 is allowed".to_owned()),
        ("requests-kept", "host calls: 1000".to_owned()),
    ] {
        let outcome = attack(&plugin, mode).map(|_| ());
        assert_eq!(outcome, Err(PolicyError::Limit { limit }), "{mode}");
    }
    let limits = Limits { host_calls_max: 100_000, ..spec().limits };
    let outcome = attack(&filter_with(PluginSpec { limits, ..spec() }), "requests-kept").map(|_| ());
    assert_eq!(outcome, Err(PolicyError::Limit { limit: "handles held at once".to_owned() }));
}

#[test]
fn traps_and_panics_are_told() {
    let outcome = attack(&filter(), "trap");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("wasm `unreachable` instruction executed; in "), "{message}");
    assert!(message.contains("prepare"), "{message}");
    let outcome = attack(&filter(), "panic");
    let Err(PolicyError::Trap { message }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("panicked at tests/hostile-filter/src/lib.rs:"), "{message}");
    assert!(message.contains("the prompt was: hello"), "{message}");
}

#[test]
fn its_lines_are_logged_unless_it_labels_the_request() {
    let plugin = filter();
    let log = logged(plugin.prepare(input("log", user("hello"))));
    assert!(log.contains("a line for the operator plugin=\"hostile\" request=\"request-1\""), "{log}");
    assert_eq!(logged(plugin.prepare(input("label-and-log", user("hello")))), "");
}

#[test]
fn a_component_is_loaded_into_its_own_worlds_only() {
    let sandbox = sandbox();
    let error = sandbox.load_preprocessor(&guest("tests/hostile"), spec()).expect_err("it is a router");
    assert!(matches!(error, LoadError::WrongWorld { world: World::Preprocessor, .. }), "{error}");
    assert!(error.to_string().contains("must export lockgate:plugin/prepare@0.1"), "{error}");
    let error = sandbox.load_guard(&guest("tests/hostile"), spec()).expect_err("it is a router");
    assert!(error.to_string().contains("must export lockgate:plugin/watch@0.1"), "{error}");
    let error = sandbox.load_file(&guest("tests/hostile-filter"), spec()).expect_err("it is a filter");
    assert!(matches!(error, LoadError::WrongWorld { world: World::Router, .. }), "{error}");

    let ungranted = PluginSpec { grants: Vec::new(), ..spec() };
    let error = sandbox.load_preprocessor(&guest("tests/hostile-filter"), ungranted.clone());
    assert!(matches!(error, Err(LoadError::NotGranted { .. })), "{error:?}");
    let error = sandbox.load_guard(&guest("tests/hostile-filter"), ungranted);
    assert!(matches!(error, Err(LoadError::NotGranted { .. })), "{error:?}");

    let report = sandbox.inspect(&guest("tests/hostile-filter")).expect("it is a component");
    assert_eq!(report.worlds, [World::Preprocessor, World::Guard]);
    // Its log, its state, a model and a cloud.
    assert_eq!(report.grants.len(), 4);
}
