//! The Bedrock provider.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lockgate_api::{
    ChatRequest, ErrorKind, Event, FinishReason, ImageSource, Label, Labels, Locality, Message, Part,
    ResponseFormat, Role, TimeoutKind, Tool, ToolCall, ToolChoice, Usage,
};
use lockgate_providers::Secret;
use lockgate_test_clouds::bedrock::{Answer, BedrockServer, Block, Reply, scenarios};
use lockgate_test_clouds::script::{Raw, Step};
use lockgate_test_clouds::sockets::{BlackHole, Silent, dead_address};
use serde_json::json;

use crate::harness::*;

async fn server() -> BedrockServer {
    let server = BedrockServer::start().await;
    server.require_token("bedrock-token");
    for (model, reply) in scenarios() {
        server.reply(model, reply);
    }
    server
}

fn asked(server: &BedrockServer, model: &str) -> Asked {
    Asked::new(&provider(bedrock_settings(&server.url())), model)
}

#[tokio::test]
async fn text_is_streamed_with_usage() {
    let server = server().await;
    let model = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    server.reply(model, Answer::text(&["Hello", " wörld"]));
    let mut request = ChatRequest::new(
        "auto",
        vec![
            Message::text(Role::System, "Be kind."),
            Message::text(Role::Developer, "Be brief."),
            Message::text(Role::User, "Hi"),
        ],
    );
    request.sampling.temperature = Some(0.5);
    request.sampling.top_p = Some(0.25);
    request.sampling.top_k = Some(5);
    request.sampling.max_tokens = Some(100);
    request.sampling.stop = vec!["END".into()];
    let events = asked(&server, model).whole(&request).await;
    assert_eq!(
        events,
        [start(model), text("Hello"), text(" wörld"), finish(FinishReason::Stop), usage(7, 4),]
    );
    let received = &server.record().received()[0];
    assert_eq!(received.target, "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream");
    assert_eq!(received.header("authorization"), Some("Bearer bedrock-token"));
    assert_eq!(
        received.json(),
        json!({
            "system": [{"text": "Be kind."}, {"text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 5},
        })
    );
}

#[tokio::test]
async fn the_form_of_an_answer_and_its_effort() {
    let server = server().await;
    let mut request = hello("Hi");
    request.response_format = ResponseFormat::JsonSchema {
        name: "invoice".into(),
        description: Some("An invoice.".into()),
        schema: json!({"type": "object", "properties": {"total": {"type": "number"}}}),
        strict: Some(true),
    };
    request.extra.insert("reasoning_effort".into(), json!("high"));
    asked(&server, "text").whole(&request).await;
    let schema = r#"{"type":"object","properties":{"total":{"type":"number"}}}"#;
    let definition = json!({"schema": schema, "name": "invoice", "description": "An invoice."});
    assert_eq!(
        server.record().received()[0].json()["outputConfig"],
        json!({
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}},
            "effort": "high",
        })
    );
}

