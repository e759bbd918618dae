use lockgate_api::{FinishReason, TokenLogprob, TopLogprob, Usage};
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq)]
struct Decoded {
    events: Vec<Event>,
    problem: Option<AnswerProblem>,
    done: bool,
    forwards_to: Option<String>,
}

fn decode_chunks(choices: u32, chunks: &[&[u8]], broken: Option<&str>) -> Decoded {
    let mut decoder = AnswerDecoder::new(ChatState::new(choices, "asked", "call_r"));
    let mut events = VecDeque::new();
    let mut problem = None;
    for chunk in chunks {
        if let Err(found) = decoder.push(chunk, &mut events) {
            problem = Some(found);
            break;
        }
    }
    if problem.is_none() {
        problem = decoder.end(broken, &mut events).err();
    }
    let forwards_to = decoder.take_forwards_to();
    Decoded { events: events.into(), problem, done: decoder.is_done(), forwards_to }
}

fn decode(choices: u32, text: &str) -> Decoded {
    decode_chunks(choices, &[text.as_bytes()], None)
}

/// Chunks as a stream of events, with `[DONE]` at its end.
fn stream(chunks: &[Value]) -> String {
    let events: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    events + "data: [DONE]\n\n"
}

fn delta(delta: Value) -> Value {
    json!({"model": "m", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into(), logprobs: vec![] }
}

fn start() -> Event {
    Event::Start { model: "m".into() }
}

fn finished(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

fn whole(name: &str, decoded: Decoded, expected: &[Event]) {
    assert_eq!(decoded.problem, None, "{name}");
    assert_eq!(decoded.events, expected, "{name}");
    assert!(decoded.done, "{name}");
}

fn broken(name: &str, decoded: Decoded, kind: ErrorKind, words: &str) -> Vec<Event> {
    match decoded.problem {
        Some(AnswerProblem::Broken(found, what)) => {
            assert_eq!(found, kind, "{name}: {what}");
            assert!(what.contains(words), "{name}: {what}");
        }
        other => panic!("{name}: {other:?}"),
    }
    assert!(!decoded.done, "{name}");
    decoded.events
}

#[test]
fn text_and_usage() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}});
    let answer = stream(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hé"})),
        delta(json!({"content": "llo"})),
        finish("stop"),
        usage,
    ]);
    let counts = Usage { input: 9, output: 2, ..Usage::default() };
    let expected = [start(), text("Hé"), text("llo"), finished(FinishReason::Stop), Event::Usage(counts)];
    whole("plain", decode(1, &answer), &expected);
    whole(
        "CRLF, comments, BOM",
        decode(1, &format!("\u{feff}: hi\r\n\r\n{}", answer.replace('\n', "\r\n"))),
        &expected,
    );
    whole("without [DONE]", decode(1, answer.trim_end_matches("data: [DONE]\n\n")), &expected);
    whole("[DONE] without a blank line", decode(1, answer.trim_end()), &expected);
    whole("pings", decode(1, &answer.replace("\n\n", "\n\ndata:\n\nevent: ping\ndata: \n\n")), &expected);
    whole("anything after [DONE]", decode(1, &format!("{answer}data: nonsense\n\n")), &expected);
    whole("blank before", decode(1, &format!("\n\r\n \n{answer}")), &expected);
}

#[test]
fn finish_reasons() {
    for (word, reason) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("tool_calls", FinishReason::ToolCalls),
        ("function_call", FinishReason::ToolCalls),
        ("content_filter", FinishReason::ContentFilter),
        ("insufficient_system_resource", FinishReason::Other("insufficient_system_resource".into())),
    ] {
        whole(
            word,
            decode(1, &stream(&[delta(json!({"content": "a"})), finish(word)])),
            &[start(), text("a"), finished(reason)],
        );
    }
    // The reason comes with the last text, twice, or empty before that.
    let last =
        json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}], "model": "m"});
    whole(
        "with text",
        decode(1, &stream(&[last, finish("stop"), finish("")])),
        &[start(), text("a"), finished(FinishReason::Stop)],
    );
}

