//! The shapes that streamed and whole answers share.

use lockgate_api::{FinishReason, TokenLogprob, TopLogprob, Usage};
use serde::{Serialize, Serializer};

use crate::error::ApiError;

/// What a probability of zero is written as: JSON has no infinity, and OpenAI writes this.
const LOGPROB_LEAST: f32 = -9999.0;

/// What every piece of one answer says of it.
#[derive(Clone, Debug)]
pub(crate) struct ResponseId {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

impl ResponseId {
    /// The answer's id shares its digits with the request's.
    pub(crate) fn new(request_id: &str, created: u64) -> Self {
        let digits = request_id.strip_prefix("req_").unwrap_or(request_id);
        Self { id: format!("chatcmpl-{digits}"), created }
    }
}

/// Appends JSON.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("our own shapes have string keys and memory takes every write");
}

/// JSON in memory of its own.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_json(&mut out, value);
    out
}

/// An error in OpenAI's shape.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl<'a> From<&'a ApiError> for ErrorBody<'a> {
    fn from(error: &'a ApiError) -> Self {
        Self {
            error: ErrorFields {
                message: &error.message,
                r#type: error.family.name(),
                param: error.param.as_deref(),
                code: error.code,
            },
        }
    }
}

/// The body of an answer that is an error.
pub(crate) fn error_body(error: &ApiError) -> Vec<u8> {
    to_json(&ErrorBody::from(error))
}

/// A tool call's constant part.
pub(crate) const FUNCTION: &str = "function";

/// An id for a call that its target left without one: a result needs something to refer to.
pub(crate) fn call_id(response: &ResponseId, choice: u32, index: u32) -> String {
    let digits = response.id.strip_prefix("chatcmpl-").unwrap_or(&response.id);
    format!("call_{digits}_{choice}_{index}")
}

/// OpenAI's word for why a choice ended, and the target's own where OpenAI has none.
pub(crate) fn finish_words(reason: &FinishReason) -> (&'static str, Option<&str>) {
    match reason {
        FinishReason::Stop => ("stop", None),
        FinishReason::Length => ("length", None),
        FinishReason::ToolCalls => ("tool_calls", None),
        FinishReason::ContentFilter => ("content_filter", None),
        FinishReason::Other(word) => ("stop", Some(word)),
    }
}

/// Log-probabilities of a choice, or of a piece of it.
#[derive(Serialize)]
pub(crate) struct LogprobsBody<'a> {
    content: Vec<TokenBody<'a>>,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a str,
    logprob: Logprob,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<TopBody<'a>>,
}

#[derive(Serialize)]
struct TopBody<'a> {
    token: &'a str,
    logprob: Logprob,
    bytes: Option<&'a [u8]>,
}

struct Logprob(f32);

impl Serialize for Logprob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f32(if self.0.is_finite() { self.0 } else { LOGPROB_LEAST })
    }
}

impl<'a> LogprobsBody<'a> {
    pub(crate) fn new(tokens: &'a [TokenLogprob]) -> Self {
        Self { content: tokens.iter().map(TokenBody::from).collect(), refusal: None }
    }
}

impl<'a> From<&'a TokenLogprob> for TokenBody<'a> {
    fn from(token: &'a TokenLogprob) -> Self {
        let TopBody { token: text, logprob, bytes } = TopBody::from(&token.chosen);
        Self { token: text, logprob, bytes, top_logprobs: token.top.iter().map(TopBody::from).collect() }
    }
}

impl<'a> From<&'a TopLogprob> for TopBody<'a> {
    fn from(TopLogprob { token, bytes, logprob }: &'a TopLogprob) -> Self {
        Self { token, logprob: Logprob(*logprob), bytes: bytes.as_deref() }
    }
}

/// What an answer took. OpenAI counts cached tokens within the prompt and reasoning within the
/// completion.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        let (prompt, completion) = (usage.prompt_total(), usage.completion_total());
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.cache_write,
            },
            completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning },
        }
    }
}
