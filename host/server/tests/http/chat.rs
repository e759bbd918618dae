//! Chat completions: bytes, headers and errors.

use lockgate_api::{BackendError, ErrorKind, Locality, TimeoutKind};
use lockgate_gateway::{GatewayOptions, Keys, Limits, OnError};
use lockgate_server::ServerOptions;
use serde_json::{Value, json};
use std::time::Duration;

use super::support::*;

fn hello() -> Vec<Act> {
    vec![start(), text("Hel"), text("lo"), finish(), usage()]
}

fn down() -> Vec<Act> {
    vec![Act::Error(BackendError::new(ErrorKind::Unavailable, "connection refused"))]
}

fn late() -> Vec<Act> {
    vec![Act::Error(BackendError::new(ErrorKind::Timeout(TimeoutKind::Connect), "no connection within 5 s"))]
}

fn breaks() -> Vec<Act> {
    vec![
        start(),
        text("Hel"),
        Act::Error(BackendError::new(ErrorKind::Cut, "the connection broke").dispatched()),
    ]
}

fn payloads(body: &str) -> Vec<&str> {
    body.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").expect(frame)).collect()
}

#[tokio::test]
async fn a_whole_answer_has_its_text_usage_and_headers() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let answer = server.chat(&ask("auto", "hi", false)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let body = answer.json();
    assert_eq!(body["id"], format!("chatcmpl-{}", &id["req_".len()..]));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert_eq!(
        body["choices"][0]["message"],
        json!({ "role": "assistant", "content": "Hello", "refusal": null })
    );
    assert_eq!(body["usage"]["total_tokens"], 5);
    for (name, value) in [
        ("x-lockgate-target", Some("qwen")),
        ("x-lockgate-locality", Some("local")),
        ("x-lockgate-policy", Some("scripted-policy")),
        ("x-lockgate-attempts", Some("1")),
        ("x-lockgate-labels", None),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let other = server.chat(&ask("qwen", "hi", false)).await;
    assert_eq!(other.header("x-lockgate-policy"), Some("direct"));
    assert_ne!(other.header("x-request-id"), Some(id.as_str()));
}

#[tokio::test]
async fn a_stream_is_server_sent_events_up_to_done() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let mut body = ask("qwen", "hi", true);
    body["stream_options"] = json!({ "include_usage": true });
    let answer = server.chat(&body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-lockgate-target"), Some("qwen"));
    let frames = payloads(&answer.body);
    let (done, chunks) = frames.split_last().expect("frames");
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
    let contents: Vec<_> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(contents, ["", "Hel", "lo"]);
    assert_eq!(chunks.last().expect("chunks")["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn each_token_is_sent_when_it_is_made() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let work = soon("the work", works.recv()).await.expect("work");
    work.act(start());
    assert_eq!(client.head().await.status, 200);
    assert!(client.chunk().await.expect("a chunk").contains("\"role\":\"assistant\""));
    for token in ["a", "b", "c"] {
        work.act(text(token));
        let chunk = client.chunk().await.expect("a chunk");
        assert!(chunk.contains(&format!("\"content\":\"{token}\"")), "{chunk}");
        assert_eq!(chunk.matches("data: ").count(), 1);
    }
}

#[tokio::test]
async fn the_status_is_real_because_the_first_event_is_awaited() {
    for stream in [false, true] {
        let dead = Fake::scripted("dead", Locality::Cloud, down);
        let slow = Fake::scripted("slow", Locality::Cloud, late);
        let server = Server::start(&[&dead, &slow]).await;
        let answer = server.chat(&ask("dead", "hi", stream)).await;
        assert_eq!((answer.status(), answer.code().as_str()), (502, "upstream_unavailable"));
        assert!(answer.body.contains("target `dead`: connection refused"), "{}", answer.body);
        assert_eq!(answer.header("x-lockgate-target"), Some("dead"));
        assert_eq!(answer.header("x-lockgate-attempts"), Some("1"));
        let answer = server.chat(&ask("auto", "hi", stream)).await;
        assert_eq!((answer.status(), answer.code().as_str()), (504, "upstream_connect_timeout"));
        assert_eq!(answer.header("x-lockgate-attempts"), Some("2"));
    }
}

#[tokio::test]
async fn a_dead_target_is_replaced_before_anything_is_sent() {
    let dead = Fake::scripted("dead", Locality::Cloud, down);
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&dead, &local]).await;
    for stream in [false, true] {
        let answer = server.chat(&ask("auto", "hi", stream)).await;
        assert_eq!((answer.status(), answer.header("x-lockgate-attempts")), (200, Some("2")));
        assert_eq!(answer.header("x-lockgate-target"), Some("qwen"));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_not_done() {
    let fake = Fake::scripted("qwen", Locality::Lan, breaks);
    let server = Server::start(&[&fake]).await;
    let answer = server.chat(&ask("qwen", "hi", true)).await;
    assert_eq!(answer.status(), 200, "its head had been sent");
    let frames = payloads(&answer.body);
    let error: Value = serde_json::from_str(frames.last().expect("frames")).expect("JSON");
    assert_eq!(
        error["error"],
        json!({
            "message": "target `qwen`: the connection broke", "type": "upstream_error", "param": null,
            "code": "upstream_cut",
        })
    );
    assert!(!answer.body.contains("[DONE]"));
    let whole = server.chat(&ask("qwen", "hi", false)).await;
    assert_eq!((whole.status(), whole.code().as_str()), (502, "upstream_cut"));
    assert_eq!(whole.header("x-lockgate-attempts"), Some("1"));
}

#[tokio::test]
async fn labels_of_the_header_are_in_force_and_told() {
    let cloud = Fake::scripted("claude", Locality::Cloud, hello);
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&cloud, &local]).await;
    let send = |labels: &'static str, model: &'static str| {
        let request = chat_request(&format!("{labels}\r\n"), &ask(model, "hi", false));
        let server = &server;
        async move { server.send(&request).await }
    };
    let answer = send("X-Lockgate-Labels: local-only", "auto").await;
    assert_eq!((answer.status(), answer.header("x-lockgate-target")), (200, Some("qwen")));
    assert_eq!(answer.header("x-lockgate-labels"), Some("local-only"));

    let answer = send("x-lockgate-labels: no-cloud", "claude").await;
    assert_eq!((answer.status(), answer.code().as_str()), (403, "locality_forbidden"));
    assert_eq!(answer.header("x-lockgate-labels"), Some("no-cloud"));
    assert_eq!(answer.header("x-lockgate-attempts"), Some("0"));
    assert_eq!((answer.header("x-lockgate-target"), answer.header("x-lockgate-locality")), (None, None));

    let answer = send("x-lockgate-labels: no-cloud\r\nx-lockgate-labels: locl-only", "auto").await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "unknown_label"));
    assert!(answer.body.contains("locl-only"), "{}", answer.body);
    assert_eq!(cloud.sends(), 0);
}

