//! JSON values as the SDK's documents and back.

use std::collections::HashMap;

use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value};

/// A JSON value as a document.
pub(super) fn to_document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(*value),
        Value::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Number::PosInt(value),
            (None, Some(value)) => Number::NegInt(value),
            (None, None) => Number::Float(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(to_document).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), to_document(value)));
            Document::Object(fields.collect::<HashMap<_, _>>())
        }
    }
}

/// A document as a JSON value, its fields in alphabetical order: documents keep none, and the same answer
/// should always be the same text.
pub(super) fn to_value(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(*value),
        Document::Number(Number::PosInt(value)) => (*value).into(),
        Document::Number(Number::NegInt(value)) => (*value).into(),
        Document::Number(Number::Float(value)) => (*value).into(),
        Document::String(text) => Value::String(text.clone()),
        Document::Array(items) => items.iter().map(to_value).collect(),
        Document::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(name, value)| (name.clone(), to_value(value)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_round_trip() {
        let text = r#"{"a":null,"b":true,"c":[0,18446744073709551615,-9223372036854775808,0.5,"é"],"d":{}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(to_value(&to_document(&value)).to_string(), text);
    }

    #[test]
    fn numbers_that_json_lacks_become_null() {
        assert_eq!(to_value(&Document::Number(Number::Float(f64::INFINITY))), Value::Null);
    }
}
