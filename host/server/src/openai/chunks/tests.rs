use lockgate_api::{FinishReason, TokenLogprob, TopLogprob};
use serde_json::{Value, json};

use super::*;

fn encoder(choices: u32, include_usage: bool) -> ChunkEncoder {
    ChunkEncoder::new(
        ResponseId { id: "chatcmpl-7".to_owned(), created: 1_700_000_000 },
        choices,
        include_usage,
    )
}

fn written(encoder: &mut ChunkEncoder, events: &[Event]) -> String {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    encoder.end(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

/// The payloads of a well-formed event stream, its `[DONE]` off.
fn payloads(stream: &str) -> Vec<Value> {
    let body = stream.strip_suffix("data: [DONE]\n\n").expect("a whole stream ends so");
    let frames = body.split_terminator("\n\n").map(|frame| {
        assert!(!frame.contains('\n'), "one line a frame: {frame}");
        serde_json::from_str(frame.strip_prefix("data: ").expect("a data line")).expect("JSON")
    });
    frames.collect()
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
fn a_plain_stream_is_byte_for_byte_what_openai_sends() {
    let events =
        [start(), text(0, "Hi \"there\"\n"), finish(0, FinishReason::Stop), Event::Usage(Usage::default())];
    let head = r#"{"id":"chatcmpl-7","object":"chat.completion.chunk","created":1700000000,"model":"tiny","choices":[{"index":0,"#;
    let expected = [
        format!(
            r#"data: {head}"delta":{{"role":"assistant","content":"","refusal":null}},"logprobs":null,"finish_reason":null}}]}}"#
        ),
        format!(
            r#"data: {head}"delta":{{"content":"Hi \"there\"\n"}},"logprobs":null,"finish_reason":null}}]}}"#
        ),
        format!(r#"data: {head}"delta":{{}},"logprobs":null,"finish_reason":"stop"}}]}}"#),
        "data: [DONE]".to_owned(),
    ];
    assert_eq!(written(&mut encoder(1, false), &events), expected.map(|frame| frame + "\n\n").concat());
}

#[test]
fn usage_comes_last_and_only_where_asked_for() {
    let usage = Usage { input: 5, cache_read: 3, cache_write: 1, output: 7, reasoning: 2 };
    let events = [start(), text(0, "a"), finish(0, FinishReason::Stop), Event::Usage(usage)];
    let with = payloads(&written(&mut encoder(1, true), &events));
    let (last, others) = with.split_last().expect("chunks");
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)), "{others:?}");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({
            "prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18,
            "prompt_tokens_details": { "cached_tokens": 3, "cache_write_tokens": 1 },
            "completion_tokens_details": { "reasoning_tokens": 2 },
        })
    );
    let without = payloads(&written(&mut encoder(1, false), &events));
    assert_eq!(without.len(), with.len() - 1);
    assert!(without.iter().all(|chunk| chunk.get("usage").is_none()));
    let unknown = payloads(&written(&mut encoder(1, true), &events[..3]));
    assert_eq!(unknown.len(), 3, "an unknown usage is not written as zero");
}

#[test]
fn each_choice_has_its_role_and_its_end() {
    let events = [
        start(),
        text(1, "b"),
        text(0, "a"),
        finish(0, FinishReason::Length),
        finish(1, FinishReason::ContentFilter),
    ];
    let chunks = payloads(&written(&mut encoder(2, false), &events));
    let seen: Vec<_> = chunks
        .iter()
        .map(|chunk| {
            let choice = &chunk["choices"][0];
            let what = choice["delta"]["role"].as_str().or(choice["delta"]["content"].as_str());
            (choice["index"].as_u64(), what.or(choice["finish_reason"].as_str()).map(str::to_owned))
        })
        .collect();
    let expected =
        [(0, "assistant"), (1, "assistant"), (1, "b"), (0, "a"), (0, "length"), (1, "content_filter")];
    assert_eq!(seen, expected.map(|(index, what)| (Some(index), Some(what.to_owned()))));
}

#[test]
fn tool_calls_stream_in_pieces() {
    let call = |index, id: Option<&str>, name: Option<&str>, arguments: &str| Event::ToolCall {
        choice: 0,
        index,
        id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    };
    let events = [
        start(),
        call(0, Some("c0"), Some("f"), ""),
        call(0, None, None, "{\"a\":"),
        call(1, None, Some("g"), "{}"),
        call(0, None, None, "1}"),
        finish(0, FinishReason::ToolCalls),
    ];
    let chunks = payloads(&written(&mut encoder(1, false), &events));
    let calls: Vec<_> =
        chunks[1..5].iter().map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].clone()).collect();
    assert_eq!(
        calls,
        [
            json!([{ "index": 0, "id": "c0", "type": "function", "function": { "name": "f", "arguments": "" } }]),
            json!([{ "index": 0, "function": { "arguments": "{\"a\":" } }]),
            json!([{ "index": 1, "id": "call_7_0_1", "type": "function", "function": { "name": "g", "arguments": "{}" } }]),
            json!([{ "index": 0, "function": { "arguments": "1}" } }]),
        ]
    );
    assert_eq!(chunks[5]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn logprobs_reasoning_and_foreign_ends_have_their_place() {
    let token = |text: &str, bytes: Option<&[u8]>, logprob: f32| TopLogprob {
        token: text.to_owned(),
        bytes: bytes.map(<[u8]>::to_vec),
        logprob,
    };
    let logprobs = vec![TokenLogprob {
        chosen: token("a", Some(b"a"), -0.25),
        top: vec![token("a", Some(b"a"), -0.25), token("\u{fffd}", None, f32::NEG_INFINITY)],
    }];
    let events = [
        start(),
        Event::Reasoning { choice: 0, text: "hm".to_owned() },
        Event::Text { choice: 0, text: "a".to_owned(), logprobs },
        finish(0, FinishReason::Other("pause_turn".to_owned())),
    ];
    let chunks = payloads(&written(&mut encoder(1, false), &events));
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({ "reasoning_content": "hm" }));
    assert_eq!(
        chunks[2]["choices"][0]["logprobs"],
        json!({
            "content": [{ "token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": [
                { "token": "a", "logprob": -0.25, "bytes": [97] },
                { "token": "\u{fffd}", "logprob": -9999.0, "bytes": null },
            ]}],
            "refusal": null,
        })
    );
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["choices"][0]["native_finish_reason"], "pause_turn");
}

#[test]
fn an_answer_that_breaks_off_says_why_and_is_not_marked_whole() {
    let mut encoder = encoder(1, true);
    let mut out = Vec::new();
    encoder.event(&start(), &mut out);
    out.clear();
    encoder.error(&ApiError::shutting_down(), &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(
        text,
        "data: {\"error\":{\"message\":\"the server is shutting down and could not finish this answer\",\
         \"type\":\"server_error\",\"param\":null,\"code\":\"shutting_down\"}}\n\n"
    );
}