#[tokio::test]
async fn labels_that_a_plan_adds_are_told_too() {
    let cloud = Fake::scripted("claude", Locality::Cloud, hello);
    let (local, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&cloud, &local]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("auto", "personal", false)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    assert_eq!(work.labels, "local-only");
    hello().into_iter().for_each(|act| work.act(act));
    work.end();
    let answer = client.answer().await;
    assert_eq!(answer.header("x-lockgate-labels"), Some("local-only"));
    assert_eq!((answer.header("x-lockgate-locality"), cloud.sends()), (Some("local"), 0));
}

#[tokio::test]
async fn a_policys_refusal_and_failure_are_told_apart() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let refused = server.chat(&ask("auto", "refuse", true)).await;
    assert_eq!((refused.status(), refused.code().as_str()), (403, "policy_refused"));
    assert!(refused.body.contains("not this"), "{}", refused.body);
    assert_eq!(refused.header("x-lockgate-policy"), Some("scripted-policy"));
    let failed = server.chat(&ask("auto", "trap", true)).await;
    assert_eq!((failed.status(), failed.code().as_str()), (503, "policy_failed"));
    assert!(!failed.body.contains("inside"), "the policy's own words stay in the log: {}", failed.body);
    assert_eq!((failed.header("x-lockgate-attempts"), local.sends()), (Some("0"), 0));

    let options = GatewayOptions::default();
    let serving = serving_on_error(&[&local], Keys::default(), options, OnError::FirstTarget);
    let server = Server::with(serving, ServerOptions::default()).await;
    let answer = server.chat(&ask("auto", "trap", false)).await;
    assert_eq!((answer.status(), answer.header("x-lockgate-target")), (200, Some("qwen")));
}

