//! The shipped filters as they are shipped: compiled, without a grant, within the default limits but for time.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{
    ChatRequest, Chunk, ChunkKind, Guard as _, Label, Labels, Message, Part, PrepareInput, Prepared,
    Preprocessor as _, Role, Tool, Verdict, WatchInput,
};
use lockgate_sandbox::{Limits, PluginSpec};
use serde_json::json;

use crate::support::{guest, run, sandbox, scope};

fn spec(id: &str) -> PluginSpec {
    let limits = Limits { time_max: Duration::from_secs(20), ..Limits::default() };
    PluginSpec { id: id.to_owned(), limits, ..PluginSpec::default() }
}

fn prepare(plugin: &str, request: ChatRequest) -> Prepared {
    let plugin = sandbox()
        .load_preprocessor(&guest(&format!("plugins/{plugin}")), spec(plugin))
        .expect("the component loads");
    let input = PrepareInput {
        request_id: "request-1".into(),
        request: Arc::new(request),
        labels: Arc::new(Labels::none()),
        key: None,
        scope: scope(),
    };
    run(plugin.prepare(input)).expect("it prepares")
}

fn user(text: &str) -> ChatRequest {
    ChatRequest::new("claude", vec![Message::text(Role::User, text)])
}

#[test]
fn personal_data_labels_also_a_named_model() {
    let prepared = prepare("personal-data", user("Mail to anna.schmidt@posteo.de"));
    assert_eq!(prepared.add_labels, [Label::LocalOnly]);
    let prepared = prepare("personal-data", user("What is the capital of France?"));
    assert_eq!(prepared.add_labels, []);
}

#[test]
fn a_whole_request_is_redacted_and_its_answer_restored() {
    let mut request = user("Mail to anna.schmidt@posteo.de, call +49 151 12345678.");
    request.messages.push(Message::text(Role::User, "anna.schmidt@posteo.de again"));
    request.tools.push(Tool {
        name: "mail".to_owned(),
        description: Some("Sends mail as max@firma.at".to_owned()),
        parameters: Some(json!({"default": "anna.schmidt@posteo.de"})),
        strict: None,
    });
    request.extra.insert("user".to_owned(), json!("max@firma.at"));
    let prepared = prepare("redactor", request);
    let text = |number: usize| prepared.request.messages[number].joined_text();
    assert_eq!(text(0), "Mail to [EMAIL-1], call [PHONE-1].");
    assert_eq!(text(1), "[EMAIL-1] again");
    assert_eq!(prepared.request.tools[0].description.as_deref(), Some("Sends mail as [EMAIL-2]"));
    assert_eq!(prepared.request.tools[0].parameters, Some(json!({"default": "[EMAIL-1]"})));
    assert_eq!(prepared.request.extra["user"], "[EMAIL-2]");
    assert_eq!(prepared.add_labels, []);

    let guard =
        sandbox().load_guard(&guest("plugins/redactor"), spec("redactor")).expect("the component loads");
    let input = WatchInput {
        request_id: "request-1".into(),
        choice: 0,
        labels: Arc::new(Labels::none()),
        key: None,
        note: prepared.note,
        scope: scope(),
    };
    let told = run(async {
        let mut watch = guard.watch(input).await.expect("it begins");
        let mut told = String::new();
        for text in ["Dear [EMA", "IL-1], ", "your number is [", "PHONE-1] and ", "[this"] {
            match watch.on_chunk(Chunk { kind: ChunkKind::Text, text }).await {
                Ok(Verdict::Pass) => told.push_str(text),
                Ok(Verdict::Replace(text)) => told.push_str(&text),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(watch.end_run().await, Ok(Verdict::Pass));
        assert_eq!(watch.finish().await, Ok(Verdict::Pass));
        told
    });
    assert_eq!(told, "Dear anna.schmidt@posteo.de, your number is +49 151 12345678 and [this");
}

#[test]
fn a_number_in_json_cannot_be_replaced_and_stays_here() {
    let mut request = user("hello");
    request.extra.insert("metadata".to_owned(), json!({"card": 4_111_111_111_111_111_u64}));
    let prepared = prepare("redactor", request);
    assert_eq!((prepared.add_labels, prepared.note), (vec![Label::LocalOnly], None));
}

#[test]
fn a_long_prompt_fits_the_limits() {
    let mut request = user(&"Many words that mean little. ".repeat(200_000));
    request.messages[0].content.push(Part::Text("Mail to anna.schmidt@posteo.de".to_owned()));
    let prepared = prepare("redactor", request);
    assert!(prepared.request.messages[0].joined_text().ends_with("Mail to [EMAIL-1]"));
    let prepared = prepare("redactor", user(&"anna.schmidt@posteo.de or so; ".repeat(3_000)));
    assert!(prepared.request.messages[0].joined_text().starts_with("[EMAIL-1] or so; [EMAIL-1]"));
}
