//! Readers of JSON values that know where they are, so that an error can name the field by its path.

use std::fmt;

use serde_json::{Map, Number, Value};

/// Where a value stands. It lives on the stack and becomes text only in an error.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The body itself.
    Root,
    /// A field of an object.
    Field(&'a Path<'a>, &'a str),
    /// An element of an array.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    pub(super) fn invalid(&self, code: &'static str, message: impl Into<String>) -> Invalid {
        Invalid { path: self.to_string(), code, message: message.into() }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => formatter.write_str(name),
            Path::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Path::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

/// A field that cannot be used.
#[derive(Debug)]
pub(super) struct Invalid {
    pub(super) path: String,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn missing(path: &Path<'_>) -> Invalid {
    path.invalid("missing_required_parameter", format!("`{path}` is missing"))
}

/// `problem` follows the path: "must not be empty".
pub(super) fn invalid_value(path: &Path<'_>, problem: impl fmt::Display) -> Invalid {
    path.invalid("invalid_value", format!("`{path}` {problem}"))
}

/// A value that OpenAI's API has and this server does not.
pub(super) fn unsupported(path: &Path<'_>, problem: impl fmt::Display) -> Invalid {
    path.invalid("unsupported_value", format!("`{path}` {problem}"))
}

pub(super) fn wrong_type(path: &Path<'_>, wanted: &str, found: &Value) -> Invalid {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    path.invalid("invalid_type", format!("`{path}` must be {wanted}, not {found}"))
}

/// Takes a field out and reads it; absent and `null` are the same.
pub(super) fn optional<T>(
    fields: &mut Map<String, Value>,
    parent: &Path<'_>,
    name: &str,
    read: impl FnOnce(Value, &Path<'_>) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    match fields.swap_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value, &parent.field(name)).map(Some),
    }
}

pub(super) fn string(value: Value, path: &Path<'_>) -> Result<String, Invalid> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(path, "a string", &other)),
    }
}

pub(super) fn boolean(value: Value, path: &Path<'_>) -> Result<bool, Invalid> {
    value.as_bool().ok_or_else(|| wrong_type(path, "a boolean", &value))
}

pub(super) fn object(value: Value, path: &Path<'_>) -> Result<Map<String, Value>, Invalid> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(wrong_type(path, "an object", &other)),
    }
}

pub(super) fn array(value: Value, path: &Path<'_>) -> Result<Vec<Value>, Invalid> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(wrong_type(path, "an array", &other)),
    }
}

/// A number in the closed range.
pub(super) fn number(value: Value, path: &Path<'_>, least: f64, most: f64) -> Result<f32, Invalid> {
    let number = value
        .as_f64()
        .ok_or_else(|| wrong_type(path, &format!("a number from {least} to {most}"), &value))?;
    if (least..=most).contains(&number) {
        Ok(number as f32)
    } else {
        Err(invalid_value(path, format_args!("must be from {least} to {most}, not {number}")))
    }
}

/// A whole number in the closed range. One written as `3.0` is whole.
pub(super) fn integer(value: Value, path: &Path<'_>, least: u64, most: u64) -> Result<u64, Invalid> {
    let Value::Number(number) = &value else {
        return Err(wrong_type(path, "an integer", &value));
    };
    let whole = number.as_u64().or_else(|| whole_float(number));
    match whole {
        Some(whole) if (least..=most).contains(&whole) => Ok(whole),
        None if number.as_f64().is_some_and(|number| number.fract() != 0.0) => {
            Err(path.invalid("invalid_type", format!("`{path}` must be an integer, not {number}")))
        }
        _ => Err(invalid_value(path, format_args!("must be from {least} to {most}, not {number}"))),
    }
}

fn whole_float(number: &Number) -> Option<u64> {
    // Up to here every whole number has a float of its own.
    let float = number.as_f64().filter(|float| (0.0..=9_007_199_254_740_992.0).contains(float))?;
    (float.fract() == 0.0).then_some(float as u64)
}

/// What a field that is passed on must be.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Boolean,
    Object,
    Texts,
}

/// Fields that OpenAI knows and no type here models, with what they must be. Values that say the same as
/// their absence are dropped.
const EXTRA: [(&str, Shape); 15] = [
    ("audio", Shape::Object),
    ("metadata", Shape::Object),
    ("modalities", Shape::Texts),
    ("moderation", Shape::Object),
    ("prediction", Shape::Object),
    ("prompt_cache_key", Shape::Text),
    ("prompt_cache_options", Shape::Object),
    ("prompt_cache_retention", Shape::Text),
    ("reasoning_effort", Shape::Text),
    ("safety_identifier", Shape::Text),
    ("service_tier", Shape::Text),
    ("store", Shape::Boolean),
    ("user", Shape::Text),
    ("verbosity", Shape::Text),
    ("web_search_options", Shape::Object),
];

/// Takes the known fields that nothing else has read.
pub(super) fn extra(fields: &mut Map<String, Value>) -> Result<Map<String, Value>, Invalid> {
    let mut extra = Map::new();
    for (name, shape) in EXTRA {
        let Some(value) = fields.swap_remove(name).filter(|value| !value.is_null()) else { continue };
        let path = Path::Field(&Path::Root, name);
        let (fits, wanted) = match (shape, &value) {
            (Shape::Text, value) => (value.is_string(), "a string"),
            (Shape::Boolean, value) => (value.is_boolean(), "a boolean"),
            (Shape::Object, value) => (value.is_object(), "an object"),
            (Shape::Texts, Value::Array(texts)) => {
                (texts.iter().all(Value::is_string), "an array of strings")
            }
            (Shape::Texts, _) => (false, "an array of strings"),
        };
        if !fits {
            return Err(wrong_type(&path, wanted, &value));
        }
        let says_nothing = match name {
            "modalities" => value.as_array().is_some_and(|texts| texts.iter().all(|text| text == "text")),
            "service_tier" => value == "auto",
            "store" => value == false,
            _ => false,
        };
        if !says_nothing {
            extra.insert(name.to_owned(), value);
        }
    }
    Ok(extra)
}