#[test]
fn reasoning_under_either_name_and_content_of_either_form() {
    let answer = stream(&[
        delta(json!({"reasoning_content": "a", "content": null})),
        delta(json!({"reasoning": "b"})),
        delta(json!({"reasoning": "c", "reasoning_content": "c"})),
        delta(
            json!({"content": [{"type": "text", "text": "d"}, {"type": "other"}, {"text": "e", "type": "text"}]}),
        ),
        delta(json!({"refusal": "f"})),
        finish("stop"),
    ]);
    let reasoning = |text: &str| Event::Reasoning { choice: 0, text: text.into() };
    whole(
        "reasoning",
        decode(1, &answer),
        &[
            start(),
            reasoning("a"),
            reasoning("b"),
            reasoning("c"),
            text("de"),
            text("f"),
            finished(FinishReason::Stop),
        ],
    );
}

#[test]
fn tool_calls_get_ids_and_dense_indices() {
    let call = |call: Value| delta(json!({"tool_calls": [call]}));
    let answer = stream(&[
        call(json!({"index": 1, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(json!({"index": 1, "id": "", "function": {"name": "", "arguments": "{\"x\":"}})),
        call(json!({"index": 1, "function": {"arguments": "1}"}})),
        call(json!({"function": {"name": "g", "arguments": {"y": 2}}})),
        finish("stop"),
    ]);
    let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| Event::ToolCall {
        choice: 0,
        index,
        id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        arguments: arguments.into(),
    };
    whole(
        "tools",
        decode(1, &answer),
        &[
            start(),
            piece(0, Some("a"), Some("f"), ""),
            piece(0, None, None, "{\"x\":"),
            piece(0, None, None, "1}"),
            piece(1, Some("call_r_0_1"), Some("g"), "{\"y\":2}"),
            finished(FinishReason::ToolCalls),
        ],
    );
    let nameless = stream(&[
        call(json!({"index": 0, "id": "a", "function": {"arguments": "{}"}})),
        finish("tool_calls"),
    ]);
    broken("nameless", decode(1, &nameless), ErrorKind::Upstream, "name");
}

#[test]
fn logprobs_follow_their_text() {
    let token = json!({"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169]}, {"token": "e", "logprob": null}]});
    let choice = |content: Value, logprobs: Value| json!({"model": "m", "choices": [{"index": 0, "delta": {"content": content}, "logprobs": {"content": logprobs}}]});
    let answer =
        stream(&[choice(json!("é"), json!([token])), choice(json!(""), json!([token])), finish("stop")]);
    let top =
        |token: &str, bytes: Option<Vec<u8>>, logprob| TopLogprob { token: token.into(), bytes, logprob };
    let chosen = top("é", Some(vec![195, 169]), -0.5);
    let logprob = TokenLogprob { chosen: chosen.clone(), top: vec![chosen, top("e", None, -9999.0)] };
    let with = |text: &str| Event::Text { choice: 0, text: text.into(), logprobs: vec![logprob.clone()] };
    whole("logprobs", decode(1, &answer), &[start(), with("é"), with(""), finished(FinishReason::Stop)]);
}

#[test]
fn several_choices_all_have_to_finish() {
    let choice = |index: u32, delta: Value, reason: Value| json!({"model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]});
    let chunks = [
        choice(1, json!({"content": "b"}), Value::Null),
        choice(0, json!({"content": "a"}), json!("stop")),
        choice(1, json!({"content": "c"}), json!("length")),
    ];
    let event = |choice, text: &str| Event::Text { choice, text: text.into(), logprobs: vec![] };
    whole(
        "two",
        decode(2, &stream(&chunks)),
        &[
            start(),
            event(1, "b"),
            event(0, "a"),
            finished(FinishReason::Stop),
            event(1, "c"),
            Event::Finish { choice: 1, reason: FinishReason::Length },
        ],
    );
    broken("one of two is half", decode(2, &stream(&chunks[..2])), ErrorKind::Cut, "1 of 2 choices");
    broken("too many", decode(1, &stream(&chunks)), ErrorKind::Upstream, "choice 1");
}

#[test]
fn fewer_choices_than_asked_for_are_a_field_that_is_not_honoured() {
    let unsupported = ErrorKind::Unsupported { field: "n".to_owned() };
    let one = stream(&[delta(json!({"content": "a"})), finish("stop")]);
    let document = json!({"model": "m", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]});
    let words = "cannot honour `n`: it made 1 of 2 choices";
    let events = [start(), text("a"), finished(FinishReason::Stop)];
    for (name, answer) in [
        ("stream", one.as_str()),
        ("[DONE] without a blank line", one.trim_end()),
        ("document", &document.to_string()),
    ] {
        assert_eq!(broken(name, decode(2, answer), unsupported.clone(), words), events, "{name}");
    }
    // An end that the server did not announce may be anybody's.
    let unannounced = one.trim_end_matches("data: [DONE]\n\n");
    for connection in [None, Some("reset")] {
        let decoded = decode_chunks(2, &[unannounced.as_bytes()], connection);
        broken("unannounced", decoded, ErrorKind::Cut, "1 of 2 choices");
    }
    broken("none", decode(2, &stream(&[])), ErrorKind::Cut, "0 of 2 choices");
}

#[test]
fn an_end_without_a_finish_is_a_cut() {
    let part = format!("data: {}\n\n", delta(json!({"content": "a"})));
    let half = format!("{part}data: {{\"choices\":[{{\"del");
    for (name, text, connection, words) in [
        ("nothing", "", None, "before an answer began"),
        ("only comments", ": hi\n\n", None, "before an answer began"),
        ("clean end", part.as_str(), None, "0 of 1 choices"),
        ("[DONE] too early", &format!("{part}data: [DONE]\n\n"), None, "0 of 1 choices"),
        ("half an event", &half, None, "in the middle of an event"),
        ("broken connection", &part, Some("reset"), "the connection ended (reset)"),
        ("broken in an event", &half, Some("reset"), "in the middle of an event (reset)"),
        ("half a document", "{\"choices\": [", Some("reset"), "in the middle of its answer"),
    ] {
        let events = broken(name, decode_chunks(1, &[text.as_bytes()], connection), ErrorKind::Cut, words);
        if text.contains("\"a\"") {
            assert_eq!(events, [start(), text_event_a()], "{name}: what came before still counts");
        }
    }
    let all = format!("data: {}\n\ndata: {}\n\n", delta(json!({"content": "a"})), finish("stop"));
    whole(
        "finished, then broken",
        decode_chunks(1, &[all.as_bytes()], Some("reset")),
        &[start(), text_event_a(), finished(FinishReason::Stop)],
    );
}

fn text_event_a() -> Event {
    text("a")
}

#[test]
fn nonsense_is_named() {
    for (name, text, words) in [
        ("not JSON", "data: hello\n\n", "an event is not the JSON"),
        ("wrong type", "data: {\"choices\": 5}\n\n", "an event is not the JSON"),
        ("invalid UTF-8", "data: {\"model\": \"\u{0}\"}\n\n", "an event is not the JSON"),
        ("document", "{\"choices\": [}", "its answer is not the JSON"),
        ("list", "[]", "its answer is not the JSON"),
        ("deep", &format!("data: {}\n\n", "[".repeat(100_000)), "an event is not the JSON"),
    ] {
        broken(name, decode(1, text), ErrorKind::Upstream, words);
    }
    let invalid = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n";
    broken("invalid UTF-8", decode_chunks(1, &[invalid], None), ErrorKind::Upstream, "not the JSON");
    let late = stream(&[delta(json!({"content": "a"})), finish("stop"), delta(json!({"content": "b"}))]);
    broken("text after the finish", decode(1, &late), ErrorKind::Upstream, "after that had finished");
    broken("reason error", decode(1, &stream(&[finish("error")])), ErrorKind::Upstream, "`error`");
}

#[test]
fn errors_of_every_form_are_said() {
    let error = json!({"message": "no", "code": 503});
    for (name, text) in [
        ("first event", format!("data: {}\n\n", json!({"error": error}))),
        ("named event", format!("event: error\ndata: {error}\n\n")),
        ("named field", format!("error: {error}\n\n")),
        ("document", json!({"error": error}).to_string()),
        ("in a choice", format!("data: {}\n\n", json!({"choices": [{"index": 0, "error": error}]}))),
    ] {
        let decoded = decode(1, &text);
        assert_eq!(decoded.problem, Some(AnswerProblem::Said(error.clone())), "{name}");
        assert_eq!(decoded.events, [], "{name}: an error is no beginning");
    }
    let late = format!("data: {}\n\ndata: {}\n\n", delta(json!({"content": "a"})), json!({"error": error}));
    let decoded = decode(1, &late);
    assert_eq!(decoded.events, [start(), text("a")]);
    assert_eq!(decoded.problem, Some(AnswerProblem::Said(error)));
    let decoded = decode(1, "event: error\ndata: plain words\n\n");
    assert_eq!(decoded.problem, Some(AnswerProblem::Said(json!("plain words"))));
    for nothing in [Value::Null, json!(""), json!(false)] {
        let mut chunk = delta(json!({"content": "a"}));
        chunk["error"] = nothing;
        whole(
            "no error",
            decode(1, &stream(&[chunk, finish("stop")])),
            &[start(), text("a"), finished(FinishReason::Stop)],
        );
    }
}

#[test]
fn a_document_instead_of_a_stream() {
    let document = json!({
        "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "choices": [
            {"message": {"role": "assistant", "content": "a", "reasoning_content": "r"}, "finish_reason": "stop"},
            {"message": {"content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
             "finish_reason": "tool_calls"},
        ],
    });
    let expected = [
        start(),
        Event::Reasoning { choice: 0, text: "r".into() },
        text("a"),
        finished(FinishReason::Stop),
        Event::ToolCall {
            choice: 1,
            index: 0,
            id: Some("c".into()),
            name: Some("f".into()),
            arguments: "{}".into(),
        },
        Event::Finish { choice: 1, reason: FinishReason::ToolCalls },
        Event::Usage(Usage { input: 1, output: 2, ..Usage::default() }),
    ];
    whole("document", decode(2, &document.to_string()), &expected);
    whole("indented", decode(2, &format!("\n  {document:#}\n")), &expected);
}

#[test]
fn forwarding_is_noticed() {
    let mut chunk = delta(json!({"content": "a"}));
    chunk["remote_host"] = json!("https://ollama.com");
    assert_eq!(
        decode(1, &stream(&[chunk, finish("stop")])).forwards_to.as_deref(),
        Some("https://ollama.com")
    );
    assert_eq!(decode(1, &stream(&[delta(json!({"content": "a"}))])).forwards_to, None);
}

#[test]
fn the_model_is_named_by_the_server_or_as_asked() {
    let answer = stream(&[json!({"choices": []}), finish("stop")]);
    assert_eq!(decode(1, &answer).events[0], Event::Start { model: "asked".into() });
}

fn any_chunk() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-zé\u{1f600}\\n]{0,6}".prop_map(|text| delta(json!({"content": text}))),
        "[a-z]{0,3}".prop_map(|text| delta(json!({"reasoning_content": text}))),
        (
            0u64..2,
            prop_oneof![Just(""), Just("a"), Just("b")],
            prop_oneof![Just(""), Just("f")],
            "[{}\"x]{0,4}"
        )
            .prop_map(|(index, id, name, arguments)| delta(json!({"tool_calls": [
                {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}))),
        Just(json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})),
        Just(finish("stop")),
        Just(json!({"error": {"message": "no"}})),
        Just(json!({"choices": 1})),
    ]
}

proptest! {
    /// However an answer is split, its events and its end are the same; and it is well-formed.
    #[test]
    fn chunking_does_not_matter(
        chunks in proptest::collection::vec(any_chunk(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        lost in 0usize..40,
    ) {
        let text = stream(&chunks);
        let bytes = &text.as_bytes()[..text.len().saturating_sub(lost)];
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let parts: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let expected = decode_chunks(1, &[bytes], None);
        for other in [decode_chunks(1, &parts, None), decode_chunks(1, &single, None)] {
            prop_assert_eq!(&other.events, &expected.events);
            prop_assert_eq!(&other.problem, &expected.problem);
        }
        check_order(&expected);
    }
}

/// Start first, one finish a choice, nothing of a choice after it, usage last and only in a whole answer.
fn check_order(decoded: &Decoded) {
    let mut finished = false;
    for (position, event) in decoded.events.iter().enumerate() {
        assert_eq!(position == 0, matches!(event, Event::Start { .. }), "{:?}", decoded.events);
        match event {
            Event::Finish { .. } => assert!(!std::mem::replace(&mut finished, true)),
            Event::Usage(_) => assert!(decoded.problem.is_none() && position + 1 == decoded.events.len()),
            _ => assert!(!finished, "{:?}", decoded.events),
        }
    }
    assert_eq!(decoded.problem.is_none(), finished && decoded.done);
}

#[test]
fn white_space_in_front_means_the_same_in_any_pieces() {
    for text in
        ["  data: {}\n\n", "\n\n\u{feff}data: {}\n\n", " \r\n\t\r\ndata: {\"choices\":[]}\r\n\r\n", " \n {}"]
    {
        let whole = decode(1, text);
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(decode_chunks(1, &pieces, None), whole, "{text:?} in pieces of {size}");
        }
    }
}
