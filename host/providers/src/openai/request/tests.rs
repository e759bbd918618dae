use lockgate_api::Sampling;
use serde_json::json;

use super::*;

fn check(name: &str, request: &ChatRequest, expected: Value) {
    let mut expected = expected;
    let common = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}});
    for (key, value) in common.as_object().unwrap() {
        expected[key] = value.clone();
    }
    let found: Value = serde_json::from_slice(&body(request, "m", "max_tokens").unwrap()).unwrap();
    assert_eq!(found, expected, "{name}");
}

fn hello() -> ChatRequest {
    ChatRequest::new("auto", vec![Message::text(Role::User, "Hi")])
}

#[test]
fn what_is_not_set_is_not_sent() {
    check("plain", &hello(), json!({"messages": [{"role": "user", "content": "Hi"}]}));
}

#[test]
fn every_sampling_field_has_its_name() {
    let mut request = hello();
    request.sampling = Sampling {
        temperature: Some(0.0),
        top_k: Some(40),
        top_p: Some(0.5),
        min_p: Some(0.25),
        repetition_penalty: Some(1.5),
        presence_penalty: Some(-1.0),
        frequency_penalty: Some(2.0),
        logit_bias: vec![(7, -100.0), (11, 1.5)],
        seed: Some(u64::MAX),
        stop: vec!["\n".into(), "END".into()],
        max_tokens: Some(5),
    };
    request.choices = 3;
    request.logprobs = Some(0);
    check(
        "sampling",
        &request,
        json!({
            "messages": [{"role": "user", "content": "Hi"}], "n": 3, "temperature": 0.0, "top_k": 40, "top_p": 0.5,
            "min_p": 0.25, "repetition_penalty": 1.5, "repeat_penalty": 1.5, "presence_penalty": -1.0,
            "frequency_penalty": 2.0, "logit_bias": {"7": -100.0, "11": 1.5}, "seed": u64::MAX,
            "stop": ["\n", "END"], "max_tokens": 5, "logprobs": true, "top_logprobs": 0,
        }),
    );
}

#[test]
fn messages_of_every_role() {
    let mut call = Message::text(Role::Assistant, "");
    call.content.clear();
    call.reasoning = Some("hm".into());
    call.tool_calls = vec![ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"x\": 1}".into() }];
    let mut result = Message::text(Role::Tool, "42");
    result.tool_call_id = Some("c1".into());
    let mut user = Message::text(Role::User, "See");
    user.name = Some("ann".into());
    user.content
        .push(Part::Image(ImageSource::Base64 { media_type: "image/png".into(), data: "AAAA".into() }));
    user.content.push(Part::Image(ImageSource::Url("https://example.com/a.png".into())));
    let mut empty = Message::text(Role::User, "");
    empty.content.clear();
    let messages = vec![
        Message::text(Role::System, "a"),
        Message::text(Role::Developer, "b"),
        user,
        call,
        result,
        empty,
    ];
    check(
        "roles",
        &ChatRequest::new("auto", messages),
        json!({"messages": [
            {"role": "system", "content": "a"},
            {"role": "system", "content": "b"},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "user", "content": ""},
        ]}),
    );
}

#[test]
fn tools_and_formats() {
    let mut request = hello();
    request.tools = vec![
        Tool { name: "f".into(), description: None, parameters: None, strict: None },
        Tool {
            name: "g".into(),
            description: Some("d".into()),
            parameters: Some(json!({"type": "object"})),
            strict: Some(true),
        },
    ];
    request.parallel_tool_calls = Some(false);
    request.response_format = ResponseFormat::JsonSchema {
        name: "s".into(),
        description: Some("d".into()),
        schema: json!({"type": "object"}),
        strict: Some(false),
    };
    let expected = |choice: Value| {
        let mut expected = json!({
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [
                {"type": "function", "function": {"name": "f"}},
                {"type": "function", "function":
                    {"name": "g", "description": "d", "parameters": {"type": "object"}, "strict": true}}],
            "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "s", "description": "d", "schema": {"type": "object"}, "strict": false}},
        });
        if !choice.is_null() {
            expected["tool_choice"] = choice;
        }
        expected
    };
    check("auto", &request, expected(Value::Null));
    request.tool_choice = ToolChoice::None;
    check("none", &request, expected(json!("none")));
    request.tool_choice = ToolChoice::Required;
    check("required", &request, expected(json!("required")));
    request.tool_choice = ToolChoice::Function("f".into());
    check("function", &request, expected(json!({"type": "function", "function": {"name": "f"}})));
    let mut request = hello();
    request.tool_choice = ToolChoice::Required;
    request.response_format = ResponseFormat::JsonObject;
    check(
        "no tools",
        &request,
        json!({"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_object"}}),
    );
}

#[test]
fn extra_fields_pass_but_never_replace_ours() {
    let mut request = hello();
    request.extra = json!({
        "user": "ann", "chat_template_kwargs": {"enable_thinking": false},
        "model": "other", "stream": false, "messages": [], "n": 5, "max_completion_tokens": 1,
    })
    .as_object()
    .unwrap()
    .clone();
    check(
        "extra",
        &request,
        json!({"messages": [{"role": "user", "content": "Hi"}], "user": "ann",
               "chat_template_kwargs": {"enable_thinking": false}}),
    );
}

#[test]
fn the_longest_answer_goes_by_the_servers_name_for_it() {
    for (authority, name) in [
        ("api.openai.com", "max_completion_tokens"),
        ("eu.api.openai.com:443", "max_completion_tokens"),
        ("mine.openai.azure.com", "max_completion_tokens"),
        ("notopenai.com", "max_tokens"),
        ("openai.com.example", "max_tokens"),
        ("127.0.0.1:11434", "max_tokens"),
        ("[::1]:8000", "max_tokens"),
    ] {
        assert_eq!(length_field(authority), name, "{authority}");
    }
    let mut request = hello();
    request.sampling.max_tokens = Some(7);
    let sent: Value = serde_json::from_slice(&body(&request, "m", "max_completion_tokens").unwrap()).unwrap();
    assert_eq!((sent["max_completion_tokens"].as_u64(), sent.get("max_tokens")), (Some(7), None));
}
