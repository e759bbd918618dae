//! Which requests a model on this machine can honour: text in, text out. A field that would change the answer and
//! cannot be honoured is refused by its name; one that would not is ignored.

use lockgate_api::{BackendError, ChatRequest, ErrorKind, Message, Part, ResponseFormat, Role, ToolChoice};
use serde_json::Value;

/// Fields of OpenAI's API that say nothing about the answer's content: who asks, how it is billed, kept or sped up.
const WITHOUT_EFFECT: [&str; 9] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
    "stream",
];

/// Checks every field of `request` for the model called `id`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the first field that cannot be honoured.
pub(super) fn accepts(id: &str, request: &ChatRequest) -> Result<(), BackendError> {
    let refuse = |field: String, why: &str| {
        let message =
            format!("model `{id}` cannot honour `{field}`: {why}; leave it out or choose another target");
        Err(BackendError::new(ErrorKind::Unsupported { field }, message))
    };
    for (index, message) in request.messages.iter().enumerate() {
        if let Some((field, why)) = unsupported(message) {
            return refuse(format!("messages[{index}].{field}"), why);
        }
    }
    if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        return refuse("tools".to_owned(), "it calls no tools");
    }
    if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_)) {
        return refuse("tool_choice".to_owned(), "it calls no tools");
    }
    if request.response_format != ResponseFormat::Text {
        return refuse("response_format".to_owned(), "it answers in free text only");
    }
    for (field, value) in &request.extra {
        if !value.is_null() && !WITHOUT_EFFECT.contains(&field.as_str()) && !is_default(field, value) {
            return refuse(field.clone(), "it is not built for models on this machine");
        }
    }
    Ok(())
}

/// The part of a message that a text model cannot read.
fn unsupported(message: &Message) -> Option<(String, &'static str)> {
    let image = message.content.iter().position(|part| matches!(part, Part::Image(_)));
    if let Some(part) = image {
        return Some((format!("content[{part}].image_url"), "it reads text only"));
    }
    if !message.tool_calls.is_empty() {
        return Some(("tool_calls".to_owned(), "it knows no tools"));
    }
    (message.role == Role::Tool).then(|| ("role".to_owned(), "it knows no tools"))
}

/// Whether the value says what would happen without it.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "functions" => value.as_array().is_some_and(Vec::is_empty),
        "function_call" => value == "none",
        _ => false,
    }
}
