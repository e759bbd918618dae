//! What is where, and what is told where nothing is.

use lockgate_api::Locality;
use lockgate_gateway::{GatewayOptions, Keys};
use lockgate_server::{AppState, ServerOptions, serve};
use prometheus_client::registry::Registry;
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn models_are_the_targets_and_auto() {
    let local = Fake::scripted("qwen", Locality::Local, Vec::new);
    let cloud = Fake::scripted("org/claude", Locality::Cloud, Vec::new);
    let server = Server::start(&[&local, &cloud]).await;
    let list = server.get("/v1/models").await;
    assert_eq!(list.status(), 200);
    assert!(list.header("x-request-id").is_some());
    let list = list.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["auto", "qwen", "org/claude"]);
    for model in list["data"].as_array().expect("a list") {
        assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("lockgate")));
        assert!(model["created"].as_u64().is_some_and(|created| created > 1_700_000_000));
    }
    let one = server.get("/v1/models/org%2Fclaude").await.json();
    assert_eq!(one, list["data"][2]);
    assert_eq!(server.get("/v1/models/org/claude").await.json(), one);
    assert_eq!(server.get("/v1/models/auto").await.json()["id"], "auto");
    let unknown = server.get("/v1/models/gpt").await;
    assert_eq!((unknown.status(), unknown.code().as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn metrics_are_there_in_a_format_of_their_own() {
    let local = Fake::scripted("qwen", Locality::Local, Vec::new);
    let server = Server::start(&[&local]).await;
    server.get("/v1/models").await;
    server.get("/nothing").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status(), 200);
    let format = metrics.header("content-type").expect("a format");
    assert!(format.starts_with("application/openmetrics-text"), "{format}");
    for line in
        ["http_answers_total{route=\"models\",status=\"200\"} 1", "{route=\"unknown\",status=\"404\"} 1"]
    {
        assert!(metrics.body.contains(line), "{line} in {}", metrics.body);
    }
    assert!(metrics.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn health_and_readiness_are_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let readiness = std::sync::Arc::new(|| Err("loading `qwen`: 40 %".to_owned()));
    let serving = serving(&[], Keys::default(), GatewayOptions::default());
    let state = AppState::new(serving, readiness, Registry::default(), ServerOptions::default());
    let task = tokio::spawn(serve(vec![listener], state, std::future::pending()));
    let get = |path: &'static str| async move {
        let stream = tokio::net::TcpStream::connect(address).await.expect("accepts");
        let mut client = Client::over(stream);
        client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        client.answer().await
    };
    let health = get("/health").await;
    assert_eq!((health.status(), health.json()), (200, json!({ "status": "ok" })));
    let ready = get("/ready").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json(), json!({ "status": "not_ready", "reason": "loading `qwen`: 40 %" }));
    task.abort();

    let server = Server::start(&[]).await;
    let ready = server.get("/ready").await;
    assert_eq!((ready.status(), ready.json()), (200, json!({ "status": "ready" })));
}

#[tokio::test]
async fn readiness_says_what_an_operator_should_look_at() {
    let readiness = std::sync::Arc::new(|| Ok(Some("a change could not be loaded".to_owned())));
    let state = AppState::new(
        serving(&[], Keys::default(), GatewayOptions::default()),
        readiness,
        Registry::default(),
        ServerOptions::default(),
    );
    let server = Server::of(state).await;
    let ready = server.get("/ready").await;
    let expected = json!({ "status": "ready", "warning": "a change could not be loaded" });
    assert_eq!((ready.status(), ready.json()), (200, expected));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_openais_shape() {
    let server = Server::start(&[]).await;
    let lost = server.get("/v2/chat").await;
    assert_eq!((lost.status(), lost.code().as_str()), (404, "unknown_url"));
    assert!(lost.body.contains("/v1/chat/completions"), "{}", lost.body);
    let wrong = server.get("/v1/chat/completions").await;
    assert_eq!((wrong.status(), wrong.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(wrong.header("allow"), Some("POST"));
    let preflight = server.send("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(preflight.status(), 405);
    assert_eq!(preflight.header("access-control-allow-origin"), None, "no other page may read answers");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    client.write(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("15")));
    assert_eq!(client.answer().await.json(), json!({ "status": "ok" }));
}
