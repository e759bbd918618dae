//! The conversation: roles, content of both forms, tool calls and their results.

use lockgate_api::{ImageSource, Message, Part, Role, ToolCall};
use serde_json::{Map, Value};

use super::fields::{
    Invalid, Path, array, invalid_value, missing, object, optional, string, unsupported, wrong_type,
};

const ROLES: &str = "must be one of system, developer, user, assistant, tool";

/// Reads `messages`.
pub(super) fn read(value: Value, path: &Path<'_>) -> Result<Vec<Message>, Invalid> {
    let values = array(value, path)?;
    if values.is_empty() {
        return Err(invalid_value(path, "must hold at least one message"));
    }
    values.into_iter().enumerate().map(|(index, value)| message(value, &path.index(index))).collect()
}

fn message(value: Value, path: &Path<'_>) -> Result<Message, Invalid> {
    let mut fields = object(value, path)?;
    let role = role(&mut fields, path)?;
    if role == Role::Assistant && fields.get("function_call").is_some_and(|call| !call.is_null()) {
        let path = path.field("function_call");
        let message = format!("`{path}` is deprecated and not supported: use `tool_calls` instead");
        return Err(path.invalid("unsupported_parameter", message));
    }
    if fields.get("audio").is_some_and(|audio| !audio.is_null()) {
        return Err(unsupported(&path.field("audio"), "is not supported: send its transcript as text"));
    }
    let calls = optional(&mut fields, path, "tool_calls", tool_calls)?;
    let tool_calls = match (role, calls) {
        (_, None) => Vec::new(),
        (Role::Assistant, Some(calls)) => calls,
        (_, Some(_)) => {
            return Err(invalid_value(
                &path.field("tool_calls"),
                "is only allowed in messages of the assistant",
            ));
        }
    };
    let tool_call_id = optional(&mut fields, path, "tool_call_id", string)?;
    if role == Role::Tool && tool_call_id.is_none() {
        return Err(missing(&path.field("tool_call_id")));
    }
    let content = optional(&mut fields, path, "content", |value, path| content(value, path, role))?;
    let refusal = optional(&mut fields, path, "refusal", string)?.filter(|_| role == Role::Assistant);
    let content = match (content, refusal) {
        (Some(mut content), refusal) => {
            content.extend(refusal.map(Part::Text));
            content
        }
        (None, Some(refusal)) => vec![Part::Text(refusal)],
        (None, None) if role == Role::Assistant && !tool_calls.is_empty() => Vec::new(),
        (None, None) => return Err(missing(&path.field("content"))),
    };
    Ok(Message {
        role,
        content,
        name: optional(&mut fields, path, "name", string)?,
        tool_calls,
        tool_call_id: tool_call_id.filter(|_| role == Role::Tool),
        reasoning: optional(&mut fields, path, "reasoning_content", string)?
            .filter(|reasoning| role == Role::Assistant && !reasoning.is_empty()),
    })
}

fn role(fields: &mut Map<String, Value>, path: &Path<'_>) -> Result<Role, Invalid> {
    let name = optional(fields, path, "role", string)?;
    let path = path.field("role");
    match name.ok_or_else(|| missing(&path))?.as_str() {
        "system" => Ok(Role::System),
        "developer" => Ok(Role::Developer),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        "function" => {
            let message =
                format!("`{path}`: the role `function` is deprecated and not supported: use `tool` instead");
            Err(path.invalid("unsupported_value", message))
        }
        _ => Err(invalid_value(&path, ROLES)),
    }
}

fn content(value: Value, path: &Path<'_>, role: Role) -> Result<Vec<Part>, Invalid> {
    match value {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(parts) if parts.is_empty() => Err(invalid_value(path, "must hold at least one part")),
        Value::Array(parts) => parts
            .into_iter()
            .enumerate()
            .map(|(index, value)| part(value, &path.index(index), role))
            .collect(),
        other => Err(wrong_type(path, "a string or an array of parts", &other)),
    }
}

