//! Chunks in, events out: the meaning of OpenAI's chat answers.
//!
//! Owns the state of one answer: which choices have finished, their tool calls, the last usage seen. Does
//! not own framing ([`super::answer`]) nor the shapes on the wire ([`super::wire`]).

use std::collections::{BTreeMap, VecDeque};

use lockgate_api::{ErrorKind, Event, FinishReason, TokenLogprob, TopLogprob, Usage};
use serde_json::Value;

use super::tools::{Fragment, ToolCalls};
use super::usage::usage;
use super::wire::{Choice, Chunk, Delta, Logprobs, TokenWire};

/// Stands in for minus infinity, which JSON cannot carry: what vLLM sends.
const LOGPROB_MIN: f32 = -9999.0;

/// One answer as it is put together.
#[derive(Debug)]
pub(super) struct ChatState {
    /// How many choices were asked for.
    choices: u32,
    /// The model's name where the server gives none.
    model: String,
    /// Begins the ids of calls that the server gave none.
    call_prefix: String,
    started: bool,
    seen: BTreeMap<u32, ChoiceState>,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    calls: ToolCalls,
    finished: bool,
}

/// Why an answer cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ChatProblem {
    /// The server says that it failed.
    Said(Value),
    /// The server does not follow the protocol.
    Protocol(String),
}

impl ChatProblem {
    /// The kind of a problem with the protocol.
    pub(super) const PROTOCOL: ErrorKind = ErrorKind::Upstream;
}

fn protocol(what: impl Into<String>) -> ChatProblem {
    ChatProblem::Protocol(what.into())
}

impl ChatState {
    /// A new answer of `choices` choices by `model`. `call_prefix` should be unique to the request.
    pub(super) fn new(choices: u32, model: impl Into<String>, call_prefix: impl Into<String>) -> Self {
        Self {
            choices,
            model: model.into(),
            call_prefix: call_prefix.into(),
            started: false,
            seen: BTreeMap::new(),
            usage: None,
        }
    }

    /// Whether every choice has finished.
    pub(super) fn is_finished(&self) -> bool {
        self.seen.values().filter(|choice| choice.finished).count() == self.choices as usize
    }

    /// Whether every choice that has begun has finished, but fewer have begun than were asked for: the answer of a
    /// server that does not know `n`.
    pub(super) fn is_short(&self) -> bool {
        let (finished, of) = self.progress();
        finished > 0 && finished == self.seen.len() && finished < of as usize
    }

    /// Whether the answer has begun.
    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// How many choices have finished, and of how many.
    pub(super) fn progress(&self) -> (usize, u32) {
        (self.seen.values().filter(|choice| choice.finished).count(), self.choices)
    }

    /// The usage, once; the stream's last event.
    pub(super) fn take_usage(&mut self) -> Option<Event> {
        self.usage.take().map(Event::Usage)
    }