#[tokio::test]
async fn tools_and_their_results() {
    let server = server().await;
    let call =
        |id: &str, name: &str| ToolCall { id: id.into(), name: name.into(), arguments: "{\"x\": 1}".into() };
    let mut calling = Message::text(Role::Assistant, "");
    calling.tool_calls = vec![call("call_1", "f"), call("odd:id", "g")];
    let result = |id: &str, content: &str| {
        let mut message = Message::text(Role::Tool, content);
        message.tool_call_id = Some(id.into());
        message
    };
    let messages = vec![
        Message::text(Role::User, "Hi"),
        calling,
        result("call_1", "one"),
        result("odd:id", ""),
        Message::text(Role::User, "And now?"),
    ];
    let mut request = ChatRequest::new("auto", messages);
    // Even without tools of its own a conversation that has used some must define them.
    let events = asked(&server, "tools").whole(&request).await;
    let expected =
        |id: &str, name: &str, arguments: &str| (id.to_owned(), name.to_owned(), arguments.to_owned());
    assert_eq!(
        calls(&events),
        [
            expected("tooluse_1", "get_weather", r#"{"city":"Zürich"}"#),
            expected("tooluse_2", "get_time", r#"{"zone":"Europe/Zurich"}"#),
        ]
    );
    assert!(events.contains(&finish(FinishReason::ToolCalls)));
    let body = server.record().received()[0].json();
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"x": 1}}},
                {"toolUse": {"toolUseId": "lockgate_call_0", "name": "g", "input": {"x": 1}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "one"}]}},
                {"toolResult": {"toolUseId": "lockgate_call_0", "content": [{"text": "(empty)"}]}},
                {"text": "And now?"}]},
        ])
    );
    let names: Vec<_> = body["toolConfig"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["toolSpec"]["name"])
        .collect();
    assert_eq!(names, ["f", "g"]);

    request.tools = vec![Tool {
        name: "f".into(),
        description: Some("does".into()),
        parameters: Some(json!({"type": "object", "properties": {"x": {"type": "integer"}}})),
        strict: None,
    }];
    for (choice, expected) in [
        (ToolChoice::Auto, json!(null)),
        (ToolChoice::Required, json!({"any": {}})),
        (ToolChoice::Function("f".into()), json!({"tool": {"name": "f"}})),
    ] {
        request.tool_choice = choice;
        asked(&server, "tools").whole(&request).await;
        let body = server.record().received().last().unwrap().json();
        assert_eq!(body["toolConfig"]["toolChoice"], expected);
        assert_eq!(
            body["toolConfig"]["tools"],
            json!([{"toolSpec": {"name": "f", "description": "does", "inputSchema":
                {"json": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}])
        );
    }
}

#[tokio::test]
async fn reasoning_and_cached_tokens() {
    let server = server().await;
    let events = asked(&server, "reasoning").whole(&hello("2 + 2?")).await;
    assert_eq!(events[1..4], [reasoning("Two and "), reasoning("two."), text("Four.")]);
    let events = asked(&server, "cached").whole(&hello("Hi")).await;
    let expected = Usage { input: 1, cache_read: 60, cache_write: 40, output: 2, reasoning: 0 };
    assert_eq!(events.last(), Some(&Event::Usage(expected)));
}

#[tokio::test]
async fn images_are_sent_as_bytes() {
    let server = server().await;
    let mut request = hello("See");
    request.messages[0]
        .content
        .push(Part::Image(ImageSource::Base64 { media_type: "image/jpeg".into(), data: "/9j/".into() }));
    asked(&server, "text").whole(&request).await;
    let body = server.record().received()[0].json();
    assert_eq!(
        body["messages"][0]["content"][1],
        json!({"image": {"format": "jpeg", "source": {"bytes": "/9j/"}}})
    );
    request.messages[0].content[1] =
        Part::Image(ImageSource::Base64 { media_type: "image/png".into(), data: "not base64!".into() });
    let error = asked(&server, "text").failure(&request, &Labels::none()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::InvalidRequest, false));
    assert!(error.message.contains("messages[0].content[1]"), "{error}");
}

