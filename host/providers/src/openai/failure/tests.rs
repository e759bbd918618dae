use lockgate_api::{Label, Message, Role};
use serde_json::json;

use super::*;

fn with_attempt<T>(labels: &Labels, run: impl FnOnce(Attempt<'_>) -> T) -> T {
    let request = ChatRequest::new("auto", vec![Message::text(Role::User, "Hello there, my PIN is 4711")]);
    let secret = Secret::new("sk-hunter2-hunter2");
    run(Attempt {
        target: "box",
        model: "qwen",
        origin: "http://127.0.0.1:1",
        embeds: false,
        request: &request,
        labels,
        secret: Some(&secret),
    })
}

fn status(status: u16, body: Value) -> BackendError {
    with_attempt(&Labels::none(), |attempt| {
        let status = StatusCode::from_u16(status).unwrap();
        attempt.status_error(status, &HeaderMap::new(), body.to_string().as_bytes(), SystemTime::UNIX_EPOCH)
    })
}

fn object(body: Value) -> BackendError {
    with_attempt(&Labels::none(), |attempt| attempt.object_error(&body))
}

#[test]
fn each_status_has_its_kind() {
    for (code, kind) in [
        (400, ErrorKind::InvalidRequest),
        (401, ErrorKind::Authentication),
        (403, ErrorKind::Authentication),
        (402, ErrorKind::RateLimited),
        (404, ErrorKind::Upstream),
        (405, ErrorKind::Upstream),
        (408, ErrorKind::Upstream),
        (410, ErrorKind::Upstream),
        (413, ErrorKind::InvalidRequest),
        (415, ErrorKind::Upstream),
        (418, ErrorKind::InvalidRequest),
        (422, ErrorKind::InvalidRequest),
        (429, ErrorKind::RateLimited),
        (451, ErrorKind::Upstream),
        (500, ErrorKind::Upstream),
        (502, ErrorKind::Upstream),
        (503, ErrorKind::Unavailable),
        (504, ErrorKind::Upstream),
        (529, ErrorKind::Overloaded),
        (307, ErrorKind::Upstream),
    ] {
        let error = status(code, json!({"error": {"message": "Nope", "type": "some_error"}}));
        assert_eq!(error.kind, kind, "{code}");
        assert!(error.dispatched);
        assert!(error.message.starts_with("target `box`: http://127.0.0.1:1 answered"), "{}", error.message);
    }
    let busy =
        status(503, json!({"error": "server busy, please try again.  maximum pending requests exceeded"}));
    assert_eq!(busy.kind, ErrorKind::Overloaded);
}

#[test]
fn a_server_without_embeddings_is_told_as_one_that_cannot() {
    let said = json!({"error": {"code": 501, "message": "This server does not embed.", "type": "not_supported_error"}});
    let embedding = |code: u16| {
        with_attempt(&Labels::none(), |attempt| {
            let attempt = Attempt { embeds: true, ..attempt };
            let status = StatusCode::from_u16(code).unwrap();
            let body = said.to_string();
            attempt.status_error(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH)
        })
    };
    let cannot = ErrorKind::Unsupported { field: "embed".to_owned() };
    for code in [404, 405, 501] {
        let error = embedding(code);
        assert_eq!((&error.kind, error.dispatched), (&cannot, true), "{code}");
        let begins = format!("target `box` cannot embed: http://127.0.0.1:1 answered {code} ");
        assert!(error.message.starts_with(&begins), "{}", error.message);
        assert!(error.message.ends_with(": \"This server does not embed.\""), "{}", error.message);
    }
    for (code, kind) in
        [(400, ErrorKind::InvalidRequest), (401, ErrorKind::Authentication), (500, ErrorKind::Upstream)]
    {
        assert_eq!(embedding(code).kind, kind, "{code}");
    }
    let object =
        with_attempt(&Labels::none(), |attempt| Attempt { embeds: true, ..attempt }.object_error(&said));
    assert_eq!(object.kind, cannot, "in place of an answer");
}

#[test]
fn a_body_of_any_shape_gives_its_words() {
    for body in [
        json!({"error": {"message": "no such model", "type": "not_found_error", "code": null}}),
        json!({"error": "no such model"}),
        json!({"object": "error", "message": "no such model", "code": 404}),
        json!({"detail": "no such model"}),
    ] {
        let error = status(404, body);
        assert!(error.message.contains("\"no such model\""), "{}", error.message);
    }
    for body in ["", "<html>", "[]", "null", "{\"error\":null}", "{\"error\":[1]}"] {
        with_attempt(&Labels::none(), |attempt| {
            let error = attempt.status_error(
                StatusCode::BAD_REQUEST,
                &HeaderMap::new(),
                body.as_bytes(),
                SystemTime::UNIX_EPOCH,
            );
            assert_eq!(error.kind, ErrorKind::InvalidRequest);
            assert!(error.message.ends_with("answered 400 Bad Request"), "{}", error.message);
        });
    }
}

#[test]
fn advice_is_given() {
    assert!(status(401, json!({})).message.contains("check the provider's api_key"));
    let missing = status(404, json!({}));
    assert!(missing.message.contains("does not know the model `qwen`"), "{}", missing.message);
    assert!(status(302, json!({})).message.contains("redirects are never followed"));
}

#[test]
fn counts_of_the_context_are_recognised() {
    let expected = ErrorKind::ContextExceeded { prompt_tokens: 5000, context_tokens: 4096 };
    let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 5000,
        "n_ctx": 4096, "message": "the request exceeds the available context size, try increasing it"}});
    assert_eq!(status(400, llama.clone()).kind, expected);
    assert_eq!(object(llama).kind, expected);
    let openai = json!({"error": {"code": "context_length_exceeded", "message":
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."}});
    let error = status(400, openai.clone());
    assert_eq!(error.kind, expected);
    assert!(error.message.contains("5000") && error.message.contains("4096"), "{}", error.message);
    assert_eq!(object(openai).kind, expected);
    let unknown = json!({"error": {"code": "context_length_exceeded", "message": "too long"}});
    assert_eq!(status(400, unknown.clone()).kind, ErrorKind::InvalidRequest);
    assert_eq!(object(unknown).kind, ErrorKind::InvalidRequest);
}

#[test]
fn errors_inside_a_stream_are_typed() {
    for (body, kind) in [
        (json!({"error": {"type": "rate_limit_exceeded"}}), ErrorKind::RateLimited),
        (json!({"error": {"code": "insufficient_quota"}}), ErrorKind::RateLimited),
        (json!({"error": {"type": "overloaded_error"}}), ErrorKind::Overloaded),
        (json!({"error": {"type": "authentication_error"}}), ErrorKind::Authentication),
        (json!({"error": {"type": "BadRequestError", "code": 400}}), ErrorKind::InvalidRequest),
        (json!({"error": {"type": "invalid_request_error"}}), ErrorKind::InvalidRequest),
        (json!({"error": {"code": 503}}), ErrorKind::Unavailable),
        (json!({"error": {"code": "502"}}), ErrorKind::Upstream),
        (json!({"error": {"type": "server_error"}}), ErrorKind::Upstream),
        (json!({"error": "an unknown error was encountered while running the model"}), ErrorKind::Upstream),
        (json!({"message": "inner object alone"}), ErrorKind::Upstream),
    ] {
        assert_eq!(object(body.clone()).kind, kind, "{body}");
    }
}

#[test]
fn retry_after_is_kept() {
    let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, "3".parse().unwrap())]);
    let error = with_attempt(&Labels::none(), |attempt| {
        attempt.status_error(StatusCode::TOO_MANY_REQUESTS, &headers, b"", SystemTime::UNIX_EPOCH)
    });
    assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
}

#[test]
fn neither_key_nor_prompt_is_quoted() {
    for words in ["Incorrect API key provided: sk-hunter2-hunter2", "input should not be 'my PIN is 4711'"] {
        let error = status(400, json!({"error": {"message": words, "type": "my PIN is 4711"}}));
        assert!(!error.message.contains("hunter2") && !error.message.contains("4711"), "{}", error.message);
    }
    let labels = Labels::none().with([Label::LocalOnly]);
    let error = with_attempt(&labels, |attempt| attempt.object_error(&json!({"error": "harmless"})));
    assert!(!error.message.contains("harmless"));
}
