//! A well-formed answer of Converse, as a stream of events or as one document.

use std::time::Duration;

use serde_json::{Value, json};

use super::frames::event;
use crate::script::{Raw, Step};

/// What a model says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Blocks in order.
    pub blocks: Vec<Block>,
    /// The stop reason.
    pub stop_reason: String,
    /// The `usage` object.
    pub usage: Value,
    /// How long to wait before each event.
    pub between: Duration,
}

/// A content block.
#[derive(Clone, Debug)]
pub enum Block {
    /// Pieces of text.
    Text(Vec<String>),
    /// Pieces of reasoning, and its signature.
    Reasoning(Vec<String>, String),
    /// A call: id, name and its input's JSON text.
    Tool(String, String, String),
}

impl Answer {
    /// An answer of these pieces of text.
    pub fn text(pieces: &[&str]) -> Self {
        Self::blocks(vec![Block::Text(pieces.iter().map(|&piece| piece.to_owned()).collect())], "end_turn")
    }

    /// An answer that calls tools: id, name and input of each.
    pub fn tools(calls: &[(&str, &str, &str)]) -> Self {
        let block = |(id, name, input): &(&str, &str, &str)| {
            Block::Tool((*id).to_owned(), (*name).to_owned(), (*input).to_owned())
        };
        Self::blocks(calls.iter().map(block).collect(), "tool_use")
    }

    /// An answer of these blocks.
    pub fn blocks(blocks: Vec<Block>, stop_reason: &str) -> Self {
        Self {
            blocks,
            stop_reason: stop_reason.to_owned(),
            usage: json!({"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}),
            between: Duration::ZERO,
        }
    }

    /// The answer of ConverseStream.
    pub fn stream(&self) -> Raw {
        let mut steps = Vec::new();
        for frame in self.frames() {
            if !self.between.is_zero() {
                steps.push(Step::Wait(self.between));
            }
            steps.push(Step::Bytes(frame));
        }
        Raw::ok("application/vnd.amazon.eventstream", steps)
    }

    /// The events of ConverseStream.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = vec![event("messageStart", &json!({"role": "assistant"}))];
        for (index, block) in self.blocks.iter().enumerate() {
            let delta = |delta: Value| {
                event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}))
            };
            match block {
                Block::Text(pieces) => {
                    frames.extend(pieces.iter().map(|piece| delta(json!({"text": piece}))))
                }
                Block::Reasoning(pieces, signature) => {
                    frames.extend(
                        pieces.iter().map(|piece| delta(json!({"reasoningContent": {"text": piece}}))),
                    );
                    frames.push(delta(json!({"reasoningContent": {"signature": signature}})));
                }
                Block::Tool(id, name, input) => {
                    let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                    frames.push(event(
                        "contentBlockStart",
                        &json!({"contentBlockIndex": index, "start": start}),
                    ));
                    let middle = input.char_indices().nth(input.chars().count() / 2).map_or(0, |(at, _)| at);
                    frames.push(delta(json!({"toolUse": {"input": input[..middle]}})));
                    frames.push(delta(json!({"toolUse": {"input": input[middle..]}})));
                }
            }
            frames.push(event("contentBlockStop", &json!({"contentBlockIndex": index})));
        }
        frames.push(event("messageStop", &json!({"stopReason": self.stop_reason})));
        frames.push(event("metadata", &json!({"usage": self.usage, "metrics": {"latencyMs": 1}})));
        frames
    }

    /// The answer of Converse.
    pub fn document(&self) -> Value {
        let block = |block: &Block| match block {
            Block::Text(pieces) => json!({"text": pieces.concat()}),
            Block::Reasoning(pieces, signature) => {
                json!({"reasoningContent": {"reasoningText": {"text": pieces.concat(), "signature": signature}}})
            }
            Block::Tool(id, name, input) => {
                let input: Value = serde_json::from_str(input).expect("the script's input is JSON");
                json!({"toolUse": {"toolUseId": id, "name": name, "input": input}})
            }
        };
        let content: Vec<Value> = self.blocks.iter().map(block).collect();
        json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self.stop_reason, "usage": self.usage, "metrics": {"latencyMs": 1},
        })
    }
}
