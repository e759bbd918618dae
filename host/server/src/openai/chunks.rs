//! A streamed answer: each event as the `chat.completion.chunk` that says it, framed as a server-sent
//! event.
//!
//! A whole answer ends with `data: [DONE]`; one that broke off ends with an `error` object and without
//! that mark, so that no client takes it for whole.

use lockgate_api::{Event, Usage};
use serde::Serialize;

use super::wire::{
    ErrorBody, FUNCTION, LogprobsBody, ResponseId, UsageBody, call_id, finish_words, write_json,
};
use crate::error::ApiError;

/// Writes one answer's chunks.
pub(crate) struct ChunkEncoder {
    id: ResponseId,
    model: String,
    /// How many tool calls each choice has begun.
    calls: Vec<u32>,
    include_usage: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// Where the client asked for it: `null` in every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<LogprobsBody<'a>>,
    finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
}

impl<'a> ChunkChoice<'a> {
    fn of(index: u32, delta: Delta<'a>) -> Self {
        Self { index, delta, logprobs: None, finish_reason: None, native_finish_reason: None }
    }
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    /// `Some(())` is written as `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChunkEncoder {
    /// An encoder for an answer of that many choices.
    pub(crate) fn new(id: ResponseId, choices: u32, include_usage: bool) -> Self {
        Self { id, model: String::new(), calls: vec![0; choices as usize], include_usage }
    }

    /// Appends what an event says.
    pub(crate) fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { model } => {
                self.model.clone_from(model);
                for choice in 0..self.calls.len() as u32 {
                    let role = Delta {
                        role: Some("assistant"),
                        content: Some(""),
                        refusal: Some(()),
                        ..Delta::default()
                    };
                    self.write(&[ChunkChoice::of(choice, role)], out);
                }
            }
            Event::Text { choice, text, logprobs } => {
                let delta = Delta { content: Some(text), ..Delta::default() };
                let logprobs = (!logprobs.is_empty()).then(|| LogprobsBody::new(logprobs));
                self.write(&[ChunkChoice { logprobs, ..ChunkChoice::of(*choice, delta) }], out);
            }
            Event::Reasoning { choice, text } => {
                let delta = Delta { reasoning_content: Some(text), ..Delta::default() };
                self.write(&[ChunkChoice::of(*choice, delta)], out);
            }
            Event::ToolCall { choice, index, id, name, arguments } => {
                let begun = self.calls.get_mut(*choice as usize);
                let first = begun.is_some_and(|begun| {
                    let first = *index >= *begun;
                    *begun = (*begun).max(index.saturating_add(1));
                    first
                });
                let made = (first && id.is_none()).then(|| call_id(&self.id, *choice, *index));
                let call = CallDelta {
                    index: *index,
                    id: id.as_deref().or(made.as_deref()),
                    r#type: first.then_some(FUNCTION),
                    function: FunctionDelta { name: name.as_deref(), arguments },
                };
                let delta = Delta { tool_calls: Some([call]), ..Delta::default() };
                self.write(&[ChunkChoice::of(*choice, delta)], out);
            }
            Event::Finish { choice, reason } => {
                let (word, native) = finish_words(reason);
                let end = ChunkChoice {
                    finish_reason: Some(word),
                    native_finish_reason: native,
                    ..ChunkChoice::of(*choice, Delta::default())
                };
                self.write(&[end], out);
            }
            Event::Usage(usage) => {
                if self.include_usage {
                    self.write_with_usage(&[], Some(*usage), out);
                }
            }
        }
    }

    /// Appends the mark of a whole answer.
    pub(crate) fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Appends why the answer breaks off.
    pub(crate) fn error(&self, error: &ApiError, out: &mut Vec<u8>) {
        frame(&ErrorBody::from(error), out);
    }

    fn write(&self, choices: &[ChunkChoice<'_>], out: &mut Vec<u8>) {
        self.write_with_usage(choices, None, out);
    }

    fn write_with_usage(&self, choices: &[ChunkChoice<'_>], usage: Option<Usage>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id.id,
            object: "chat.completion.chunk",
            created: self.id.created,
            model: &self.model,
            choices,
            usage: self.include_usage.then(|| usage.map(UsageBody::from)),
        };
        frame(&chunk, out);
    }
}

/// JSON has no raw line break, so one line holds it.
fn frame(value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    write_json(out, value);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
