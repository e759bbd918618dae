//! Puts back what placeholders stand for, in text that comes in chunks. Pure.

use std::collections::BTreeMap;

use crate::json;
use crate::redact::placeholder_at;

/// Restores one run of text after the other.
#[derive(Debug, Default)]
pub(crate) struct Restorer {
    values: BTreeMap<String, String>,
    /// What may be the beginning of a placeholder: shorter than one.
    tail: String,
}

impl Restorer {
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        Self { values, tail: String::new() }
    }

    /// What the chunk becomes, with what was waiting before it; none when it stays as it is. In JSON what is
    /// put back is written as a part of a string.
    pub(crate) fn chunk(&mut self, chunk: &str, is_json: bool) -> Option<String> {
        if self.tail.is_empty() && !chunk.contains('[') {
            return None;
        }
        let text = std::mem::take(&mut self.tail) + chunk;
        let mut restored = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find('[') {
            restored.push_str(&rest[..at]);
            rest = &rest[at..];
            let known = placeholder_at(rest).and_then(|found| self.values.get_key_value(found));
            if let Some((placeholder, value)) = known {
                if is_json {
                    json::escape(&mut restored, value)
                } else {
                    restored.push_str(value)
                }
                rest = &rest[placeholder.len()..];
            } else if self.may_begin(rest) {
                self.tail = rest.to_owned();
                rest = "";
            } else {
                restored.push('[');
                rest = &rest[1..];
            }
        }
        restored.push_str(rest);
        Some(restored)
    }

    /// What is still waiting when the run ends; none when there is nothing.
    pub(crate) fn rest(&mut self) -> Option<String> {
        (!self.tail.is_empty()).then(|| std::mem::take(&mut self.tail))
    }

    /// Whether a text is the beginning of a placeholder, and not all of one.
    fn may_begin(&self, text: &str) -> bool {
        let next = self.values.range(text.to_owned()..).next();
        next.is_some_and(|(placeholder, _)| placeholder.len() > text.len() && placeholder.starts_with(text))
    }
}
