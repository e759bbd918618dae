use lockgate_api::{ImageSource, Message, Part, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice};
use serde_json::json;

use super::*;

mod properties;

fn read(body: Value) -> Result<Decoded, ApiError> {
    decode(&serde_json::to_vec(&body).expect("JSON"))
}

/// A minimal request with more fields.
fn with(more: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

fn accepted(more: Value) -> ChatRequest {
    let text = more.to_string();
    match read(with(more)) {
        Ok(decoded) => decoded.request,
        Err(error) => panic!("{text}: {}", error.message),
    }
}

/// The field at fault, the code and the message.
fn refused(body: Value) -> (String, &'static str, String) {
    let text = body.to_string();
    let error = read(body).expect_err(&text);
    assert_eq!(error.status.as_u16(), 400, "{text}");
    let param = error.param.unwrap_or_default();
    assert!(param.is_empty() || error.message.contains(&param), "{text}: {}", error.message);
    (param, error.code, error.message)
}

fn message(value: Value) -> Result<Message, (String, &'static str, String)> {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }, value] });
    match read(body.clone()) {
        Ok(mut decoded) => Ok(decoded.request.messages.remove(1)),
        Err(_) => Err(refused(body)),
    }
}

#[test]
fn the_smallest_request_has_every_default() {
    let Decoded { request, include_usage } = read(with(json!({}))).expect("accepted");
    let mut expected = ChatRequest::new("m", vec![Message::text(Role::User, "hi")]);
    expected.stream = false;
    assert_eq!((request, include_usage), (expected, false));
}

#[test]
fn null_is_the_same_as_absence() {
    let names = [
        "temperature",
        "top_p",
        "n",
        "stop",
        "logprobs",
        "top_logprobs",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "response_format",
        "logit_bias",
        "user",
        "store",
        "metadata",
    ];
    let nulls: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    assert_eq!(accepted(Value::Object(nulls)), accepted(json!({})));
}

#[test]
fn every_sampling_field_arrives() {
    let request = accepted(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1,
        "presence_penalty": -2, "frequency_penalty": 2, "seed": 7, "stop": ["a", "b"], "max_completion_tokens": 9,
        "logit_bias": { "5": -100, "50256": 1.5 }, "n": 3, "logprobs": true, "top_logprobs": 20,
    }));
    assert_eq!(
        request.sampling,
        Sampling {
            temperature: Some(0.5),
            top_k: Some(40),
            top_p: Some(0.9),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(-2.0),
            frequency_penalty: Some(2.0),
            logit_bias: vec![(5, -100.0), (50256, 1.5)],
            seed: Some(7),
            stop: vec!["a".to_owned(), "b".to_owned()],
            max_tokens: Some(9),
        }
    );
    assert_eq!((request.choices, request.logprobs), (3, Some(20)));
}

#[test]
fn lenient_where_servers_differ() {
    assert_eq!(accepted(json!({ "stop": "x" })).sampling.stop, ["x"]);
    assert!(accepted(json!({ "stop": [] })).sampling.stop.is_empty());
    assert_eq!(accepted(json!({ "max_tokens": 5 })).sampling.max_tokens, Some(5));
    assert_eq!(accepted(json!({ "max_tokens": 5, "max_completion_tokens": 5 })).sampling.max_tokens, Some(5));
    assert_eq!(accepted(json!({ "n": 2.0 })).choices, 2);
    assert_eq!(accepted(json!({ "top_k": -1 })).sampling.top_k, Some(0));
    assert_eq!(accepted(json!({ "top_p": 0 })).sampling.top_p, Some(f32::MIN_POSITIVE));
    assert_eq!(accepted(json!({ "seed": -1 })).sampling.seed, Some(u64::MAX));
    assert_eq!(accepted(json!({ "seed": u64::MAX })).sampling.seed, Some(u64::MAX));
    assert_eq!(accepted(json!({ "logprobs": true })).logprobs, Some(0));
    assert_eq!(accepted(json!({ "logprobs": false, "top_logprobs": 0 })).logprobs, None);
    let unknown = json!({ "nobody_knows": { "this": [1] }, "n_predict": "x" });
    assert_eq!(accepted(unknown), accepted(json!({})));
}

