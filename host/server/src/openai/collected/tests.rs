use lockgate_api::TopLogprob;
use serde_json::{Value, json};

use super::*;

fn body(choices: u32, events: Vec<Event>) -> Value {
    let mut collected = Collected::new(choices, 1 << 20);
    for event in events {
        collected.push(event).map_err(|error| error.message).expect("within the limit");
    }
    let id = ResponseId { id: "chatcmpl-7".to_owned(), created: 1_700_000_000 };
    serde_json::from_slice(&collected.into_body(&id)).expect("JSON")
}

fn start() -> Event {
    Event::Start { model: "tiny".to_owned() }
}

fn text(choice: u32, text: &str) -> Event {
    Event::Text { choice, text: text.to_owned(), logprobs: Vec::new() }
}

fn finish(choice: u32, reason: FinishReason) -> Event {
    Event::Finish { choice, reason }
}

#[test]
fn a_plain_answer_is_what_openai_sends() {
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    let events =
        vec![start(), text(0, "Hel"), text(0, "lo"), finish(0, FinishReason::Stop), Event::Usage(usage)];
    assert_eq!(
        body(1, events),
        json!({
            "id": "chatcmpl-7", "object": "chat.completion", "created": 1_700_000_000, "model": "tiny",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Hello", "refusal": null },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
                "prompt_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
                "completion_tokens_details": { "reasoning_tokens": 0 },
            },
        })
    );
}

#[test]
fn choices_stay_apart_and_an_unknown_usage_is_left_out() {
    let events = vec![
        start(),
        text(1, "b"),
        text(0, "a"),
        text(1, "B"),
        finish(1, FinishReason::Length),
        finish(0, FinishReason::Other("tired".to_owned())),
    ];
    let body = body(2, events);
    assert_eq!(body["choices"][0]["message"]["content"], "a");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][0]["native_finish_reason"], "tired");
    assert_eq!(body["choices"][1]["message"]["content"], "bB");
    assert_eq!(body["choices"][1]["finish_reason"], "length");
    assert_eq!(body.get("usage"), None);
}

#[test]
fn tool_calls_are_put_together() {
    let call = |index, id: Option<&str>, name: Option<&str>, arguments: &str| Event::ToolCall {
        choice: 0,
        index,
        id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    };
    let events = vec![
        start(),
        Event::Reasoning { choice: 0, text: "hm".to_owned() },
        call(0, Some("c0"), Some("f"), ""),
        call(0, None, None, "{\"a\":"),
        call(1, None, Some("g"), "{}"),
        call(0, None, None, "1}"),
        finish(0, FinishReason::ToolCalls),
    ];
    assert_eq!(
        body(1, events)["choices"][0],
        json!({
            "index": 0,
            "message": {
                "role": "assistant", "content": null, "reasoning_content": "hm", "refusal": null,
                "tool_calls": [
                    { "id": "c0", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                    { "id": "call_7_0_1", "type": "function", "function": { "name": "g", "arguments": "{}" } },
                ],
            },
            "logprobs": null,
            "finish_reason": "tool_calls",
        })
    );
}

#[test]
fn logprobs_of_all_pieces_are_kept_in_order() {
    let piece = |text: &str| Event::Text {
        choice: 0,
        text: text.to_owned(),
        logprobs: vec![TokenLogprob {
            chosen: TopLogprob { token: text.to_owned(), bytes: None, logprob: -1.0 },
            top: Vec::new(),
        }],
    };
    let events = vec![start(), piece("a"), piece("b"), finish(0, FinishReason::Stop)];
    let logprobs = body(1, events)["choices"][0]["logprobs"].clone();
    let token = |text: &str| json!({ "token": text, "logprob": -1.0, "bytes": null, "top_logprobs": [] });
    assert_eq!(logprobs, json!({ "content": [token("a"), token("b")], "refusal": null }));
}

#[test]
fn an_endless_answer_is_given_up() {
    let mut collected = Collected::new(1, 10_000);
    collected.push(start()).map_err(|error| error.message).expect("small");
    let error = (0..1000).find_map(|_| collected.push(text(0, &"x".repeat(100))).err());
    let error = error.expect("given up");
    assert_eq!((error.status.as_u16(), error.code), (502, "answer_too_large"));
    let mut silent = Collected::new(1, 10_000);
    silent.push(start()).map_err(|error| error.message).expect("small");
    assert!((0..1000).any(|_| silent.push(text(0, "")).is_err()), "nothing but empty pieces is endless too");
}
