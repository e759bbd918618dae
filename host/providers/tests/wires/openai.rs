//! The OpenAI-compatible provider.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lockgate_api::{
    ErrorKind, Event, FinishReason, ImageSource, Label, Labels, Locality, Part, TimeoutKind, Tool, Usage,
};
use lockgate_providers::Secret;
use lockgate_test_clouds::openai::{Answer, OpenAiServer, Reply, scenarios};
use lockgate_test_clouds::script::{Raw, Step};
use lockgate_test_clouds::sockets::{BlackHole, Silent, dead_address};
use serde_json::{Value, json};

use crate::harness::*;

async fn server() -> OpenAiServer {
    let server = OpenAiServer::start().await;
    for (model, reply) in scenarios() {
        server.reply(model, reply);
    }
    server
}

fn asked(server: &OpenAiServer, model: &str) -> Asked {
    Asked::new(&provider(openai_settings(&server.base_url(), Locality::Local)), model)
}

fn stream_text(answer: &Answer) -> String {
    let request = json!({"stream": true, "stream_options": {"include_usage": true}});
    let steps = answer.stream("m", &request).into_iter();
    steps
        .map(
            |step| {
                if let Step::Bytes(bytes) = step { String::from_utf8(bytes).unwrap() } else { String::new() }
            },
        )
        .collect()
}

#[tokio::test]
async fn text_is_streamed_with_usage() {
    let server = server().await;
    let mut settings = openai_settings(&server.base_url(), Locality::Local);
    settings.api_key = Some(Secret::new("sk-test"));
    server.require_key("sk-test");
    let events = Asked::new(&provider(settings), "text").whole(&hello("Hi")).await;
    let pieces = ["Hello", ",", " wörld", "!"].map(text);
    let mut expected = vec![start("text")];
    expected.extend(pieces);
    expected.extend([finish(FinishReason::Stop), usage(7, 4)]);
    assert_eq!(events, expected);
    let chat = &server.chats()[0];
    let body = chat.json();
    assert_eq!(body["model"], "text");
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Hi"}]));
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
    assert_eq!(chat.header("content-type"), Some("application/json"));
    assert_eq!(chat.header("host"), Some(server.address().as_str()));
    assert_eq!(chat.header("x-request-id"), Some("req-1"));
    assert_eq!(chat.header("accept-encoding"), None);
}

