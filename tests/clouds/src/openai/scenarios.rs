//! Ready-made replies by model name, for clients that cannot script the server.

use std::time::Duration;

use serde_json::json;

use super::{Answer, Reply};
use crate::script::{Raw, Step};

/// Each scenario's model name and what it answers.
pub fn scenarios() -> Vec<(&'static str, Reply)> {
    let text = Answer::text(&["Hello", ",", " wörld", "!"]);
    let calls = [
        ("call_1", "get_weather", r#"{"city": "Zürich"}"#),
        ("call_2", "get_time", r#"{"zone": "Europe/Zurich"}"#),
    ];
    let mut reasoning = Answer::text(&["Four."]);
    reasoning.reasoning = vec!["Two and ".into(), "two.".into()];
    let mut slow = Answer::text(&["a", "b", "c"]);
    slow.between = Duration::from_millis(100);
    let mut endless = Answer::text(&["x"; 10_000]);
    endless.between = Duration::from_millis(50);
    let error = |status, kind: &str, message: &str| Reply::Error {
        status,
        error: json!({"message": message, "type": kind, "param": null, "code": kind}),
        retry_after: (status == 429).then(|| "0.01".to_owned()),
    };
    let begun = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":\
                 [{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n";
    let broken = |rest: Vec<Step>| {
        let mut steps = vec![Step::text(begun)];
        steps.extend(rest);
        Reply::Raw(Raw::ok("text/event-stream", steps))
    };
    vec![
        ("text", text.into()),
        // What a redactor's placeholders are put back into, each in parts.
        ("placeholders", Answer::text(&["Dear [", "EMA", "IL-1], is [PHONE-", "1] right?"]).into()),
        ("tools", Answer::tools(&calls).into()),
        ("reasoning", reasoning.into()),
        ("slow", slow.into()),
        ("endless", endless.into()),
        ("bad-request", error(400, "invalid_request_error", "The request is bad.")),
        ("rate-limited", error(429, "rate_limit_exceeded", "Too many requests.")),
        ("server-error", error(500, "server_error", "The server failed.")),
        (
            "unavailable",
            Raw::status(
                503,
                r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#,
            )
            .into(),
        ),
        (
            "error-in-stream",
            broken(vec![Step::text(
                "data: {\"error\":{\"message\":\"The server failed.\",\"type\":\"server_error\"}}\n\n",
            )]),
        ),
        ("cut", broken(vec![Step::Cut])),
        ("half-event", broken(vec![Step::text("data: {\"choices\":[{\"ind")])),
        ("no-finish", broken(vec![])),
        ("hang", broken(vec![Step::Hang])),
        (
            "slow-head",
            Raw::ok("text/event-stream", vec![Step::text(begun)]).before(Duration::from_secs(3600)).into(),
        ),
        ("redirect", Raw::status(307, "").header("location", "http://192.0.2.1/v1/chat/completions").into()),
    ]
}
