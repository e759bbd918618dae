//! The body of `POST /v1/embeddings`.

use lockgate_api::EMBED_INPUTS_MAX;
use serde_json::{Map, Value};

use super::fields::{
    Invalid, Path, array, invalid_value, missing, optional, string, unsupported, wrong_type,
};
use super::object_of;
use crate::error::ApiError;

/// A decoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmbeddingsRequest {
    pub(crate) model: String,
    /// 1 to [`EMBED_INPUTS_MAX`], none empty.
    pub(crate) inputs: Vec<String>,
    pub(crate) format: VectorFormat,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VectorFormat {
    /// As numbers.
    #[default]
    Float,
    /// As base64 of the numbers' bytes: 32-bit floats, least significant byte first.
    Base64,
}

/// Decodes a body. Fields that nobody knows are ignored.
///
/// # Errors
/// 400: no JSON (with line and column), or a field that is missing, of a wrong type, out of range or cannot be honoured
/// (by its path).
pub(crate) fn decode_embeddings(body: &[u8]) -> Result<EmbeddingsRequest, ApiError> {
    let fields = object_of(body)?;
    request(fields).map_err(|invalid| ApiError::field(invalid.path, invalid.code, invalid.message))
}

fn request(mut fields: Map<String, Value>) -> Result<EmbeddingsRequest, Invalid> {
    let root = Path::Root;
    let model =
        optional(&mut fields, &root, "model", string)?.ok_or_else(|| missing(&root.field("model")))?;
    if model.is_empty() {
        return Err(invalid_value(&root.field("model"), "must not be empty"));
    }
    if fields.get("dimensions").is_some_and(|value| !value.is_null()) {
        let message = format!(
            "`dimensions` cannot be honoured by the model `{}`: vectors come in its own size; leave it out",
            model.chars().take(128).collect::<String>()
        );
        return Err(root.field("dimensions").invalid("unsupported_parameter", message));
    }
    // Says who asks, which changes nothing here.
    optional(&mut fields, &root, "user", string)?;
    let format = optional(&mut fields, &root, "encoding_format", encoding)?.unwrap_or_default();
    let inputs = optional(&mut fields, &root, "input", inputs)?;
    let inputs = inputs.ok_or_else(|| missing(&root.field("input")))?;
    Ok(EmbeddingsRequest { model, inputs, format })
}

fn encoding(value: Value, path: &Path<'_>) -> Result<VectorFormat, Invalid> {
    match string(value, path)?.as_str() {
        "float" => Ok(VectorFormat::Float),
        "base64" => Ok(VectorFormat::Base64),
        _ => Err(invalid_value(path, "must be `float` or `base64`")),
    }
}

fn inputs(value: Value, path: &Path<'_>) -> Result<Vec<String>, Invalid> {
    if let Value::String(one) = value {
        return Ok(vec![text(Value::String(one), path)?]);
    }
    if !value.is_array() {
        return Err(wrong_type(path, "a string or an array of strings", &value));
    }
    let values = array(value, path)?;
    if values.is_empty() || values.len() > EMBED_INPUTS_MAX {
        let problem = format_args!("must have 1 to {EMBED_INPUTS_MAX} texts, not {}", values.len());
        return Err(invalid_value(path, problem));
    }
    values.into_iter().enumerate().map(|(index, value)| text(value, &path.index(index))).collect()
}

fn text(value: Value, path: &Path<'_>) -> Result<String, Invalid> {
    if matches!(value, Value::Number(_) | Value::Array(_)) {
        return Err(unsupported(path, "must be text: tokens are not taken, since each model has its own"));
    }
    let text = string(value, path)?;
    if text.is_empty() { Err(invalid_value(path, "must not be empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
