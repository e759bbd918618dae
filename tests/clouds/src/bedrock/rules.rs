//! What Bedrock demands of a conversation before a model sees it.

use serde_json::Value;

/// The first rule that a request breaks, in words like the service's.
pub(super) fn check(request: &Value) -> Result<(), String> {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(first) = messages.first() else {
        return Err("The messages field is empty. Add at least one message and try again.".to_owned());
    };
    if first["role"] != "user" {
        return Err("A conversation must start with a user message.".to_owned());
    }
    for pair in messages.windows(2) {
        if pair[0]["role"] == pair[1]["role"] {
            return Err("A conversation must alternate between user and assistant roles.".to_owned());
        }
    }
    let mut uses_tools = false;
    let mut open: Vec<&Value> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if blocks.is_empty() {
            return Err(format!("The content field in the Message object at messages.{index} is empty."));
        }
        let results: Vec<&Value> =
            blocks.iter().filter_map(|block| block.pointer("/toolResult/toolUseId")).collect();
        if let Some(missing) = open.iter().find(|id| !results.contains(id)) {
            return Err(format!(
                "Expected toolResult blocks at messages.{index}.content for the following Ids: {missing}"
            ));
        }
        if let Some(unknown) = results.iter().find(|id| !open.contains(id)) {
            return Err(format!("Unexpected toolResult block at messages.{index}.content: {unknown}"));
        }
        open = blocks.iter().filter_map(|block| block.pointer("/toolUse/toolUseId")).collect();
        uses_tools |= !open.is_empty() || !results.is_empty();
        for block in blocks {
            if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) {
                return Err(format!(
                    "The text field in the ContentBlock object at messages.{index}.content is blank."
                ));
            }
        }
        let is_name = |id: &&Value| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            id.as_str().is_some_and(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(plain))
        };
        if let Some(bad) = open.iter().find(|id| !is_name(id)) {
            return Err(format!("Value {bad} at 'toolUseId' failed to satisfy constraint [a-zA-Z0-9_-]+"));
        }
    }
    if uses_tools && request["toolConfig"]["tools"].as_array().is_none_or(Vec::is_empty) {
        return Err("The toolConfig field must be defined when using toolUse and toolResult content blocks."
            .to_owned());
    }
    match request.pointer("/outputConfig/textFormat") {
        Some(format) => check_format(format),
        None => Ok(()),
    }
}

/// The schema that an answer must follow is JSON inside a string.
fn check_format(format: &Value) -> Result<(), String> {
    let schema = format.pointer("/structure/jsonSchema/schema").and_then(Value::as_str);
    let is_schema = schema
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .is_some_and(|schema| schema.is_object());
    if format["type"] == "json_schema" && is_schema {
        return Ok(());
    }
    Err("The value at outputConfig.textFormat is invalid: expected a JSON schema.".to_owned())
}
