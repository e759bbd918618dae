//! The shape that an answer must have and the effort that it is worth: Converse's `outputConfig`.
//!
//! Which models honour them is the service's to say; what has no counterpart there is refused here by its name.

use aws_sdk_bedrockruntime::types::{
    JsonSchemaDefinition, OutputConfig, OutputFormat, OutputFormatStructure, OutputFormatType,
};
use lockgate_api::{ChatRequest, ResponseFormat};
use serde_json::Value;

use super::request::{Untranslatable, invalid, unsupported};

/// OpenAI's name for how long a model may think.
pub(super) const EFFORT: &str = "reasoning_effort";

/// What both sides know by the same name.
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// None where the request asks for neither.
///
/// # Errors
/// Free JSON without a schema, and an effort that Converse does not know.
pub(super) fn configuration(request: &ChatRequest) -> Result<Option<OutputConfig>, Untranslatable> {
    let format = format(&request.response_format)?;
    let effort = effort(request)?;
    let is_asked_for = format.is_some() || effort.is_some();
    Ok(is_asked_for.then(|| {
        let effort = effort.map(str::to_owned);
        OutputConfig::builder().set_text_format(format).set_effort(effort).build()
    }))
}

fn format(format: &ResponseFormat) -> Result<Option<OutputFormat>, Untranslatable> {
    let ResponseFormat::JsonSchema { name, description, schema, strict: _ } = format else {
        return match format {
            ResponseFormat::JsonObject => {
                let why = "Bedrock's Converse knows no JSON without a schema: ask for `json_schema`";
                Err(unsupported("response_format", why))
            }
            _ => Ok(None),
        };
    };
    let definition = JsonSchemaDefinition::builder()
        .schema(schema.to_string())
        .name(name)
        .set_description(description.clone())
        .build()?;
    let format = OutputFormat::builder()
        .r#type(OutputFormatType::JsonSchema)
        .structure(OutputFormatStructure::JsonSchema(definition))
        .build()?;
    Ok(Some(format))
}

fn effort(request: &ChatRequest) -> Result<Option<&str>, Untranslatable> {
    match request.extra.get(EFFORT) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(effort)) if EFFORTS.contains(&effort.as_str()) => Ok(Some(effort)),
        Some(Value::String(_)) => {
            Err(unsupported(EFFORT, format!("Bedrock's Converse knows {}", EFFORTS.join(", "))))
        }
        Some(_) => Err(invalid(EFFORT, format!("must be a string: {}", EFFORTS.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use lockgate_api::{Message, Role};
    use serde_json::json;

    use super::*;

    fn asked(change: impl FnOnce(&mut ChatRequest)) -> Result<Option<OutputConfig>, Untranslatable> {
        let mut request = ChatRequest::new("auto", vec![Message::text(Role::User, "a")]);
        change(&mut request);
        configuration(&request)
    }

    #[test]
    fn nothing_is_sent_that_is_not_asked_for() {
        assert_eq!(asked(|_| ()), Ok(None));
        assert_eq!(asked(|request| drop(request.extra.insert(EFFORT.into(), Value::Null))), Ok(None));
    }

    #[test]
    fn each_may_be_asked_for_alone() {
        for effort in EFFORTS {
            let config = asked(|request| drop(request.extra.insert(EFFORT.into(), json!(effort))));
            let config = config.unwrap().unwrap();
            assert_eq!((config.effort(), config.text_format()), (Some(effort), None));
        }
        let format = ResponseFormat::JsonSchema {
            name: "answer".into(),
            description: None,
            schema: json!({"type": "object"}),
            strict: Some(false),
        };
        let config = asked(|request| request.response_format = format).unwrap().unwrap();
        let Some(OutputFormatStructure::JsonSchema(definition)) = config.text_format().unwrap().structure()
        else {
            panic!("{config:?}")
        };
        assert_eq!((definition.schema(), definition.name()), (r#"{"type":"object"}"#, Some("answer")));
        assert_eq!((definition.description(), config.effort()), (None, None));
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let Err(Untranslatable::Unsupported { field, why }) =
            asked(|request| request.response_format = ResponseFormat::JsonObject)
        else {
            panic!("accepted")
        };
        assert!(field == "response_format" && why.contains("json_schema"), "{why}");
        let effort =
            |value: Value| asked(|request| drop(request.extra.insert(EFFORT.into(), value))).unwrap_err();
        let Untranslatable::Unsupported { field, why } = effort(json!("minimal")) else { panic!("accepted") };
        assert!(field == EFFORT && why.contains("low, medium"), "{why}");
        assert!(matches!(effort(json!(3)), Untranslatable::Invalid { field, .. } if field == EFFORT));
    }
}