#[test]
fn a_wrong_type_or_range_names_its_field() {
    for (more, param, code) in [
        (json!({ "model": 5 }), "model", "invalid_type"),
        (json!({ "model": "" }), "model", "invalid_value"),
        (json!({ "model": null }), "model", "missing_required_parameter"),
        (json!({ "messages": "hi" }), "messages", "invalid_type"),
        (json!({ "messages": [] }), "messages", "invalid_value"),
        (json!({ "messages": null }), "messages", "missing_required_parameter"),
        (json!({ "messages": ["hi"] }), "messages[0]", "invalid_type"),
        (json!({ "temperature": "hot" }), "temperature", "invalid_type"),
        (json!({ "temperature": 2.1 }), "temperature", "invalid_value"),
        (json!({ "temperature": -0.1 }), "temperature", "invalid_value"),
        (json!({ "temperature": 1e300 }), "temperature", "invalid_value"),
        (json!({ "temperature": true }), "temperature", "invalid_type"),
        (json!({ "top_p": 1.1 }), "top_p", "invalid_value"),
        (json!({ "min_p": -1 }), "min_p", "invalid_value"),
        (json!({ "top_k": -2 }), "top_k", "invalid_value"),
        (json!({ "top_k": 1.5 }), "top_k", "invalid_type"),
        (json!({ "repetition_penalty": 0 }), "repetition_penalty", "invalid_value"),
        (json!({ "presence_penalty": 3 }), "presence_penalty", "invalid_value"),
        (json!({ "frequency_penalty": [] }), "frequency_penalty", "invalid_type"),
        (json!({ "n": 0 }), "n", "invalid_value"),
        (json!({ "n": 129 }), "n", "invalid_value"),
        (json!({ "n": -1 }), "n", "invalid_value"),
        (json!({ "n": "1" }), "n", "invalid_type"),
        (json!({ "seed": 1.5 }), "seed", "invalid_type"),
        (json!({ "seed": "x" }), "seed", "invalid_type"),
        (json!({ "stop": "" }), "stop", "invalid_value"),
        (json!({ "stop": 5 }), "stop", "invalid_type"),
        (json!({ "stop": ["a", ""] }), "stop[1]", "invalid_value"),
        (json!({ "stop": ["a", 1] }), "stop[1]", "invalid_type"),
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop", "invalid_value"),
        (json!({ "max_tokens": 0 }), "max_tokens", "invalid_value"),
        (json!({ "max_tokens": "10" }), "max_tokens", "invalid_type"),
        (json!({ "max_completion_tokens": 1e30 }), "max_completion_tokens", "invalid_value"),
        (json!({ "max_tokens": 5, "max_completion_tokens": 6 }), "max_tokens", "invalid_value"),
        (json!({ "logprobs": 1 }), "logprobs", "invalid_type"),
        (json!({ "top_logprobs": 5 }), "top_logprobs", "invalid_value"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs", "invalid_value"),
        (json!({ "logit_bias": [1] }), "logit_bias", "invalid_type"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias", "invalid_value"),
        (json!({ "logit_bias": { "01": 1 } }), "logit_bias", "invalid_value"),
        (json!({ "logit_bias": { "+1": 1 } }), "logit_bias", "invalid_value"),
        (json!({ "logit_bias": { "1": 101 } }), "logit_bias.1", "invalid_value"),
        (json!({ "stream": "yes" }), "stream", "invalid_type"),
        (json!({ "stream_options": { "include_usage": true } }), "stream_options", "invalid_value"),
        (json!({ "stream": true, "stream_options": [] }), "stream_options", "invalid_type"),
        (
            json!({ "stream": true, "stream_options": { "include_usage": 1 } }),
            "stream_options.include_usage",
            "invalid_type",
        ),
        (json!({ "tools": {} }), "tools", "invalid_type"),
        (json!({ "tools": [{}] }), "tools[0].type", "missing_required_parameter"),
        (json!({ "tools": [{ "type": "custom" }] }), "tools[0].type", "unsupported_value"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function", "missing_required_parameter"),
        (
            json!({ "tools": [{ "type": "function", "function": {} }] }),
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "a b" } }] }),
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "a", "parameters": "{}" } }] }),
            "tools[0].function.parameters",
            "invalid_type",
        ),
        (json!({ "tool_choice": "any" }), "tool_choice", "invalid_value"),
        (json!({ "tool_choice": 1 }), "tool_choice", "invalid_type"),
        (json!({ "tool_choice": "required" }), "tool_choice", "invalid_value"),
        (
            json!({ "tool_choice": { "type": "function", "function": { "name": "a" } } }),
            "tool_choice",
            "invalid_value",
        ),
        (json!({ "tool_choice": { "type": "allowed_tools" } }), "tool_choice.type", "unsupported_value"),
        (json!({ "parallel_tool_calls": "no" }), "parallel_tool_calls", "invalid_type"),
        (json!({ "response_format": "json" }), "response_format", "invalid_type"),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type", "invalid_value"),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a" } } }),
            "response_format.json_schema.schema",
            "missing_required_parameter",
        ),
        (json!({ "functions": [] }), "functions", "unsupported_parameter"),
        (json!({ "function_call": "auto" }), "function_call", "unsupported_parameter"),
        (json!({ "user": 5 }), "user", "invalid_type"),
        (json!({ "metadata": "x" }), "metadata", "invalid_type"),
        (json!({ "modalities": ["text", 1] }), "modalities", "invalid_type"),
        (json!({ "store": "yes" }), "store", "invalid_type"),
    ] {
        let (found, found_code, _) = refused(with(more.clone()));
        assert_eq!((found.as_str(), found_code), (param, code), "{more}");
    }
}