fn part(value: Value, path: &Path<'_>, role: Role) -> Result<Part, Invalid> {
    let mut fields = object(value, path)?;
    let kind = optional(&mut fields, path, "type", string)?;
    let kind_path = path.field("type");
    let mut text = |name: &str| {
        optional(&mut fields, path, name, string)?.ok_or_else(|| missing(&path.field(name))).map(Part::Text)
    };
    match kind.ok_or_else(|| missing(&kind_path))?.as_str() {
        "text" => text("text"),
        "refusal" if role == Role::Assistant => text("refusal"),
        "image_url" if role == Role::User => {
            let image = optional(&mut fields, path, "image_url", image)?;
            image.ok_or_else(|| missing(&path.field("image_url"))).map(Part::Image)
        }
        kind @ ("image_url" | "refusal") => {
            Err(invalid_value(&kind_path, format_args!("`{kind}` is not allowed in a message of this role")))
        }
        kind @ ("input_audio" | "file") => {
            Err(unsupported(&kind_path, format_args!("`{kind}` is not supported: send text or images")))
        }
        _ => Err(invalid_value(&kind_path, "must be one of text, image_url, refusal")),
    }
}

fn image(value: Value, path: &Path<'_>) -> Result<ImageSource, Invalid> {
    let mut fields = object(value, path)?;
    let detail = optional(&mut fields, path, "detail", string)?;
    if detail.is_some_and(|detail| detail != "auto") {
        // It changes what the model sees and what it costs, and no target takes it from here.
        return Err(unsupported(&path.field("detail"), "must be `auto`: other levels are not supported"));
    }
    let url = optional(&mut fields, path, "url", string)?;
    let path = path.field("url");
    let url = url.ok_or_else(|| missing(&path))?;
    let scheme = url.get(..5).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("data:") {
        let web = ["http://", "https://"];
        let is_web =
            web.iter().any(|web| url.get(..web.len()).is_some_and(|start| start.eq_ignore_ascii_case(web)));
        return if is_web { Ok(ImageSource::Url(url)) } else { Err(not_an_image(&path)) };
    }
    let (described, data) = url[5..].split_once(',').ok_or_else(|| not_an_image(&path))?;
    let media_type = described.strip_suffix(";base64").ok_or_else(|| not_an_image(&path))?;
    let media_type = media_type.split(';').next().unwrap_or_default().to_ascii_lowercase();
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if !media_type.starts_with("image/") || data.is_empty() || !data.bytes().all(base64) {
        return Err(not_an_image(&path));
    }
    Ok(ImageSource::Base64 { media_type, data: data.to_owned() })
}

fn not_an_image(path: &Path<'_>) -> Invalid {
    invalid_value(path, "must be an http(s) URL or `data:image/…;base64,…`")
}

fn tool_calls(value: Value, path: &Path<'_>) -> Result<Vec<ToolCall>, Invalid> {
    let values = array(value, path)?;
    if values.is_empty() {
        return Err(invalid_value(path, "must hold at least one call, or be left out"));
    }
    values.into_iter().enumerate().map(|(index, value)| tool_call(value, &path.index(index))).collect()
}

fn tool_call(value: Value, path: &Path<'_>) -> Result<ToolCall, Invalid> {
    let mut fields = object(value, path)?;
    let id = optional(&mut fields, path, "id", string)?.ok_or_else(|| missing(&path.field("id")))?;
    let kind = optional(&mut fields, path, "type", string)?;
    if kind.is_some_and(|kind| kind != "function") {
        return Err(unsupported(
            &path.field("type"),
            "must be `function`: other kinds of tools are not supported",
        ));
    }
    let function = optional(&mut fields, path, "function", object)?;
    let path = path.field("function");
    let mut function = function.ok_or_else(|| missing(&path))?;
    let mut text =
        |name: &str| optional(&mut function, &path, name, string)?.ok_or_else(|| missing(&path.field(name)));
    Ok(ToolCall { id, name: text("name")?, arguments: text("arguments")? })
}