#[tokio::test]
async fn a_wrong_request_reaches_nobody_and_says_what_is_wrong() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let mut wrong = ask("qwen", "hi", false);
    wrong["messages"][0]["content"] = json!(5);
    let answer = server.chat(&wrong).await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "invalid_type"));
    assert_eq!(answer.json()["error"]["param"], "messages[0].content");
    assert_eq!(answer.header("x-lockgate-attempts"), Some("0"));
    let empty = server.chat(&json!({ "model": "qwen", "messages": [] })).await;
    assert_eq!((empty.status(), empty.json()["error"]["param"].as_str()), (400, Some("messages")));
    let broken = server.send(&post("/v1/chat/completions", "", "{\"model\": nope}")).await;
    assert_eq!((broken.status(), broken.code().as_str()), (400, "invalid_json"));
    assert!(broken.body.contains("line 1 column"), "{}", broken.body);
    let mut client = server.connect().await;
    client.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{\"model\":\"\xff\"").await;
    assert_eq!(client.answer().await.code(), "invalid_json");
    let unknown = server.chat(&ask("gpt", "hi", false)).await;
    assert_eq!((unknown.status(), unknown.code().as_str()), (404, "model_not_found"));
    assert!(unknown.body.contains("qwen"), "{}", unknown.body);
    let mut extra = ask("qwen", "hi", false);
    extra["prediction"] = json!({ "type": "content" });
    let answer = server.chat(&extra).await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "unsupported_parameter"));
    assert_eq!(answer.json()["error"]["param"], "prediction");
    assert!(answer.body.contains("`qwen`") && answer.body.contains("`prediction`"), "{}", answer.body);
    assert_eq!(local.sends(), 0);
}

#[tokio::test]
async fn overload_is_told_at_once_with_a_time_to_come_back() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let limits = Limits { concurrent: 1, waiting: 0, wait: Duration::from_secs(1) };
    let options = GatewayOptions { limits, ..GatewayOptions::default() };
    let server = Server::with(serving(&[&fake], Keys::default(), options), ServerOptions::default()).await;
    let mut first = server.connect().await;
    first.write(chat_request("", &ask("qwen", "hi", true)).as_bytes()).await;
    let work = soon("the work", works.recv()).await.expect("work");
    let answer = server.chat(&ask("qwen", "hi", false)).await;
    assert_eq!((answer.status(), answer.code().as_str()), (429, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.get("/health").await.status(), 200, "which keeps nobody from asking how it is");
    work.act(start());
    assert_eq!(first.head().await.status, 200);
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let (fake, mut works) = Fake::controlled("qwen", Locality::Local);
    let server = Server::start(&[&fake]).await;
    let prompt = "wörter ".repeat(300_000);
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("qwen", &prompt, false)).as_bytes()).await;
    let work = soon("the work", works.recv()).await.expect("work");
    assert!(work.request.messages[0].joined_text() == prompt, "byte for byte");
}
