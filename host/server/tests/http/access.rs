//! Names, origins and keys.

use lockgate_api::Locality;
use lockgate_gateway::{GatewayOptions, KEY_RANDOM_BYTES, Key, Keys, NewKey};
use lockgate_server::ServerOptions;

use super::support::*;

fn hello() -> Vec<Act> {
    vec![start(), text("hi"), finish()]
}

#[tokio::test]
async fn another_name_than_this_machines_is_not_served() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let options = ServerOptions { allowed_hosts: vec!["my.box".to_owned()], ..ServerOptions::default() };
    let server = Server::with_options(&[&local], options).await;
    let port = server.address.port();
    for (host, expected) in [
        ("localhost".to_owned(), 200),
        (format!("127.0.0.1:{port}"), 200),
        ("[::1]:1".to_owned(), 200),
        ("my.box".to_owned(), 200),
        ("rebound.example".to_owned(), 403),
        (format!("rebound.example:{port}"), 403),
    ] {
        for path in ["/v1/models", "/health"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(answer.status(), expected, "{host} {path}");
            if expected == 403 {
                assert_eq!(answer.code(), "host_forbidden");
            }
        }
    }
    let missing = server.send("GET /health HTTP/1.1\r\n\r\n").await;
    assert_eq!((missing.status(), missing.code().as_str()), (400, "invalid_host"));
    let absolute = server.send("GET http://rebound.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(absolute.status(), 403);
}

#[tokio::test]
async fn a_foreign_page_reaches_nothing() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let welcome = "http://localhost:3000";
    for (origin, expected) in [(welcome, 200), ("https://evil.example", 403), ("null", 403)] {
        let request = chat_request(&format!("Origin: {origin}\r\n"), &ask("qwen", "hi", false));
        let answer = server.send(&request).await;
        assert_eq!(answer.status(), expected, "{origin}");
        let may_read = (origin == welcome).then_some(welcome);
        assert_eq!(answer.header("access-control-allow-origin"), may_read, "{origin}");
    }
    assert_eq!(local.sends(), 1);
}

#[tokio::test]
async fn with_keys_every_model_needs_one_and_its_labels_bind() {
    let cloud = Fake::scripted("claude", Locality::Cloud, hello);
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let (free, bound) =
        (NewKey::from_random([1; KEY_RANDOM_BYTES]), NewKey::from_random([2; KEY_RANDOM_BYTES]));
    let key = |name: &str, labels: &str| Key {
        name: name.into(),
        tenant: "tenant".into(),
        labels: labels.parse().expect("parses"),
        router: None,
    };
    let keys = Keys::new([(free.hash, key("free", "")), (bound.hash, key("bound", "local-only"))]);
    let serving = serving(&[&cloud, &local], keys, GatewayOptions::default());
    let server = Server::with(serving, ServerOptions::default()).await;

    for path in ["/health", "/ready"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    for path in ["/v1/models", "/v1/models/qwen", "/metrics"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status(), answer.code().as_str()), (401, "missing_api_key"), "{path}");
    }
    let ask_with = |secret: String| {
        let request = chat_request(&format!("Authorization: Bearer {secret}\r\n"), &ask("auto", "hi", false));
        let server = &server;
        async move { server.send(&request).await }
    };
    let answer = ask_with("lockgate_wrong".to_owned()).await;
    assert_eq!((answer.status(), answer.code().as_str()), (401, "invalid_api_key"));
    assert!(!answer.body.contains("lockgate_wrong"), "a key is never repeated");
    assert_eq!((cloud.sends(), local.sends()), (0, 0));
    let answer = ask_with(free.secret).await;
    assert_eq!((answer.status(), answer.header("x-lockgate-target")), (200, Some("claude")));
    let answer = ask_with(bound.secret).await;
    assert_eq!((answer.status(), answer.header("x-lockgate-target")), (200, Some("qwen")));
    assert_eq!(answer.header("x-lockgate-labels"), Some("local-only"));
}

#[tokio::test]
async fn what_is_wrong_from_the_start_bears_the_labels_of_key_and_header() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let secret = NewKey::from_random([1; KEY_RANDOM_BYTES]);
    let labels = "no-cloud".parse().expect("parses");
    let key = Key { name: "k".into(), tenant: "t".into(), labels, router: None };
    let serving = serving(&[&local], Keys::new([(secret.hash, key)]), GatewayOptions::default());
    let server = Server::with(serving, ServerOptions::default()).await;
    let send = |path: &'static str, authorization: String, labels: &'static str, body: &'static str| {
        let headers = format!("{authorization}x-lockgate-labels: {labels}\r\n");
        let request = post(path, &headers, body);
        let server = &server;
        async move { server.send(&request).await }
    };
    let known = || format!("Authorization: Bearer {}\r\n", secret.secret);
    let (both, of_key) = ("local-only,no-cloud", "no-cloud");
    for (path, labels, body, status, told) in [
        ("/v1/chat/completions", "local-only", "{nope", 400, both),
        ("/v1/chat/completions", "local-only", r#"{"model": "qwen", "messages": 5}"#, 400, both),
        ("/v1/chat/completions", "secret", "{}", 400, of_key),
        ("/v1/embeddings", "local-only", "{}", 400, both),
        ("/v1/embeddings", "secret", "{}", 400, of_key),
        ("/v1/models", "local-only", "", 405, both),
        ("/v2/chat", "local-only", "", 404, both),
    ] {
        let answer = send(path, known(), labels, body).await;
        assert_eq!(answer.status(), status, "{path} {body}: {}", answer.body);
        let headers = ["labels", "policy", "attempts", "target"]
            .map(|name| answer.header(&format!("x-lockgate-{name}")).map(str::to_owned));
        let told = [Some(told), Some("direct"), Some("0"), None].map(|value| value.map(str::to_owned));
        assert_eq!(headers, told, "{path} {body}");
    }
    let stranger = send("/v1/chat/completions", String::new(), "local-only", "{}").await;
    assert_eq!((stranger.status(), stranger.header("x-lockgate-labels")), (401, None));
    let lost =
        send("/v2/chat", "Authorization: Bearer lockgate_wrong\r\n".to_owned(), "local-only", "").await;
    assert_eq!((lost.status(), lost.header("x-lockgate-labels")), (404, None));
    let list = format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{}\r\n", known());
    assert_eq!(server.send(&list).await.header("x-lockgate-labels"), Some(of_key));
    assert_eq!(local.sends(), 0);
}

#[tokio::test]
async fn without_keys_any_or_none_is_fine() {
    let local = Fake::scripted("qwen", Locality::Local, hello);
    let server = Server::start(&[&local]).await;
    let request = chat_request("Authorization: Bearer sk-anything\r\n", &ask("qwen", "hi", false));
    assert_eq!(server.send(&request).await.status(), 200);
}

#[tokio::test]
async fn a_new_configuration_holds_for_new_requests_only() {
    let (old, mut works) = Fake::controlled("old", Locality::Local);
    let new = Fake::scripted("new", Locality::Local, hello);
    let server = Server::start(&[&old]).await;
    let mut client = server.connect().await;
    client.write(chat_request("", &ask("old", "hi", false)).as_bytes()).await;
    let mut work = soon("the work", works.recv()).await.expect("work");
    server.state.replace(serving(&[&new], Keys::default(), GatewayOptions::default()));
    assert_eq!(server.chat(&ask("old", "hi", false)).await.status(), 404);
    assert_eq!(server.chat(&ask("new", "hi", false)).await.status(), 200);
    hello().into_iter().for_each(|act| work.act(act));
    work.end();
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("x-lockgate-target")), (200, Some("old")));
}