#[test]
fn deprecated_fields_name_their_replacement() {
    for (more, replacement) in
        [(json!({ "functions": [{}] }), "`tools`"), (json!({ "function_call": "none" }), "`tool_choice`")]
    {
        let (.., message) = refused(with(more));
        assert!(message.contains(replacement), "{message}");
    }
    let (_, _, text) =
        message(json!({ "role": "function", "name": "f", "content": "x" })).expect_err("refused");
    assert!(text.contains("`tool`"), "{text}");
    let call = json!({ "role": "assistant", "function_call": { "name": "f", "arguments": "" } });
    let (_, _, text) = message(call).expect_err("refused");
    assert!(text.contains("`tool_calls`"), "{text}");
}

#[test]
fn every_role_and_form_of_content_is_read() {
    for role in [Role::System, Role::Developer, Role::User, Role::Assistant] {
        let read = message(json!({ "role": role.name(), "content": "text", "name": "n" })).expect("accepted");
        let name = Some("n".to_owned());
        assert_eq!(read, Message { name, ..Message::text(role, "text") });
    }
    let parts = json!({ "role": "user", "content": [
        { "type": "text", "text": "look:" },
        { "type": "image_url", "image_url": { "url": "https://example.org/a.png", "detail": "auto" } },
        { "type": "image_url", "image_url": { "url": "DATA:Image/PNG;charset=x;base64,aGk=" } },
    ]});
    assert_eq!(
        message(parts).expect("accepted").content,
        [
            Part::Text("look:".to_owned()),
            Part::Image(ImageSource::Url("https://example.org/a.png".to_owned())),
            Part::Image(ImageSource::Base64 { media_type: "image/png".to_owned(), data: "aGk=".to_owned() }),
        ]
    );
    let read = message(json!({ "role": "user", "content": "" })).expect("an empty text is a text");
    assert_eq!(read, Message::text(Role::User, ""));
}