    /// Adds the events of one chunk to `events`. After a problem the answer is of no more use; events
    /// that were added before it still count.
    pub(super) fn chunk(
        &mut self,
        mut chunk: Chunk,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ChatProblem> {
        if let Some(error) = chunk.error.take().filter(is_meant) {
            return Err(ChatProblem::Said(error));
        }
        if let Some(wire) = &chunk.usage {
            // Some servers count in every chunk: the last count is the whole.
            self.usage = usage(wire).or(self.usage);
        }
        let Some(choices) = chunk.choices else { return Ok(()) };
        if !self.started {
            if let Some(error) =
                choices.iter().find_map(|choice| choice.error.as_ref()).filter(|error| is_meant(error))
            {
                return Err(ChatProblem::Said(error.clone()));
            }
            self.started = true;
            let model = chunk.model.filter(|model| !model.is_empty()).unwrap_or_else(|| self.model.clone());
            events.push_back(Event::Start { model });
        }
        for (position, choice) in choices.into_iter().enumerate() {
            self.choice(position, choice, events)?;
        }
        Ok(())
    }

    fn choice(
        &mut self,
        position: usize,
        choice: Choice,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ChatProblem> {
        let index = choice.index.or(u32::try_from(position).ok()).unwrap_or(u32::MAX);
        if index >= self.choices {
            return Err(protocol(format!("it sent choice {index}, but {} were asked for", self.choices)));
        }
        if let Some(error) = choice.error.filter(is_meant) {
            return Err(ChatProblem::Said(error));
        }
        let state = self.seen.entry(index).or_default();
        let before = events.len();
        if let Some(delta) = choice.delta.or(choice.message) {
            let prefix = &self.call_prefix;
            add_delta(index, state, delta, choice.logprobs, prefix, events)?;
        }
        if state.finished && events.len() > before {
            events.truncate(before);
            return Err(protocol(format!("it went on with choice {index} after that had finished")));
        }
        let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) else { return Ok(()) };
        if word == "error" {
            return Err(protocol("it ended the answer with the reason `error`"));
        }
        state.calls.finish().map_err(|problem| protocol(format!("it sent {problem}")))?;
        if !std::mem::replace(&mut state.finished, true) {
            let reason = finish_reason(&word, !state.calls.is_empty());
            events.push_back(Event::Finish { choice: index, reason });
        }
        Ok(())
    }
}

/// Whether an `error` field reports one, rather than that there is none.
fn is_meant(error: &Value) -> bool {
    !matches!(error, Value::Null | Value::Bool(false)) && error.as_str() != Some("")
}

fn add_delta(
    choice: u32,
    state: &mut ChoiceState,
    delta: Delta,
    logprobs: Option<Logprobs>,
    call_prefix: &str,
    events: &mut VecDeque<Event>,
) -> Result<(), ChatProblem> {
    // Some servers send the same reasoning under both names.
    let reasoning =
        if delta.reasoning_content.0.is_empty() { delta.reasoning.0 } else { delta.reasoning_content.0 };
    let reasons = !reasoning.is_empty();
    if reasons {
        events.push_back(Event::Reasoning { choice, text: reasoning });
    }
    let logprobs: Vec<_> = logprobs
        .and_then(|logprobs| logprobs.content)
        .unwrap_or_default()
        .into_iter()
        .map(token_logprob)
        .collect();
    // A token may hold part of a character: its text comes later, its probability now. Tokens of
    // reasoning have no place for theirs.
    if !delta.content.0.is_empty() || (!logprobs.is_empty() && !reasons) {
        events.push_back(Event::Text { choice, text: delta.content.0, logprobs });
    }
    if !delta.refusal.0.is_empty() {
        events.push_back(Event::Text { choice, text: delta.refusal.0, logprobs: Vec::new() });
    }
    for call in delta.tool_calls.unwrap_or_default() {
        let function = call.function.unwrap_or_default();
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        let fragment = Fragment {
            index: call.index,
            id: call.id.as_deref().unwrap_or_default(),
            name: function.name.as_deref().unwrap_or_default(),
            arguments: &arguments,
        };
        let piece = state
            .calls
            .add(fragment, |index| format!("{call_prefix}_{choice}_{index}"))
            .map_err(|problem| protocol(format!("it sent {problem}")))?;
        if let Some(piece) = piece {
            events.push_back(Event::ToolCall {
                choice,
                index: piece.index,
                id: piece.id,
                name: piece.name,
                arguments: piece.arguments,
            });
        }
    }
    Ok(())
}

fn token_logprob(mut token: TokenWire) -> TokenLogprob {
    let top = token.top_logprobs.take().unwrap_or_default().into_iter().map(top_logprob).collect();
    TokenLogprob { chosen: top_logprob(token), top }
}

fn top_logprob(token: TokenWire) -> TopLogprob {
    TopLogprob { token: token.token, bytes: token.bytes, logprob: token.logprob.unwrap_or(LOGPROB_MIN) }
}

fn finish_reason(word: &str, has_calls: bool) -> FinishReason {
    match word {
        // Some servers stop for a tool call without saying so.
        "stop" | "eos" | "stop_sequence" if has_calls => FinishReason::ToolCalls,
        "stop" | "eos" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.chars().take(64).collect()),
    }
}