#[tokio::test]
async fn tools_reasoning_and_choices() {
    let server = server().await;
    let mut request = hello("What is the weather?");
    request.tools =
        vec![Tool { name: "get_weather".into(), description: None, parameters: None, strict: None }];
    let events = asked(&server, "tools").whole(&request).await;
    let call = |id: &str, name: &str, arguments: &str| (id.to_owned(), name.to_owned(), arguments.to_owned());
    assert_eq!(
        calls(&events),
        [
            call("call_1", "get_weather", r#"{"city": "Zürich"}"#),
            call("call_2", "get_time", r#"{"zone": "Europe/Zurich"}"#),
        ]
    );
    assert!(events.contains(&finish(FinishReason::ToolCalls)));

    let events = asked(&server, "reasoning").whole(&hello("2 + 2?")).await;
    assert_eq!(events[1..4], [reasoning("Two and "), reasoning("two."), text("Four.")]);

    let mut request = hello("Hi");
    request.choices = 2;
    request.logprobs = Some(1);
    let events = asked(&server, "text").whole(&request).await;
    let finished = events.iter().filter(|event| matches!(event, Event::Finish { .. })).count();
    assert_eq!(finished, 2);
    let Event::Text { logprobs, .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!((logprobs[0].chosen.token.as_str(), logprobs[0].top.len()), ("Hello", 1));
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let server = server().await;
    let answer = Answer::tools(&[("a", "f", r#"{"x":"é\"}"}"#)]);
    let whole = stream_text(&answer);
    server.reply("whole", answer);
    for ends in ["\n", "\r\n", "\r"] {
        let steps = Step::bytewise(&whole.replace('\n', ends));
        server.reply("bytewise", Raw::ok("text/event-stream", steps));
        let mut expected = asked(&server, "whole").whole(&hello("Hi")).await;
        expected[0] = start("m");
        assert_eq!(asked(&server, "bytewise").whole(&hello("Hi")).await, expected, "{ends:?}");
    }
}

#[tokio::test]
async fn a_document_although_a_stream_was_asked_for() {
    let server = server().await;
    let document = Answer::text(&["Hello", "!"]).document("m", &json!({})).to_string();
    server.reply("document", Raw::ok("application/json", Step::bytewise(&document)));
    let expected = [start("m"), text("Hello!"), finish(FinishReason::Stop), usage(7, 2)];
    assert_eq!(asked(&server, "document").whole(&hello("Hi")).await, expected);
}

#[tokio::test]
async fn usage_is_optional_and_cached_tokens_count_once() {
    let server = server().await;
    let mut answer = Answer::text(&["a"]);
    answer.usage = None;
    server.reply("none", answer.clone());
    let events = asked(&server, "none").whole(&hello("Hi")).await;
    assert_eq!(events.last(), Some(&finish(FinishReason::Stop)));
    answer.usage = Some(json!({"prompt_tokens": 10, "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 8}}));
    server.reply("cached", answer);
    let events = asked(&server, "cached").whole(&hello("Hi")).await;
    let expected = Usage { input: 2, cache_read: 8, ..Usage::default() };
    assert_eq!(events.last(), Some(&Event::Usage(expected)));
}

#[tokio::test]
async fn errors_have_their_kinds() {
    let server = server().await;
    for (model, kind) in [
        ("bad-request", ErrorKind::InvalidRequest),
        ("rate-limited", ErrorKind::RateLimited),
        ("server-error", ErrorKind::Upstream),
        ("unavailable", ErrorKind::Unavailable),
        ("redirect", ErrorKind::Upstream),
        ("no-such-model", ErrorKind::Upstream),
    ] {
        let (events, error) = asked(&server, model).ask(&hello("Hi"), &Labels::none()).await;
        let error = error.unwrap();
        assert_eq!((&error.kind, error.dispatched), (&kind, true), "{model}: {error}");
        assert_eq!(events, [], "{model}");
        assert!(
            error.message.contains("target `box`") && error.message.contains(&server.address()),
            "{error}"
        );
    }
    let limited = asked(&server, "rate-limited").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!(limited.retry_after, Some(Duration::from_millis(10)));
    let missing = asked(&server, "no-such-model").failure(&hello("Hi"), &Labels::none()).await;
    assert!(missing.message.contains("does not know the model `no-such-model`"), "{missing}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_gives_both_counts() {
    let server = server().await;
    let error = json!({"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096,
        "message": "the request exceeds the available context size, try increasing it"});
    server.reply("long", Reply::Error { status: 400, error, retry_after: None });
    let error = asked(&server, "long").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!(error.kind, ErrorKind::ContextExceeded { prompt_tokens: 5000, context_tokens: 4096 });
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    let server = server().await;
    for (model, kind, words) in [
        ("cut", ErrorKind::Cut, "connection ended"),
        ("half-event", ErrorKind::Cut, "in the middle of an event"),
        ("no-finish", ErrorKind::Cut, "before the answer did"),
        ("error-in-stream", ErrorKind::Upstream, "server_error"),
    ] {
        let (events, error) = asked(&server, model).ask(&hello("Hi"), &Labels::none()).await;
        let error = error.unwrap();
        assert_eq!((&error.kind, error.dispatched), (&kind, true), "{model}: {error}");
        assert!(error.message.contains(words), "{model}: {error}");
        assert_eq!(joined(&events), "Hel", "{model}");
    }
    let page = Raw::ok("text/html; charset=utf-8", vec![Step::text("<html>")]);
    server.reply("page", page);
    let error = asked(&server, "page").failure(&hello("Hi"), &Labels::none()).await;
    assert!(error.message.contains("web page"), "{error}");
    server.reply(
        "zipped",
        Raw::ok("text/event-stream", vec![Step::text("\u{1f}")]).header("content-encoding", "gzip"),
    );
    let error = asked(&server, "zipped").failure(&hello("Hi"), &Labels::none()).await;
    assert!(error.message.contains("compressed"), "{error}");
    server.reply("empty", Raw::ok("text/event-stream", vec![]));
    let error = asked(&server, "empty").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!(error.kind, ErrorKind::Cut);
}

#[tokio::test]
async fn an_error_as_the_first_event_is_no_answer() {
    let server = server().await;
    let event = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"overloaded_error\"}}\n\n";
    server.reply("busy", Raw::ok("text/event-stream", vec![Step::text(": ping\n\n"), Step::text(event)]));
    let (events, error) = asked(&server, "busy").ask(&hello("Hi"), &Labels::none()).await;
    assert_eq!(events, [], "nothing must commit to this target");
    assert_eq!(error.unwrap().kind, ErrorKind::Overloaded);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (server, elsewhere) = (server().await, server().await);
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/chat/completions", elsewhere.base_url());
        server.reply("moved", Raw::status(status, "").header("location", &location));
        let error = asked(&server, "moved").failure(&hello("Hi"), &Labels::none()).await;
        assert!(error.message.contains("never followed"), "{error}");
    }
    assert_eq!(elsewhere.record().connections(), 0);
}

#[tokio::test]
async fn a_dead_server_is_unavailable_and_nothing_was_sent() {
    let settings = openai_settings(&format!("http://{}/v1", dead_address()), Locality::Local);
    let error = Asked::new(&provider(settings), "m").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Unavailable, false), "{error}");
    assert!(error.message.contains("target `box`: cannot connect to http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn the_connect_timer_is_the_attempts_own() {
    let black_hole = tokio::task::spawn_blocking(BlackHole::new).await.unwrap();
    let silent = Silent::new();
    for endpoint in
        [format!("http://{}/v1", black_hole.address()), format!("https://{}/v1", silent.address())]
    {
        let provider = provider(openai_settings(&endpoint, Locality::Local));
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
async fn a_wrong_key_is_named_but_not_shown() {
    let server = server().await;
    server.require_key("right");
    let mut settings = openai_settings(&server.base_url(), Locality::Local);
    settings.api_key = Some(Secret::new("sk-wrong-hunter2"));
    let error = Asked::new(&provider(settings), "text").failure(&hello("Hi"), &Labels::none()).await;
    assert_eq!(error.kind, ErrorKind::Authentication);
    assert!(error.message.contains("api_key") && !error.message.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let server = server().await;
    let mut stream = asked(&server, "endless").stream(&hello("Hi"), &Labels::none());
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(server.record().abandoned(), 0);
    drop(stream);
    assert!(server.record().wait_for_abandoned(1).await, "the server still answers");

    // While the server is still thinking, too.
    let asked = asked(&server, "slow-head");
    let (request, labels) = (hello("Hi"), Labels::none());
    let waiting = asked.ask(&request, &labels);
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    assert!(server.record().wait_for_abandoned(2).await, "the server still thinks");
}

#[tokio::test]
async fn nothing_is_sent_before_the_stream_is_polled() {
    let server = server().await;
    let stream = asked(&server, "text").stream(&hello("Hi"), &Labels::none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    assert_eq!(server.record().connections(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_replaced() {
    let server = server().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    for model in ["text", "tools", "bad-request", "error-in-stream", "text"] {
        let _ = Asked::new(&provider, model).ask(&hello("Hi"), &Labels::none()).await;
        // Whatever follows an answer is read beside the next request.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = server.record().connections();
    assert!(after <= 2, "{after} connections for five requests");
    let whole = stream_text(&Answer::text(&["a"]));
    server
        .reply("close", Raw::ok("text/event-stream", vec![Step::text(whole)]).header("connection", "close"));
    for _ in 0..2 {
        assert_eq!(joined(&Asked::new(&provider, "close").whole(&hello("Hi")).await), "a");
    }
    assert!(server.record().connections() > after);
}

#[tokio::test]
async fn many_at_once_do_not_mix() {
    let server = server().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    let asks = (0..64).map(|index| {
        let name = format!("m{index}");
        server.reply(&name, Answer::text(&[name.as_str(), "!"]));
        let asked = Asked::new(&provider, &name);
        async move { (name, joined(&asked.whole(&hello("Hi")).await)) }
    });
    for (name, answer) in futures_util::future::join_all(asks).await {
        assert_eq!(answer, format!("{name}!"));
    }
}

#[tokio::test]
async fn permits_are_for_one_target_and_its_locality() {
    let server = server().await;
    let lan = provider(openai_settings(&server.base_url(), Locality::Lan));
    let asked = Asked::new(&lan, "text");
    let mut other = (*asked.target).clone();
    other.id = "other".to_owned();
    let (_, error) = collect(asked.stream_with(
        &hello("Hi"),
        &Labels::none(),
        lockgate_api::permit(&Labels::none(), &other).unwrap(),
    ))
    .await;
    assert_eq!(error.unwrap().kind, ErrorKind::Internal);
    // A permit that was made for a nearer target of the same name.
    other.id = asked.target.id.clone();
    other.locality = Locality::Local;
    let (_, error) = collect(asked.stream_with(
        &hello("Hi"),
        &local_only(),
        lockgate_api::permit(&local_only(), &other).unwrap(),
    ))
    .await;
    assert_eq!(error.unwrap().kind, ErrorKind::Locality);
    assert_eq!(server.record().connections(), 0);
}

#[tokio::test]
async fn labelled_requests_have_no_image_fetched() {
    let server = server().await;
    let asked = asked(&server, "text");
    let mut request = hello("See");
    request.messages[0].content.push(Part::Image(ImageSource::Url("https://example.com/?q=secret".into())));
    let error = asked.failure(&request, &local_only()).await;
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{error}");
    assert!(!error.message.contains("secret"), "{error}");
    assert_eq!(server.chats().len(), 0);
    request.messages[0].content[1] =
        Part::Image(ImageSource::Base64 { media_type: "image/png".into(), data: "AAAA".into() });
    assert_eq!(asked.ask(&request, &local_only()).await.1, None);
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let server = server().await;
    let provider = provider(openai_settings(&server.base_url(), Locality::Local));
    let field = |asked: &Asked, request: &lockgate_api::ChatRequest| match asked.backend.accepts(request) {
        Ok(()) => None,
        Err(error) => match error.kind {
            ErrorKind::Unsupported { field } => Some(field),
            kind => panic!("{kind:?}"),
        },
    };
    let full = Asked::new(&provider, "text");
    let mut request = hello("Hi");
    assert_eq!(field(&full, &request), None);
    for extra in ["functions", "function_call", "audio"] {
        request.extra = [(extra.to_owned(), json!({}))].into_iter().collect();
        assert_eq!(field(&full, &request).as_deref(), Some(extra));
        request.extra[extra] = Value::Null;
        assert_eq!(field(&full, &request), None);
    }
    let mut plain = (*full.target).clone();
    plain.tools = false;
    plain.images = false;
    let plain = Asked {
        backend: provider.backend(plain.clone().into()).unwrap(),
        target: plain.into(),
        timeouts: full.timeouts,
    };
    let mut request = hello("Hi");
    request.tools = vec![Tool { name: "f".into(), description: None, parameters: None, strict: None }];
    assert_eq!(field(&plain, &request).as_deref(), Some("tools"));
    let mut request = hello("Hi");
    request.messages[0].content.push(Part::Image(ImageSource::Url("data:image/png;base64,AAAA".into())));
    assert_eq!(field(&plain, &request).as_deref(), Some("messages"));
    assert_eq!(field(&full, &request), None);
}

#[tokio::test]
async fn labelled_requests_have_nothing_quoted() {
    let server = server().await;
    let asked = asked(&server, "bad-request");
    let open = asked.failure(&hello("Hi"), &Labels::none()).await;
    assert!(open.message.contains("The request is bad."), "{open}");
    let labels = Labels::none().with([Label::NoCloud]);
    let closed = asked.failure(&hello("Hi"), &labels).await;
    assert!(!closed.message.contains("The request is bad."), "{closed}");
}