#[test]
fn tool_calls_and_their_results_are_read() {
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1" } });
    let read = message(json!({
        "role": "assistant", "content": null, "tool_calls": [call], "refusal": null, "audio": null,
        "function_call": null, "annotations": [], "reasoning_content": "hm",
    }));
    let expected = Message {
        content: Vec::new(),
        tool_calls: vec![ToolCall {
            id: "c1".to_owned(),
            name: "f".to_owned(),
            arguments: "{\"a\": 1".to_owned(),
        }],
        reasoning: Some("hm".to_owned()),
        ..Message::text(Role::Assistant, "")
    };
    assert_eq!(read.expect("accepted"), expected);
    let read = message(json!({ "role": "tool", "tool_call_id": "c1", "content": "42" })).expect("accepted");
    let tool_call_id = Some("c1".to_owned());
    assert_eq!(read, Message { tool_call_id, ..Message::text(Role::Tool, "42") });
    let refusal = message(json!({ "role": "assistant", "refusal": "no" })).expect("accepted");
    assert_eq!(refusal, Message::text(Role::Assistant, "no"));
    let part = json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] });
    assert_eq!(message(part).expect("accepted"), Message::text(Role::Assistant, "no"));
}

#[test]
fn a_wrong_message_is_named_by_its_path() {
    let image = |url: &str| json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] });
    let url = "messages[1].content[0].image_url.url";
    for (value, param) in [
        (json!({ "content": "x" }), "messages[1].role"),
        (json!({ "role": "User", "content": "x" }), "messages[1].role"),
        (json!({ "role": 1, "content": "x" }), "messages[1].role"),
        (json!({ "role": "user" }), "messages[1].content"),
        (json!({ "role": "user", "content": null }), "messages[1].content"),
        (json!({ "role": "user", "content": 5 }), "messages[1].content"),
        (json!({ "role": "user", "content": {} }), "messages[1].content"),
        (json!({ "role": "user", "content": [] }), "messages[1].content"),
        (json!({ "role": "user", "content": ["x"] }), "messages[1].content[0]"),
        (json!({ "role": "user", "content": [{ "text": "x" }] }), "messages[1].content[0].type"),
        (json!({ "role": "user", "content": [{ "type": "text" }] }), "messages[1].content[0].text"),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": 1 }] }),
            "messages[1].content[0].text",
        ),
        (json!({ "role": "user", "content": [{ "type": "poem" }] }), "messages[1].content[0].type"),
        (json!({ "role": "user", "content": [{ "type": "input_audio" }] }), "messages[1].content[0].type"),
        (json!({ "role": "user", "content": [{ "type": "file" }] }), "messages[1].content[0].type"),
        (
            json!({ "role": "user", "content": [{ "type": "refusal", "refusal": "x" }] }),
            "messages[1].content[0].type",
        ),
        (json!({ "role": "system", "content": [{ "type": "image_url" }] }), "messages[1].content[0].type"),
        (json!({ "role": "user", "content": [{ "type": "image_url" }] }), "messages[1].content[0].image_url"),
        (image("file:///etc/passwd"), url),
        (image("data:text/plain;base64,aGk="), url),
        (image("data:image/png,raw"), url),
        (image("data:image/png;base64,"), url),
        (image("data:image/png;base64,a b"), url),
        (image("dätä:"), url),
        (
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "http://x", "detail": "high" } }] }),
            "messages[1].content[0].image_url.detail",
        ),
        (json!({ "role": "user", "content": "x", "name": 1 }), "messages[1].name"),
        (json!({ "role": "user", "content": "x", "tool_calls": [] }), "messages[1].tool_calls"),
        (
            json!({ "role": "user", "content": "x", "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "" } }] }),
            "messages[1].tool_calls",
        ),
        (json!({ "role": "tool", "content": "x" }), "messages[1].tool_call_id"),
        (json!({ "role": "assistant" }), "messages[1].content"),
        (json!({ "role": "assistant", "tool_calls": [] }), "messages[1].tool_calls"),
        (json!({ "role": "assistant", "tool_calls": [{}] }), "messages[1].tool_calls[0].id"),
        (json!({ "role": "assistant", "tool_calls": [{ "id": "a" }] }), "messages[1].tool_calls[0].function"),
        (
            json!({ "role": "assistant", "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": {} } }] }),
            "messages[1].tool_calls[0].function.arguments",
        ),
        (json!({ "role": "assistant", "content": "x", "audio": { "id": "a" } }), "messages[1].audio"),
    ] {
        let (found, ..) = message(value.clone()).expect_err(&value.to_string());
        assert_eq!(found, param, "{value}");
    }
}

