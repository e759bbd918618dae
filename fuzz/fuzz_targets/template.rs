//! A chat template of any text is compiled and rendered, or told off, within its steps and its output's limit.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lockgate_engine::template::{ChatTemplate, RenderInput};
use serde_json::{Map, Value, json};

struct Conversation {
    messages: Value,
    tools: Value,
    documents: Value,
    variables: Map<String, Value>,
}

fn conversation() -> Conversation {
    let call =
        json!({"function": {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2.5, null]}}});
    Conversation {
        messages: json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "How is it <there>? 🙂"}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "{\"sun\": true}", "name": "weather"},
        ]),
        tools: json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]),
        documents: json!([{"title": "A", "text": "B"}]),
        variables: Map::from_iter([
            ("bos_token".to_owned(), json!("<s>")),
            ("enable_thinking".to_owned(), json!(true)),
        ]),
    }
}

static CONVERSATION: OnceLock<Conversation> = OnceLock::new();

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source) else { return };
    let Conversation { messages, tools, documents, variables } = CONVERSATION.get_or_init(conversation);
    let input = RenderInput {
        messages,
        tools: Some(tools),
        documents: Some(documents),
        add_generation_prompt: true,
        variables,
        now: None,
    };
    let _ = template.render(&input);
});
