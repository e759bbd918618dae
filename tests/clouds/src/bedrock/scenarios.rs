//! Ready-made replies by model name, for clients that cannot script the server.

use std::time::Duration;

use serde_json::json;

use super::frames::{corrupted, event, exception};
use super::{Answer, Block, Reply};
use crate::script::{Raw, Step};

/// Each scenario's model name and what it answers.
pub fn scenarios() -> Vec<(&'static str, Reply)> {
    let calls = [
        ("tooluse_1", "get_weather", r#"{"city":"Zürich"}"#),
        ("tooluse_2", "get_time", r#"{"zone":"Europe/Zurich"}"#),
    ];
    let reasoning = Answer::blocks(
        vec![
            Block::Reasoning(vec!["Two and ".into(), "two.".into()], "sig".into()),
            Block::Text(vec!["Four.".into()]),
        ],
        "end_turn",
    );
    let mut cached = Answer::text(&["Hi"]);
    cached.usage = json!({"inputTokens": 1, "outputTokens": 2, "totalTokens": 103,
        "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40});
    let mut endless = Answer::text(&["x"; 10_000]);
    endless.between = Duration::from_millis(50);
    let begun = || {
        vec![
            event("messageStart", &json!({"role": "assistant"})),
            event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": "Hel"}})),
        ]
    };
    let broken = |rest: Vec<Step>| {
        let mut steps: Vec<Step> = begun().into_iter().map(Step::Bytes).collect();
        steps.extend(rest);
        Reply::Raw(Raw::ok("application/vnd.amazon.eventstream", steps))
    };
    let throttled = exception("throttlingException", &json!({"message": "Too many tokens, please wait."}));
    let failed = exception(
        "modelStreamErrorException",
        &json!({"message": "The model failed.", "originalStatusCode": 500}),
    );
    let stop = event("messageStop", &json!({"stopReason": "end_turn"}));
    vec![
        ("text", Answer::text(&["Hello", ",", " wörld", "!"]).into()),
        // What a redactor's placeholders are put back into, each in parts.
        ("placeholders", Answer::text(&["Dear [", "EMA", "IL-1], is [PHONE-", "1] right?"]).into()),
        ("tools", Answer::tools(&calls).into()),
        ("reasoning", reasoning.into()),
        ("cached", cached.into()),
        ("endless", endless.into()),
        ("document-only", Reply::DocumentOnly(Answer::text(&["Hello", "!"]))),
        (
            "throttled",
            Reply::error(429, "ThrottlingException", "Too many requests, please wait before trying again."),
        ),
        (
            "denied",
            Reply::error(
                403,
                "AccessDeniedException",
                "You don't have access to the model with the specified model ID.",
            ),
        ),
        ("not-ready", Reply::error(429, "ModelNotReadyException", "The model is not ready.")),
        (
            "unavailable",
            Reply::error(503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
        ),
        ("server-error", Reply::error(500, "InternalServerException", "The server failed.")),
        ("timeout", Reply::error(408, "ModelTimeoutException", "Model has timed out.")),
        (
            "missing",
            Reply::error(404, "ResourceNotFoundException", "Could not resolve the foundation model."),
        ),
        (
            "too-long",
            Reply::error(400, "ValidationException", "prompt is too long: 215000 tokens > 200000 maximum"),
        ),
        ("throttled-in-stream", broken(vec![Step::Bytes(throttled)])),
        ("failed-in-stream", broken(vec![Step::Bytes(failed)])),
        ("cut", broken(vec![Step::Cut])),
        ("no-stop", broken(vec![])),
        ("half-frame", broken(vec![Step::Bytes(stop[..20].to_vec())])),
        ("corrupted", broken(vec![Step::Bytes(corrupted(stop))])),
        ("hang", broken(vec![Step::Hang])),
    ]
}
