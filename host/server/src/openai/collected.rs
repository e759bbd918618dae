//! A whole answer: events gathered into one `chat.completion`.

use lockgate_api::{Event, FinishReason, TokenLogprob, Usage};
use serde::Serialize;

use super::wire::{FUNCTION, LogprobsBody, ResponseId, UsageBody, call_id, finish_words, to_json};
use crate::error::ApiError;

/// What has come of an answer.
pub(crate) struct Collected {
    model: String,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Choice {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
    logprobs: Vec<TokenLogprob>,
    finish: Option<FinishReason>,
}

#[derive(Default)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<ChoiceBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct ChoiceBody<'a> {
    index: u32,
    message: MessageBody<'a>,
    logprobs: Option<LogprobsBody<'a>>,
    finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
}

#[derive(Serialize)]
struct CallBody<'a> {
    id: String,
    r#type: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl Collected {
    /// Nothing yet of an answer of that many choices; at most `bytes_max` bytes are kept.
    pub(crate) fn new(choices: u32, bytes_max: usize) -> Self {
        let choices = (0..choices).map(|_| Choice::default()).collect();
        Self { model: String::new(), choices, usage: None, bytes: 0, bytes_max }
    }

    /// Adds an event. The gateway has checked that choices and calls come in order.
    ///
    /// # Errors
    /// 502 when the answer grows too large.
    pub(crate) fn push(&mut self, event: Event) -> Result<(), ApiError> {
        self.bytes = self.bytes.saturating_add(size_of_event(&event));
        if self.bytes > self.bytes_max {
            return Err(ApiError::answer_too_large(self.bytes_max));
        }
        match event {
            Event::Start { model } => self.model = model,
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Text { choice, text, logprobs } => {
                if let Some(choice) = self.choices.get_mut(choice as usize) {
                    append(&mut choice.content, text);
                    choice.logprobs.extend(logprobs);
                }
            }
            Event::Reasoning { choice, text } => {
                if let Some(choice) = self.choices.get_mut(choice as usize) {
                    append(&mut choice.reasoning, text);
                }
            }
            Event::ToolCall { choice, index, id, name, arguments } => {
                let Some(choice) = self.choices.get_mut(choice as usize) else { return Ok(()) };
                if index as usize == choice.calls.len() {
                    choice.calls.push(Call::default());
                }
                if let Some(call) = choice.calls.get_mut(index as usize) {
                    call.id = call.id.take().or(id);
                    append(&mut call.name, name.unwrap_or_default());
                    append(&mut call.arguments, arguments);
                }
            }
            Event::Finish { choice, reason } => {
                if let Some(choice) = self.choices.get_mut(choice as usize) {
                    choice.finish = Some(reason);
                }
            }
        }
        Ok(())
    }

    /// The whole answer.
    pub(crate) fn into_body(self, id: &ResponseId) -> Vec<u8> {
        let choices = (0_u32..).zip(&self.choices).map(|(index, choice)| choice.body(index, id)).collect();
        to_json(&Completion {
            id: &id.id,
            object: "chat.completion",
            created: id.created,
            model: &self.model,
            choices,
            usage: self.usage.map(UsageBody::from),
        })
    }
}

impl Choice {
    fn body(&self, index: u32, id: &ResponseId) -> ChoiceBody<'_> {
        let call =
            |(place, call): (u32, &'_ Call)| call.id.clone().unwrap_or_else(|| call_id(id, index, place));
        let calls = (0_u32..).zip(&self.calls).map(|(place, made)| CallBody {
            id: call((place, made)),
            r#type: FUNCTION,
            function: FunctionBody { name: &made.name, arguments: &made.arguments },
        });
        let tool_calls: Vec<_> = calls.collect();
        let silent = self.content.is_empty() && !tool_calls.is_empty();
        let (word, native) = self.finish.as_ref().map(finish_words).unzip();
        ChoiceBody {
            index,
            message: MessageBody {
                role: "assistant",
                content: (!silent).then_some(self.content.as_str()),
                reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning.as_str()),
                refusal: None,
                tool_calls,
            },
            logprobs: (!self.logprobs.is_empty()).then(|| LogprobsBody::new(&self.logprobs)),
            finish_reason: word,
            native_finish_reason: native.flatten(),
        }
    }
}

/// The first piece is taken as it is.
fn append(text: &mut String, more: String) {
    if text.is_empty() { *text = more } else { text.push_str(&more) }
}

/// Roughly what an event takes in memory.
fn size_of_event(event: &Event) -> usize {
    let text = match event {
        Event::Start { model } => model.len(),
        Event::Text { text, logprobs, .. } => {
            let alternatives = |token: &TokenLogprob| (1 + token.top.len()) * 64;
            text.len() + logprobs.iter().map(alternatives).sum::<usize>()
        }
        Event::Reasoning { text, .. } => text.len(),
        Event::ToolCall { id, name, arguments, .. } => {
            id.as_deref().map_or(0, str::len) + name.as_deref().map_or(0, str::len) + arguments.len()
        }
        Event::Finish { .. } | Event::Usage(_) => 0,
    };
    text + 16
}

#[cfg(test)]
mod tests;
