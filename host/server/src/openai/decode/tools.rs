//! Tools, which of them must be called, and the form of the answer.

use lockgate_api::{ResponseFormat, Tool, ToolChoice};
use serde_json::{Map, Value};

use super::fields::{
    Invalid, Path, array, boolean, invalid_value, missing, object, optional, string, unsupported, wrong_type,
};

/// Tools that one request may bring.
const TOOLS_MAX: usize = 128;
/// Bytes of a tool's or a schema's name.
const NAME_BYTES_MAX: usize = 64;

/// Reads `tools`.
pub(super) fn read(value: Value, path: &Path<'_>) -> Result<Vec<Tool>, Invalid> {
    let values = array(value, path)?;
    if values.len() > TOOLS_MAX {
        return Err(invalid_value(
            path,
            format_args!("must hold at most {TOOLS_MAX} tools, not {}", values.len()),
        ));
    }
    values.into_iter().enumerate().map(|(index, value)| tool(value, &path.index(index))).collect()
}

fn tool(value: Value, path: &Path<'_>) -> Result<Tool, Invalid> {
    let mut fields = object(value, path)?;
    let kind = optional(&mut fields, path, "type", string)?.ok_or_else(|| missing(&path.field("type")))?;
    if kind != "function" {
        return Err(unsupported(
            &path.field("type"),
            "must be `function`: other kinds of tools are not supported",
        ));
    }
    let function = optional(&mut fields, path, "function", object)?;
    let path = path.field("function");
    let mut function = function.ok_or_else(|| missing(&path))?;
    Ok(Tool {
        name: name(&mut function, &path)?,
        description: optional(&mut function, &path, "description", string)?,
        parameters: optional(&mut function, &path, "parameters", object)?.map(Value::Object),
        strict: optional(&mut function, &path, "strict", boolean)?,
    })
}

fn name(fields: &mut Map<String, Value>, parent: &Path<'_>) -> Result<String, Invalid> {
    let name = optional(fields, parent, "name", string)?;
    let path = parent.field("name");
    let name = name.ok_or_else(|| missing(&path))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        let problem = format!("must be 1 to {NAME_BYTES_MAX} letters, digits, underscores and hyphens");
        return Err(invalid_value(&path, problem));
    }
    Ok(name)
}

/// Reads `tool_choice`.
pub(super) fn read_choice(value: Value, path: &Path<'_>) -> Result<ToolChoice, Invalid> {
    let mut fields = match value {
        Value::String(word) => {
            return match word.as_str() {
                "auto" => Ok(ToolChoice::Auto),
                "none" => Ok(ToolChoice::None),
                "required" => Ok(ToolChoice::Required),
                _ => Err(invalid_value(path, "must be one of none, auto, required, or name a function")),
            };
        }
        Value::Object(fields) => fields,
        other => return Err(wrong_type(path, "a string or an object", &other)),
    };
    let kind = optional(&mut fields, path, "type", string)?.ok_or_else(|| missing(&path.field("type")))?;
    if kind != "function" {
        return Err(unsupported(&path.field("type"), "must be `function`: other choices are not supported"));
    }
    let function = optional(&mut fields, path, "function", object)?;
    let path = path.field("function");
    let mut function = function.ok_or_else(|| missing(&path))?;
    optional(&mut function, &path, "name", string)?
        .ok_or_else(|| missing(&path.field("name")))
        .map(ToolChoice::Function)
}

/// A choice that no tool can satisfy.
pub(super) fn check_choice(choice: &ToolChoice, tools: &[Tool], path: &Path<'_>) -> Result<(), Invalid> {
    match choice {
        ToolChoice::Required if tools.is_empty() => {
            Err(invalid_value(path, "is only allowed when `tools` are specified"))
        }
        ToolChoice::Function(name) if !tools.iter().any(|tool| tool.name == *name) => {
            Err(invalid_value(path, format_args!("names the function `{name}`, which is not among `tools`")))
        }
        _ => Ok(()),
    }
}

/// Reads `response_format`.
pub(super) fn read_format(value: Value, path: &Path<'_>) -> Result<ResponseFormat, Invalid> {
    let mut fields = object(value, path)?;
    let kind = optional(&mut fields, path, "type", string)?;
    let kind_path = path.field("type");
    match kind.ok_or_else(|| missing(&kind_path))?.as_str() {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => {
            let schema = optional(&mut fields, path, "json_schema", object)?;
            let path = path.field("json_schema");
            let mut fields = schema.ok_or_else(|| missing(&path))?;
            let schema = optional(&mut fields, &path, "schema", object)?;
            Ok(ResponseFormat::JsonSchema {
                name: name(&mut fields, &path)?,
                description: optional(&mut fields, &path, "description", string)?,
                schema: Value::Object(schema.ok_or_else(|| missing(&path.field("schema")))?),
                strict: optional(&mut fields, &path, "strict", boolean)?,
            })
        }
        _ => Err(invalid_value(&kind_path, "must be one of text, json_object, json_schema")),
    }
}
