use lockgate_api::{ImageSource, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
use serde_json::{Value, json};

use super::*;

fn base() -> ChatRequest {
    ChatRequest::new("tiny", vec![Message::text(Role::User, "hello")])
}

fn tool() -> Tool {
    Tool { name: "f".to_owned(), description: None, parameters: None, strict: None }
}

fn with_extra(field: &str, value: Value) -> ChatRequest {
    let mut request = base();
    request.extra.insert(field.to_owned(), value);
    request
}

/// The field that is refused.
fn refused(request: &ChatRequest) -> Option<String> {
    let error = accepts::accepts("tiny", request).err()?;
    let ErrorKind::Unsupported { field } = error.kind else { panic!("another kind: {error:?}") };
    assert!(
        error.message.contains("`tiny`") && error.message.contains(&format!("`{field}`")),
        "{}",
        error.message
    );
    Some(field)
}

#[test]
fn what_a_text_model_can_do_is_accepted() {
    let mut request = base();
    request.sampling = seeded(1, 5);
    request.choices = 3;
    request.logprobs = Some(20);
    request.parallel_tool_calls = Some(false);
    assert_eq!(refused(&request), None);
    request.tools = vec![tool()];
    request.tool_choice = ToolChoice::None;
    assert_eq!(refused(&request), None, "tools that may not be called change nothing");
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let mut tools = base();
    tools.tools = vec![tool()];
    assert_eq!(refused(&tools), Some("tools".to_owned()));
    let mut choice = base();
    choice.tool_choice = ToolChoice::Required;
    assert_eq!(refused(&choice), Some("tool_choice".to_owned()));
    let mut format = base();
    format.response_format = ResponseFormat::JsonObject;
    assert_eq!(refused(&format), Some("response_format".to_owned()));
    let mut image = base();
    image.messages[0].content.push(Part::Image(ImageSource::Url("https://example.org/x.png".to_owned())));
    assert_eq!(refused(&image), Some("messages[0].content[1].image_url".to_owned()));
    let mut called = base();
    let call = ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
    called.messages.push(Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") });
    assert_eq!(refused(&called), Some("messages[1].tool_calls".to_owned()));
    let mut result = base();
    result.messages.push(Message::text(Role::Tool, "4"));
    assert_eq!(refused(&result), Some("messages[1].role".to_owned()));
}

#[test]
fn further_fields_are_ignored_only_where_they_change_nothing() {
    for (field, value) in [
        ("user", json!("somebody")),
        ("metadata", json!({"a": "b"})),
        ("store", json!(true)),
        ("service_tier", json!("flex")),
        ("safety_identifier", json!("x")),
        ("prompt_cache_key", json!("x")),
        ("audio", json!(null)),
        ("modalities", json!(["text"])),
        ("functions", json!([])),
        ("function_call", json!("none")),
    ] {
        assert_eq!(refused(&with_extra(field, value)), None, "{field}");
    }
    for (field, value) in [
        ("audio", json!({"voice": "x"})),
        ("modalities", json!(["text", "audio"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!("auto")),
        ("reasoning_effort", json!("high")),
        ("verbosity", json!("low")),
        ("web_search_options", json!({})),
    ] {
        assert_eq!(refused(&with_extra(field, value)), Some(field.to_owned()));
    }
}

#[test]
fn a_refused_field_is_the_streams_only_item() {
    let model = tiny();
    let mut request = base();
    request.tools = vec![tool()];
    assert!(Backend::accepts(&model, &request).is_err());
    let items: Vec<_> = model.chat(request).collect();
    assert_eq!(items.len(), 1);
    let error = items[0].as_ref().expect_err("refused");
    assert!(matches!(&error.kind, ErrorKind::Unsupported { field } if field == "tools"));
}

#[test]
fn devices_are_read_as_they_are_written() {
    for (name, device) in
        [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3))]
    {
        assert_eq!(name.parse(), Ok(device));
    }
    assert_eq!(Device::Cuda(3).to_string(), "cuda:3");
    for name in ["", "gpu", "cuda:", "cuda:+1", "cuda:99999999999", "CPU"] {
        assert_eq!(name.parse::<Device>(), Err(UnknownDevice(name.to_owned())));
    }
}
