//! Templates: what jinja2 prints (recorded), the limits, and whose control tokens count.
//!
//! The comparison with jinja2 itself, over many more templates, is in `tests/peers`.

mod language;
mod limits;
mod prompt;

use serde_json::{Map, Value, json};

use super::{ChatTemplate, RenderInput, TemplateError};

/// Renders with two messages and the given variables.
fn render_with(source: &str, variables: &Map<String, Value>) -> Result<String, TemplateError> {
    let messages = json!([{"role": "system", "content": " S "}, {"role": "user", "content": "é <x>\n"}]);
    ChatTemplate::new(source)?.render(&RenderInput {
        messages: &messages,
        tools: None,
        documents: None,
        add_generation_prompt: true,
        variables,
        now: Some(jiff::civil::date(2026, 8, 31).at(12, 30, 0, 0)),
    })
}

fn render(source: &str) -> Result<String, TemplateError> {
    render_with(source, &Map::new())
}
