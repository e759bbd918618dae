//! Embeddings by an OpenAI-compatible server; Bedrock's targets make none.

use std::sync::Arc;

use lockgate_api::{AttemptContext, BackendError, Embed, Embedded, ErrorKind, Labels, Locality, Usage};
use lockgate_providers::Secret;
use lockgate_test_clouds::openai::{Answer, OpenAiServer, scenarios};
use lockgate_test_clouds::script::{Raw, Step};
use serde_json::json;

use crate::harness::*;

async fn embed(asked: &Asked, texts: &[&str], labels: &Labels) -> Result<Embedded, BackendError> {
    let context = AttemptContext {
        request_id: "req-1".into(),
        labels: Arc::new(labels.clone()),
        timeouts: asked.timeouts,
    };
    let ask = Embed { inputs: texts.iter().map(|text| (*text).to_owned()).collect() };
    asked.backend.embed(ask, asked.permit(labels), context).await
}

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

#[tokio::test]
async fn texts_are_embedded_in_their_order_with_the_key() {
    let server = server().await;
    server.require_key("sk-test");
    let mut settings = openai_settings(&server.base_url(), Locality::Local);
    settings.api_key = Some(Secret::new("sk-test"));
    let embedded = embed(&Asked::new(&provider(settings), "text"), &["", "abc"], &Labels::none())
        .await
        .expect("vectors");
    let length = 10f64.sqrt();
    assert_eq!(embedded.vectors, [[0.0, 1.0], [(3.0 / length) as f32, (1.0 / length) as f32]]);
    assert_eq!(embedded.usage, Usage { input: 2, ..Usage::default() });
    let sent = &server.embeddings()[0];
    assert_eq!(sent.json(), json!({"model": "text", "input": ["", "abc"], "encoding_format": "float"}));
    assert_eq!(sent.header("x-request-id"), Some("req-1"));
}

#[tokio::test]
async fn errors_have_their_kinds_and_never_quote_the_texts() {
    let server = server().await;
    for (model, kind) in [
        ("bad-request", ErrorKind::InvalidRequest),
        ("rate-limited", ErrorKind::RateLimited),
        ("server-error", ErrorKind::Upstream),
        ("unavailable", ErrorKind::Unavailable),
        ("redirect", ErrorKind::Upstream),
        ("cut", ErrorKind::Cut),
        ("no-such-model", ErrorKind::Unsupported { field: "embed".to_owned() }),
    ] {
        let error = embed(&asked(&server, model), &["a"], &Labels::none()).await.expect_err(model);
        assert_eq!(error.kind, kind, "{model}: {error}");
        assert!(error.message.contains("`box`") && error.dispatched, "{model}: {error}");
    }
    let quoting =
        json!({"error": {"message": "cannot embed `my own secret text`", "type": "invalid_request_error"}});
    server.reply("quoting", Raw::status(400, &quoting.to_string()));
    let error = embed(&asked(&server, "quoting"), &["my own secret text"], &Labels::none())
        .await
        .expect_err("refused");
    assert!(!error.message.contains("secret"), "{error}");
}

#[tokio::test]
async fn nonsense_is_an_upstreams_fault() {
    let server = server().await;
    for body in ["{}", "[]", "no", r#"{"data": [{"embedding": [0]}]}"#] {
        server.reply("odd", Raw::ok("application/json", vec![Step::text(body)]));
        let error = embed(&asked(&server, "odd"), &["a"], &Labels::none()).await.expect_err(body);
        assert_eq!(error.kind, ErrorKind::Upstream, "{body}: {error}");
    }
}

#[tokio::test]
async fn a_labelled_text_reaches_no_model_that_is_passed_on() {
    let server = OpenAiServer::start().await;
    server.be_ollama(vec![
        json!({"name": "here"}),
        json!({"name": "innocent", "remote_host": "https://ollama.com:443", "remote_model": "far"}),
    ]);
    for model in ["here", "innocent", "qwen3:cloud"] {
        server.reply(model, Answer::text(&["Hello"]));
    }
    for model in ["innocent", "qwen3:cloud"] {
        let error =
            embed(&asked(&server, model), &["my secret"], &local_only()).await.expect_err("forbidden");
        assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, false), "{model}: {error}");
    }
    assert_eq!(server.embeddings().len(), 0);
    embed(&asked(&server, "here"), &["my secret"], &local_only()).await.expect("it stays here");
    // One that only shows in its answer that it was passed on: an error, and remembered.
    let answer = json!({"data": [{"embedding": [1]}], "remote_host": "https://far"});
    server.reply("here", Raw::ok("application/json", vec![Step::text(answer.to_string())]));
    let here = asked(&server, "here");
    let error = embed(&here, &["my secret"], &local_only()).await.expect_err("forbidden");
    assert_eq!((&error.kind, error.dispatched), (&ErrorKind::Locality, true), "{error}");
    embed(&here, &["anything"], &Labels::none()).await.expect("nothing forbids it");
}

#[tokio::test]
async fn bedrock_refuses_by_name() {
    let asked = Asked::new(&provider(bedrock_settings("http://127.0.0.1:1")), "any");
    let error = embed(&asked, &["a"], &Labels::none()).await.expect_err("it cannot");
    assert_eq!(error.kind, ErrorKind::Unsupported { field: "embed".to_owned() });
}
