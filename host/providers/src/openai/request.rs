//! A request as the body of `POST /chat/completions`: a pure translation.
//!
//! Extensions beyond OpenAI's own fields go by the names that most servers share: `top_k`, `min_p`, and
//! the repetition penalty under both of its names (`repetition_penalty` for vLLM and SGLang,
//! `repeat_penalty` for llama.cpp and LM Studio).

use lockgate_api::{
    ChatRequest, ImageSource, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// The body: streamed, with usage. The longest answer goes by the name `length_field`.
pub(super) fn body(
    request: &ChatRequest,
    model: &str,
    length_field: &'static str,
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Body { request, model, length_field })
}

/// What the server at `authority` (`host` or `host:port`) calls the longest answer. Every server knows
/// `max_tokens`, save that OpenAI's own models that reason refuse it.
pub(super) fn length_field(authority: &str) -> &'static str {
    let host = authority.split(':').next().unwrap_or_default();
    let is_openai = ["openai.com", "openai.azure.com"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    if is_openai { "max_completion_tokens" } else { "max_tokens" }
}

struct Body<'a> {
    request: &'a ChatRequest,
    model: &'a str,
    length_field: &'static str,
}

/// Fields that the body sets itself or that would change how the answer comes: never taken from
/// [`ChatRequest::extra`].
const OWN_FIELDS: [&str; 24] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.request;
        let sampling = &request.sampling;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", self.model)?;
        map.serialize_entry("messages", &Each(&request.messages, MessageWire))?;
        map.serialize_entry("stream", &true)?;
        map.serialize_entry("stream_options", &StreamOptions { include_usage: true })?;
        if request.choices != 1 {
            map.serialize_entry("n", &request.choices)?;
        }
        entry(&mut map, "temperature", sampling.temperature)?;
        entry(&mut map, "top_k", sampling.top_k)?;
        entry(&mut map, "top_p", sampling.top_p)?;
        entry(&mut map, "min_p", sampling.min_p)?;
        entry(&mut map, "repetition_penalty", sampling.repetition_penalty)?;
        entry(&mut map, "repeat_penalty", sampling.repetition_penalty)?;
        entry(&mut map, "presence_penalty", sampling.presence_penalty)?;
        entry(&mut map, "frequency_penalty", sampling.frequency_penalty)?;
        if !sampling.logit_bias.is_empty() {
            map.serialize_entry("logit_bias", &LogitBias(&sampling.logit_bias))?;
        }
        entry(&mut map, "seed", sampling.seed)?;
        if !sampling.stop.is_empty() {
            map.serialize_entry("stop", &sampling.stop)?;
        }
        entry(&mut map, self.length_field, sampling.max_tokens)?;
        if let Some(alternatives) = request.logprobs {
            map.serialize_entry("logprobs", &true)?;
            map.serialize_entry("top_logprobs", &alternatives)?;
        }
        entry(&mut map, "response_format", response_format(&request.response_format))?;
        if !request.tools.is_empty() {
            map.serialize_entry("tools", &Each(&request.tools, ToolWire))?;
        }
        entry(&mut map, "tool_choice", tool_choice(request))?;
        entry(&mut map, "parallel_tool_calls", request.parallel_tool_calls)?;
        for (name, value) in request.extra.iter().filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn entry<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A list whose items are written by a wrapper each.
struct Each<'a, T, W>(&'a [T], fn(&'a T) -> W);

impl<'a, T, W: Serialize> Serialize for Each<'a, T, W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

struct LogitBias<'a>(&'a [(u32, f32)]);

impl Serialize for LogitBias<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, bias)| (token.to_string(), bias)))
    }
}

struct MessageWire<'a>(&'a Message);

impl Serialize for MessageWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.0;
        let mut map = serializer.serialize_map(None)?;
        // Servers of open models know no `developer`: their chat templates would reject it.
        let role = if message.role == Role::Developer { Role::System } else { message.role };
        map.serialize_entry("role", role.name())?;
        match message.content.as_slice() {
            [] if message.tool_calls.is_empty() => map.serialize_entry("content", "")?,
            [] => map.serialize_entry("content", &Value::Null)?,
            // Not every server reads a list.
            [Part::Text(text)] => map.serialize_entry("content", text)?,
            parts => map.serialize_entry("content", &Each(parts, PartWire))?,
        }
        entry(&mut map, "name", message.name.as_deref())?;
        if !message.tool_calls.is_empty() {
            map.serialize_entry("tool_calls", &Each(&message.tool_calls, ToolCallWire))?;
        }
        entry(&mut map, "tool_call_id", message.tool_call_id.as_deref())?;
        entry(&mut map, "reasoning_content", message.reasoning.as_deref())?;
        map.end()
    }
}

struct PartWire<'a>(&'a Part);

impl Serialize for PartWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self.0 {
            Part::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
            }
            Part::Image(source) => {
                map.serialize_entry("type", "image_url")?;
                map.serialize_entry("image_url", &ImageWire(source))?;
            }
        }
        map.end()
    }
}

struct ImageWire<'a>(&'a ImageSource);

impl Serialize for ImageWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            ImageSource::Url(url) => map.serialize_entry("url", url)?,
            ImageSource::Base64 { media_type, data } => {
                map.serialize_entry("url", &format_args!("data:{media_type};base64,{data}"))?;
            }
        }
        map.end()
    }
}

struct ToolWire<'a>(&'a Tool);

impl Serialize for ToolWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameters: Option<&'a Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            strict: Option<bool>,
        }
        let Tool { name, description, parameters, strict } = self.0;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", "function")?;
        let function = Function {
            name,
            description: description.as_deref(),
            parameters: parameters.as_ref(),
            strict: *strict,
        };
        map.serialize_entry("function", &function)?;
        map.end()
    }
}

struct ToolCallWire<'a>(&'a ToolCall);

impl Serialize for ToolCallWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let ToolCall { id, name, arguments } = self.0;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Function { name, arguments })?;
        map.end()
    }
}

fn response_format(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(serde_json::json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            let mut inner = serde_json::json!({ "name": name, "schema": schema });
            if let Some(description) = description {
                inner["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                inner["strict"] = (*strict).into();
            }
            Some(serde_json::json!({ "type": "json_schema", "json_schema": inner }))
        }
    }
}

fn tool_choice(request: &ChatRequest) -> Option<Value> {
    match &request.tool_choice {
        // Without tools most servers refuse the field, and there is nothing to forbid.
        _ if request.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Function(name) => {
            Some(serde_json::json!({ "type": "function", "function": { "name": name } }))
        }
    }
}

#[cfg(test)]
mod tests;