#[test]
fn tools_choice_and_format_arrive() {
    let schema = json!({ "type": "object", "properties": { "b": {}, "a": {} } });
    let request = accepted(json!({
        "tools": [
            { "type": "function", "function": { "name": "f", "description": "d", "parameters": schema, "strict": true } },
            { "type": "function", "function": { "name": "g" } },
        ],
        "tool_choice": { "type": "function", "function": { "name": "g" } },
        "parallel_tool_calls": false,
        "response_format": { "type": "json_schema", "json_schema": {
            "name": "s", "description": "d", "schema": schema, "strict": false } },
    }));
    assert_eq!(
        request.tools,
        [
            Tool {
                name: "f".to_owned(),
                description: Some("d".to_owned()),
                parameters: Some(schema.clone()),
                strict: Some(true),
            },
            Tool { name: "g".to_owned(), description: None, parameters: None, strict: None },
        ]
    );
    let parameters = request.tools[0].parameters.as_ref().expect("given").to_string();
    assert!(
        parameters.find("\"b\"") < parameters.find("\"a\""),
        "the order of a schema is kept: {parameters}"
    );
    assert_eq!(request.tool_choice, ToolChoice::Function("g".to_owned()));
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(
        request.response_format,
        ResponseFormat::JsonSchema {
            name: "s".to_owned(),
            description: Some("d".to_owned()),
            schema,
            strict: Some(false),
        }
    );
    assert_eq!(
        accepted(json!({ "response_format": { "type": "json_object" } })).response_format,
        ResponseFormat::JsonObject
    );
    assert_eq!(accepted(json!({ "tool_choice": "none" })).tool_choice, ToolChoice::None);
}

#[test]
fn known_fields_without_a_place_are_passed_on() {
    let extra = json!({
        "audio": { "voice": "v" }, "metadata": { "a": "b" }, "modalities": ["text", "audio"],
        "prediction": { "type": "content" }, "prompt_cache_key": "k", "reasoning_effort": "low",
        "safety_identifier": "s", "service_tier": "flex", "store": true, "user": "u", "verbosity": "high",
        "web_search_options": {},
    });
    assert_eq!(Value::Object(accepted(extra.clone()).extra), extra);
    let nothing = json!({ "modalities": ["text"], "service_tier": "auto", "store": false });
    assert!(accepted(nothing).extra.is_empty(), "what says the same as its absence is no wish");
}

#[test]
fn stream_options_are_read_where_they_belong() {
    let ask = |options: Value| {
        read(with(json!({ "stream": true, "stream_options": options }))).expect("accepted").include_usage
    };
    assert!(ask(json!({ "include_usage": true, "include_obfuscation": false })));
    assert!(!ask(json!({ "include_usage": false })));
    assert!(!ask(json!({})));
    assert!(!ask(json!(null)));
}

#[test]
fn what_is_no_json_is_told_where() {
    for (body, place) in [
        (&b""[..], "line 1 column 0"),
        (b"{", "line 1 column 1"),
        (b"{\"model\":\n  nope}", "line 2 column"),
        (b"{\"model\": \"\xff\"}", "line 1 column"),
        (b"{\"model\": \"\\ud800\"}", "line 1 column"),
        (b"{\"a\": 1} x", "line 1 column 10"),
        (b"{\"a\": 1e999}", "line 1 column"),
        (b"\xef\xbb\xbf{}", "line 1 column 1"),
    ] {
        let error = decode(body).expect_err("no JSON");
        assert_eq!((error.status.as_u16(), error.code), (400, "invalid_json"));
        assert!(error.message.contains(place), "{:?}: {}", String::from_utf8_lossy(body), error.message);
    }
    let deep = "[".repeat(100_000);
    assert_eq!(decode(deep.as_bytes()).expect_err("too deep").code, "invalid_json");
    for body in ["[]", "null", "\"x\"", "5"] {
        assert_eq!(decode(body.as_bytes()).expect_err("no object").message, "the body must be a JSON object");
    }
}
