//! Embeddings: bytes, headers and errors.

use lockgate_api::{BackendError, ErrorKind, Locality};
use serde_json::{Value, json};

use super::support::*;

fn nothing() -> Vec<Act> {
    Vec::new()
}

async fn embed(server: &Server, headers: &str, body: Value) -> Answer {
    server.send(&post("/v1/embeddings", headers, &body.to_string())).await
}

#[tokio::test]
async fn vectors_usage_and_headers() {
    let local = Fake::scripted("qwen", Locality::Local, nothing);
    let server = Server::start(&[&local]).await;
    let answer = embed(&server, "", json!({"model": "auto", "input": ["one text", "two"]})).await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("application/json")));
    let expected = json!({
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [8.0, 2.0]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 1.0]},
        ],
        "model": "qwen",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    });
    assert_eq!(answer.json(), expected);
    for (name, value) in [
        ("x-lockgate-target", Some("qwen")),
        ("x-lockgate-locality", Some("local")),
        ("x-lockgate-policy", Some("direct")),
        ("x-lockgate-attempts", Some("1")),
        ("x-lockgate-labels", None),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(answer.header("x-request-id").is_some());
    let body = json!({"model": "qwen", "input": "two", "encoding_format": "base64"});
    let answer = embed(&server, "x-lockgate-labels: no-cloud\r\n", body).await;
    assert_eq!(answer.json()["data"][0]["embedding"], "AABAQAAAgD8=");
    assert_eq!(answer.header("x-lockgate-labels"), Some("no-cloud"));
}

#[tokio::test]
async fn large_requests_are_answered_as_well() {
    let local = Fake::scripted("qwen", Locality::Local, nothing);
    let server = Server::start(&[&local]).await;
    let answer = embed(&server, "", json!({"model": "qwen", "input": vec!["x".repeat(1000); 200]})).await;
    assert_eq!(answer.json()["data"][199]["embedding"], json!([1000.0, 1.0]));
}

#[tokio::test]
async fn labels_forbid_a_cloud() {
    let cloud = Fake::scripted("far", Locality::Cloud, nothing);
    let server = Server::start(&[&cloud]).await;
    for model in ["far", "auto"] {
        let body = json!({"model": model, "input": "my secret"});
        let answer = embed(&server, "x-lockgate-labels: local-only\r\n", body).await;
        assert_eq!((answer.status(), answer.code().as_str()), (403, "locality_forbidden"));
        assert_eq!(
            (answer.header("x-lockgate-attempts"), answer.header("x-lockgate-target")),
            (Some("0"), None)
        );
        assert_eq!(answer.header("x-lockgate-labels"), Some("local-only"));
    }
    let unknown =
        embed(&server, "x-lockgate-labels: secret\r\n", json!({"model": "far", "input": "a"})).await;
    assert_eq!((unknown.status(), unknown.code().as_str()), (400, "unknown_label"));
    assert_eq!(cloud.sends(), 0);
}

#[tokio::test]
async fn errors_are_told_as_for_chats() {
    fn cannot() -> Vec<Act> {
        let kind = ErrorKind::Unsupported { field: "embed".to_owned() };
        vec![Act::Error(BackendError::new(kind, "it cannot do this: embed"))]
    }
    fn down() -> Vec<Act> {
        vec![Act::Error(BackendError::new(ErrorKind::Unavailable, "connection refused"))]
    }
    let (cannot, down) =
        (Fake::scripted("words", Locality::Cloud, cannot), Fake::scripted("down", Locality::Lan, down));
    let server = Server::start(&[&cannot, &down]).await;
    for (body, status, code) in [
        (json!({"model": "words", "input": "a"}), 400, "unsupported_parameter"),
        (json!({"model": "down", "input": "a"}), 502, "upstream_unavailable"),
        (json!({"model": "nobody", "input": "a"}), 404, "model_not_found"),
        (json!({"model": "down"}), 400, "missing_required_parameter"),
        (json!({"model": "down", "input": [1, 2]}), 400, "unsupported_value"),
        (json!({"model": "down", "input": "a", "dimensions": 5}), 400, "unsupported_parameter"),
    ] {
        let answer = embed(&server, "", body.clone()).await;
        assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{body}");
    }
    let get = server.get("/v1/embeddings").await;
    assert_eq!((get.status(), get.header("allow")), (405, Some("POST")));
}