#[tokio::test]
async fn stop_reasons() {
    let server = server().await;
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("content_filtered", FinishReason::ContentFilter),
        ("malformed_tool_use", FinishReason::Other("malformed_tool_use".into())),
        ("malformed_model_output", FinishReason::Other("malformed_model_output".into())),
        ("from_the_future", FinishReason::Other("from_the_future".into())),
    ] {
        server.reply("m", Answer::blocks(vec![Block::Text(vec!["a".into()])], word));
        let events = asked(&server, "m").whole(&hello("Hi")).await;
        assert!(events.contains(&finish(reason)), "{word}: {events:?}");
    }
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let server = server().await;
    let answer = Answer::tools(&[("a", "f", r#"{"x":"é"}"#)]);
    let steps = answer.frames().concat().into_iter().map(|byte| Step::Bytes(vec![byte])).collect();
    server.reply("bytewise", Raw::ok("application/vnd.amazon.eventstream", steps));
    let events = asked(&server, "bytewise").whole(&hello("Hi")).await;
    assert_eq!(calls(&events), [("a".to_owned(), "f".to_owned(), r#"{"x":"é"}"#.to_owned())]);
}

#[tokio::test]
async fn a_call_without_input_has_an_empty_object() {
    let server = server().await;
    server.reply("m", Answer::tools(&[("a", "f", ""), ("b", "g", "")]));
    let events = asked(&server, "m").whole(&hello("Hi")).await;
    let call = |id: &str, name: &str| (id.to_owned(), name.to_owned(), "{}".to_owned());
    assert_eq!(calls(&events), [call("a", "f"), call("b", "g")]);
}

#[tokio::test]
async fn errors_have_their_kinds() {
    let server = server().await;
    for (model, kind) in [
        ("throttled", ErrorKind::RateLimited),
        ("denied", ErrorKind::Authentication),
        ("not-ready", ErrorKind::Unavailable),
        ("unavailable", ErrorKind::Unavailable),
        ("server-error", ErrorKind::Upstream),
        ("timeout", ErrorKind::Upstream),
        ("missing", ErrorKind::Upstream),
        ("no-such-model", ErrorKind::InvalidRequest),
        ("too-long", ErrorKind::ContextExceeded { prompt_tokens: 215_000, context_tokens: 200_000 }),
    ] {
        let (events, error) = asked(&server, model).ask(&hello("Hi"), &Labels::none()).await;
        let error = error.unwrap();
        assert_eq!((&error.kind, error.dispatched), (&kind, true), "{model}: {error}");
        assert_eq!(events, [], "{model}");
        assert!(error.message.starts_with("target `box`: Bedrock ("), "{error}");
    }
    let requests = server.record().received().len();
    assert_eq!(requests, 9, "the SDK must not retry by itself");
    server.reply("moved", Raw::status(307, "").header("location", "http://192.0.2.1/"));
    let error = asked(&server, "moved").failure(&hello("Hi"), &Labels::none()).await;
    assert!(error.kind == ErrorKind::Upstream && error.message.contains("never followed"), "{error}");
}

#[tokio::test]
async fn broken_streams_are_told_apart() {
    let server = server().await;
    for (model, kind) in [
        ("throttled-in-stream", ErrorKind::RateLimited),
        ("failed-in-stream", ErrorKind::Upstream),
        ("cut", ErrorKind::Cut),
        ("no-stop", ErrorKind::Cut),
        ("half-frame", ErrorKind::Cut),
        ("corrupted", ErrorKind::Upstream),
    ] {
        let (events, error) = asked(&server, model).ask(&hello("Hi"), &Labels::none()).await;
        let error = error.unwrap();
        assert_eq!((&error.kind, error.dispatched), (&kind, true), "{model}: {error}");
        assert_eq!(joined(&events), "Hel", "{model}");
        assert!(error.may_retry(), "{model}");
    }
}

#[tokio::test]
async fn a_stream_without_metadata_is_whole_without_usage() {
    let server = server().await;
    let mut frames = Answer::text(&["a"]).frames();
    frames.pop();
    let steps = frames.into_iter().map(Step::Bytes).collect();
    server.reply("m", Raw::ok("application/vnd.amazon.eventstream", steps));
    let events = asked(&server, "m").whole(&hello("Hi")).await;
    assert_eq!(events.last(), Some(&finish(FinishReason::Stop)));
}

#[tokio::test]
async fn a_model_that_cannot_stream_is_asked_at_once() {
    let server = server().await;
    let tools = Answer::tools(&[("a", "f", r#"{"y":2,"x":1}"#)]);
    server.reply("document-tools", Reply::DocumentOnly(tools));
    let asked = asked(&server, "document-only");
    let expected = [start("document-only"), text("Hello!"), finish(FinishReason::Stop), usage(7, 4)];
    assert_eq!(asked.whole(&hello("Hi")).await, expected);
    assert_eq!(asked.whole(&hello("Hi")).await, expected);
    let targets: Vec<_> = server.record().received().into_iter().map(|request| request.target).collect();
    let path = |operation: &str| format!("/model/document-only/{operation}");
    assert_eq!(
        targets,
        [path("converse-stream"), path("converse"), path("converse")],
        "the refusal is remembered"
    );
    let events =
        Asked::new(&provider(bedrock_settings(&server.url())), "document-tools").whole(&hello("Hi")).await;
    assert_eq!(calls(&events), [("a".to_owned(), "f".to_owned(), r#"{"x":1,"y":2}"#.to_owned())]);
}

#[tokio::test]
async fn a_dead_endpoint_is_unavailable_and_nothing_was_sent() {
    let provider = provider(bedrock_settings(&format!("http://{}", dead_address())));
    let error = Asked::new(&provider, "m").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
    assert!(error.message.contains("cannot connect to Bedrock (http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn the_connect_timer_is_the_attempts_own() {
    let black_hole = tokio::task::spawn_blocking(BlackHole::new).await.unwrap();
    let silent = Silent::new();
    for endpoint in [format!("http://{}", black_hole.address()), format!("https://{}", silent.address())] {
        let provider = provider(bedrock_settings(&endpoint));
        for limit in [100, 300].map(Duration::from_millis) {
            let asked = Asked::new(&provider, "m").connect_within(limit);
            let begun = Instant::now();
            let error = asked.failure(&hello("Hi"), &Labels::none()).await;
            assert_eq!(
                (&error.kind, error.dispatched),
                (&ErrorKind::Timeout(TimeoutKind::Connect), false),
                "{error}"
            );
            assert!(
                begun.elapsed() >= limit && begun.elapsed() < limit + Duration::from_secs(2),
                "{endpoint}"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_token_is_named_but_not_shown() {
    let server = server().await;
    let mut settings = bedrock_settings(&server.url());
    settings.api_key = Some(Secret::new("wrong-hunter2"));
    let error = Asked::new(&provider(settings), "text").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!(error.kind, ErrorKind::Authentication);
    assert!(error.message.contains("credentials") && !error.message.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let server = server().await;
    let mut stream = asked(&server, "endless").stream(&hello("Hi"), &Labels::none());
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    assert!(server.record().wait_for_abandoned(1).await, "the server still answers");
}

#[tokio::test]
async fn connections_are_kept() {
    let server = server().await;
    let asked = asked(&server, "text");
    for _ in 0..4 {
        asked.whole(&hello("Hi")).await;
        // Whatever follows an answer is read beside the next request.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let connections = server.record().connections();
    assert!(connections <= 2, "{connections} connections for four requests");
}

#[tokio::test]
async fn permits_and_regions_are_checked() {
    let server = server().await;
    let asked = asked(&server, "text");
    let mut other = (*asked.target).clone();
    other.id = "other".to_owned();
    let permit = lockgate_api::permit(&Labels::none(), &other).unwrap();
    let (_, error) = collect(asked.stream_with(&hello("Hi"), &Labels::none(), permit)).await;
    assert_eq!(error.unwrap().kind, ErrorKind::Internal);
    other.id = asked.target.id.clone();
    other.locality = Locality::Lan;
    let labels = Labels::none().with([Label::NoCloud]);
    let permit = lockgate_api::permit(&labels, &other).unwrap();
    let (_, error) = collect(asked.stream_with(&hello("Hi"), &labels, permit)).await;
    assert_eq!(error.unwrap().kind, ErrorKind::Locality);

    let region = Labels::none().with([Label::Region("eu-central-1".into())]);
    let profile = Asked::new(
        &provider(bedrock_settings(&server.url())),
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    );
    let error = profile.failure(&hello("Hi"), &region).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{error}");
    assert_eq!(server.record().received().len(), 0);
    server.reply("anthropic.claude-v2", Answer::text(&["Hello"]));
    let plain = Asked::new(&provider(bedrock_settings(&server.url())), "anthropic.claude-v2");
    assert_eq!(plain.ask(&hello("Hi"), &region).await.1, None);
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let server = server().await;
    let asked = asked(&server, "meta.llama3-8b-instruct-v1:0");
    let refused = |name: &str, change: &dyn Fn(&mut ChatRequest)| {
        let mut request = hello("Hi");
        change(&mut request);
        let error = asked.backend.accepts(&request).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported { field: name.to_owned() }, "{error}");
        assert!(error.message.contains("target `box`") && error.message.contains(name), "{error}");
        request
    };
    refused("n", &|request| request.choices = 2);
    refused("logprobs", &|request| request.logprobs = Some(0));
    refused("logit_bias", &|request| request.sampling.logit_bias = vec![(1, 1.0)]);
    refused("seed", &|request| request.sampling.seed = Some(0));
    refused("presence_penalty", &|request| request.sampling.presence_penalty = Some(0.5));
    refused("frequency_penalty", &|request| request.sampling.frequency_penalty = Some(-0.5));
    refused("repetition_penalty", &|request| request.sampling.repetition_penalty = Some(1.1));
    refused("min_p", &|request| request.sampling.min_p = Some(0.1));
    refused("top_k", &|request| request.sampling.top_k = Some(5));
    refused("response_format", &|request| request.response_format = ResponseFormat::JsonObject);
    refused("reasoning_effort", &|request| {
        request.extra.insert("reasoning_effort".into(), json!("minimal"));
    });
    refused("verbosity", &|request| {
        request.extra.insert("verbosity".into(), json!("low"));
    });
    let image = |source: ImageSource| {
        move |request: &mut ChatRequest| {
            request.messages[0].content.push(Part::Image(source.clone()));
        }
    };
    refused("messages[0].content[1]", &image(ImageSource::Url("https://example.com/a.png".into())));
    let bitmap = ImageSource::Base64 { media_type: "image/bmp".into(), data: "AAAA".into() };
    refused("messages[0].content[1]", &image(bitmap));
    let request = refused("tool_choice", &|request| {
        request.tool_choice = ToolChoice::None;
        let mut result = Message::text(Role::Tool, "x");
        result.tool_call_id = Some("a".into());
        request.messages.push(result);
    });
    // Whoever sends it all the same gets the same answer, and nothing is sent.
    let error = asked.failure(&request, &Labels::none()).await;
    assert_eq!(
        (error.kind, error.dispatched),
        (ErrorKind::Unsupported { field: "tool_choice".into() }, false)
    );
    assert_eq!(server.record().connections(), 0);

    let mut harmless = hello("Hi");
    harmless.sampling.presence_penalty = Some(0.0);
    harmless.sampling.frequency_penalty = Some(0.0);
    harmless.sampling.repetition_penalty = Some(1.0);
    harmless.sampling.min_p = Some(0.0);
    harmless.sampling.top_k = Some(0);
    harmless.parallel_tool_calls = Some(true);
    harmless.tool_choice = ToolChoice::None;
    harmless.extra = json!({"user": "ann", "metadata": {}, "reasoning_effort": null, "modalities": ["text"]})
        .as_object()
        .unwrap()
        .clone();
    assert_eq!(asked.backend.accepts(&harmless), Ok(()));
}

#[tokio::test]
async fn wrong_arguments_in_the_history_are_named() {
    let server = server().await;
    for arguments in ["{", "[1]", "7"] {
        let mut request = hello("Hi");
        let mut calling = Message::text(Role::Assistant, "");
        calling.tool_calls = vec![ToolCall { id: "a".into(), name: "f".into(), arguments: arguments.into() }];
        request.messages.push(calling);
        let error = asked(&server, "text").failure(&request, &Labels::none()).await;
        assert_eq!((&error.kind, error.dispatched), (&ErrorKind::InvalidRequest, false));
        assert!(
            error.message.contains("`messages[1].tool_calls[0].function.arguments` is not a JSON object"),
            "{error}"
        );
    }
    assert_eq!(server.record().connections(), 0);
}
