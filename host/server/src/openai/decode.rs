//! A request's body into a `ChatRequest`; `embeddings` decodes those for vectors.
//!
//! Every field that OpenAI knows is read, checked or refused; what nobody knows is ignored. Values are
//! moved out of the parsed JSON, so that a long prompt is copied once. `fields` holds the readers that
//! name a path, `messages`, `tools` and `sampling` the parts.

mod embeddings;
mod fields;
mod messages;
mod sampling;
mod tools;

pub(crate) use self::embeddings::{EmbeddingsRequest, VectorFormat, decode_embeddings};

use lockgate_api::ChatRequest;
use serde_json::{Map, Value};

use self::fields::{Invalid, Path, boolean, integer, invalid_value, missing, object, optional, string};
use crate::error::ApiError;

/// The most independent answers.
const CHOICES_MAX: u64 = 128;

/// A decoded body.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) request: ChatRequest,
    /// `stream_options.include_usage`.
    pub(crate) include_usage: bool,
}

/// Decodes a body.
///
/// # Errors
/// 400: no JSON (with line and column), or a field that is missing, of a wrong type or out of range (by
/// its path).
pub(crate) fn decode(body: &[u8]) -> Result<Decoded, ApiError> {
    request(object_of(body)?).map_err(|invalid| ApiError::field(invalid.path, invalid.code, invalid.message))
}

/// Decodes the body of a chat completion just as `POST /v1/chat/completions` does, for requests that come from
/// somewhere else.
///
/// # Errors
/// What the API would answer: which field, and what is wrong with it.
pub fn decode_chat(body: &[u8]) -> Result<ChatRequest, String> {
    decode(body).map(|decoded| decoded.request).map_err(|error| error.message)
}

fn object_of(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid_json(format!("the body is not valid JSON in UTF-8: {error}")))?;
    let Value::Object(fields) = body else {
        return Err(ApiError::invalid_json("the body must be a JSON object".to_owned()));
    };
    Ok(fields)
}

fn request(mut fields: Map<String, Value>) -> Result<Decoded, Invalid> {
    let root = Path::Root;
    for (name, instead) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if fields.get(name).is_some_and(|value| !value.is_null()) {
            let message = format!("`{name}` is deprecated and not supported: use `{instead}` instead");
            return Err(root.field(name).invalid("unsupported_parameter", message));
        }
    }
    let model =
        optional(&mut fields, &root, "model", string)?.ok_or_else(|| missing(&root.field("model")))?;
    if model.is_empty() {
        return Err(invalid_value(&root.field("model"), "must not be empty"));
    }
    let messages = optional(&mut fields, &root, "messages", messages::read)?;
    let messages = messages.ok_or_else(|| missing(&root.field("messages")))?;
    let mut request = ChatRequest::new(model, messages);
    request.tools = optional(&mut fields, &root, "tools", tools::read)?.unwrap_or_default();
    if let Some(choice) = optional(&mut fields, &root, "tool_choice", tools::read_choice)? {
        tools::check_choice(&choice, &request.tools, &root.field("tool_choice"))?;
        request.tool_choice = choice;
    }
    request.parallel_tool_calls = optional(&mut fields, &root, "parallel_tool_calls", boolean)?;
    request.sampling = sampling::read(&mut fields)?;
    if let Some(format) = optional(&mut fields, &root, "response_format", tools::read_format)? {
        request.response_format = format;
    }
    let choices = optional(&mut fields, &root, "n", |value, path| integer(value, path, 1, CHOICES_MAX))?;
    request.choices = choices.map_or(1, |choices| choices as u32);
    request.logprobs = sampling::read_logprobs(&mut fields)?;
    request.stream = optional(&mut fields, &root, "stream", boolean)?.unwrap_or(false);
    let options = optional(&mut fields, &root, "stream_options", object)?;
    let include_usage = match options {
        None => false,
        Some(_) if !request.stream => {
            let message = "is only allowed when `stream` is true";
            return Err(invalid_value(&root.field("stream_options"), message));
        }
        Some(mut options) => {
            let path = root.field("stream_options");
            // Padding against a side channel that a server on this machine does not have.
            optional(&mut options, &path, "include_obfuscation", boolean)?;
            optional(&mut options, &path, "include_usage", boolean)?.unwrap_or(false)
        }
    };
    request.extra = fields::extra(&mut fields)?;
    Ok(Decoded { request, include_usage })
}

#[cfg(test)]
mod tests;
