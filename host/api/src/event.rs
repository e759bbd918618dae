//! The one event type: what a target answers, independent of the wire that it came over.
//!
//! A well-formed stream is [`Event::Start`] first, then deltas, then one [`Event::Finish`] a choice and
//! at most one [`Event::Usage`], which is last. A stream that ends before every choice has finished was
//! cut, and whoever reads it must say so ([`crate::ErrorKind::Cut`]); the end alone proves nothing.

use serde::{Deserialize, Serialize};

/// One step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The target has begun to answer: the request is accepted, so no other target is tried after it.
    Start {
        /// The model that answers, as the target names it.
        model: String,
    },
    /// More text of a choice.
    Text {
        /// Which choice, from 0.
        choice: u32,
        /// Whole characters, never part of one.
        text: String,
        /// The tokens that this text came from, where log-probabilities were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// More of the model's reasoning.
    Reasoning {
        /// Which choice, from 0.
        choice: u32,
        /// Whole characters.
        text: String,
    },
    /// More of a tool call.
    ToolCall {
        /// Which choice, from 0.
        choice: u32,
        /// Which call of this choice: dense, from 0.
        index: u32,
        /// Its id, in the call's first event.
        id: Option<String>,
        /// Its tool, in the call's first event.
        name: Option<String>,
        /// More of its arguments' JSON text.
        arguments: String,
    },
    /// A choice has ended.
    Finish {
        /// Which choice, from 0.
        choice: u32,
        /// Why.
        reason: FinishReason,
    },
    /// What the answer took; the stream's last event.
    Usage(Usage),
}

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done, or a stop string was reached.
    Stop,
    /// The token limit or the context was reached.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// The target's own filter, or the model, withheld the rest.
    ContentFilter,
    /// Anything else, in the target's own word.
    Other(String),
}

/// Tokens of one request in disjoint buckets: their sum is everything that was processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that were computed, not read from a cache.
    pub input: u64,
    /// Prompt tokens read from the target's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the target's cache.
    pub cache_write: u64,
    /// Tokens generated, without reasoning.
    pub output: u64,
    /// Tokens of reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// All tokens of the prompt.
    pub fn prompt_total(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// All tokens generated.
    pub fn completion_total(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}

/// A generated token with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token and its natural log-probability in the raw distribution.
    pub chosen: TopLogprob,
    /// The most likely tokens at this place, most likely first.
    pub top: Vec<TopLogprob>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLogprob {
    /// Its text; a token that is part of a character is shown with U+FFFD.
    pub token: String,
    /// Its bytes, where the target gives them.
    pub bytes: Option<Vec<u8>>,
    /// Natural logarithm of its probability before sampling parameters.
    pub logprob: f32,
}
