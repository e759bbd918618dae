//! A well-formed answer of OpenAI's wire, as a stream of chunks or as one document.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use crate::record::Record;
use crate::script::{Raw, Step};

/// What a model says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Pieces of reasoning.
    pub reasoning: Vec<String>,
    /// Pieces of text; each counts as one token.
    pub text: Vec<String>,
    /// Tool calls: id, name and arguments' JSON text.
    pub tool_calls: Vec<(String, String, String)>,
    /// The finish reason.
    pub finish_reason: String,
    /// The `usage` object, where there is one.
    pub usage: Option<Value>,
    /// How long to wait before the head is sent.
    pub before: Duration,
    /// How long to wait before each chunk.
    pub between: Duration,
    /// More fields for every chunk, or for the document.
    pub extra: Value,
}

impl Answer {
    /// An answer of these pieces of text.
    pub fn text(pieces: &[&str]) -> Self {
        Self {
            reasoning: Vec::new(),
            text: pieces.iter().map(|&piece| piece.to_owned()).collect(),
            tool_calls: Vec::new(),
            finish_reason: "stop".to_owned(),
            usage: Some(usage(7, pieces.len() as u64)),
            before: Duration::ZERO,
            between: Duration::ZERO,
            extra: Value::Null,
        }
    }

    /// An answer that calls tools: id, name and arguments of each.
    pub fn tools(calls: &[(&str, &str, &str)]) -> Self {
        let owned = |(id, name, arguments): &(&str, &str, &str)| {
            ((*id).to_owned(), (*name).to_owned(), (*arguments).to_owned())
        };
        Self {
            tool_calls: calls.iter().map(owned).collect(),
            finish_reason: "tool_calls".to_owned(),
            ..Self::text(&[])
        }
    }

    pub(super) async fn respond(self, model: &str, request: &Value, record: &Record) -> Response {
        let steps = if request["stream"] == true {
            self.stream(model, request)
        } else {
            vec![Step::text(self.document(model, request).to_string())]
        };
        let content_type = if request["stream"] == true { "text/event-stream" } else { "application/json" };
        Raw::ok(content_type, steps).before(self.before).respond(record).await
    }

    /// The events of a stream, `[DONE]` included, one step an event.
    pub fn stream(&self, model: &str, request: &Value) -> Vec<Step> {
        let choices = request["n"].as_u64().unwrap_or(1);
        let mut chunks = Vec::new();
        for index in 0..choices {
            let chunk = |delta: Value, reason: Value, logprobs: Value| {
                let choice =
                    json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason});
                json!({"choices": [choice], "usage": null})
            };
            chunks.push(chunk(json!({"role": "assistant", "content": ""}), Value::Null, Value::Null));
            for piece in &self.reasoning {
                chunks.push(chunk(json!({"reasoning_content": piece}), Value::Null, Value::Null));
            }
            for piece in &self.text {
                let logprobs = logprobs(request, std::slice::from_ref(piece));
                chunks.push(chunk(json!({"content": piece}), Value::Null, logprobs));
            }
            for (at, (id, name, arguments)) in self.tool_calls.iter().enumerate() {
                let head = json!({"index": at, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""}});
                chunks.push(chunk(json!({"tool_calls": [head]}), Value::Null, Value::Null));
                let middle =
                    arguments.char_indices().nth(arguments.chars().count() / 2).map_or(0, |(at, _)| at);
                for part in [&arguments[..middle], &arguments[middle..]] {
                    let part = json!({"index": at, "function": {"arguments": part}});
                    chunks.push(chunk(json!({"tool_calls": [part]}), Value::Null, Value::Null));
                }
            }
            chunks.push(chunk(json!({}), json!(self.finish_reason), Value::Null));
        }
        if request["stream_options"]["include_usage"] == true
            && let Some(usage) = &self.usage
        {
            chunks.push(json!({"choices": [], "usage": usage}));
        }
        let mut steps = Vec::new();
        for chunk in chunks {
            if !self.between.is_zero() {
                steps.push(Step::Wait(self.between));
            }
            let chunk = self.envelope("chat.completion.chunk", model, chunk);
            steps.push(Step::text(format!("data: {chunk}\n\n")));
        }
        steps.push(Step::text("data: [DONE]\n\n"));
        steps
    }

    /// The whole as one document.
    pub fn document(&self, model: &str, request: &Value) -> Value {
        let calls: Vec<Value> = self
            .tool_calls
            .iter()
            .map(|(id, name, arguments)| {
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
            })
            .collect();
        let mut message = json!({"role": "assistant", "content": self.text.concat(), "refusal": null});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
            message["content"] = Value::Null;
        }
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.concat().into();
        }
        let choice = |index: u64| {
            json!({"index": index, "message": message, "logprobs": logprobs(request, &self.text),
                "finish_reason": self.finish_reason})
        };
        let choices: Vec<Value> = (0..request["n"].as_u64().unwrap_or(1)).map(choice).collect();
        self.envelope("chat.completion", model, json!({"choices": choices, "usage": self.usage}))
    }

    fn envelope(&self, object: &str, model: &str, inner: Value) -> Value {
        let mut whole =
            json!({"id": "chatcmpl-test", "object": object, "created": 1_700_000_000, "model": model});
        for part in [&inner, &self.extra] {
            for (key, value) in part.as_object().into_iter().flatten() {
                whole[key] = value.clone();
            }
        }
        whole
    }
}

/// Counts of OpenAI's shape.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn logprobs(request: &Value, tokens: &[String]) -> Value {
    if request["logprobs"] != true {
        return Value::Null;
    }
    let entry = |token: &String| json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes()});
    let tops = request["top_logprobs"].as_u64().unwrap_or(0);
    let full = |token: &String| {
        let mut full = entry(token);
        full["top_logprobs"] = (0..tops).map(|_| entry(token)).collect();
        full
    };
    json!({"content": tokens.iter().map(full).collect::<Vec<_>>(), "refusal": null})
}
