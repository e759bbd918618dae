//! Converse's events in, ours out.
//!
//! Owns the state of one answer. Blocks are numbered over text, reasoning and calls together, so calls get
//! dense indices of their own. The stop reason is held until `metadata`, which follows it, has brought
//! the usage.

use std::collections::{HashMap, VecDeque};

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput as Document;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConverseOutput, ConverseStreamOutput,
    ReasoningContentBlock, ReasoningContentBlockDelta, StopReason, TokenUsage,
};
use lockgate_api::{Event, FinishReason, Usage};

use super::document::to_value;

/// One answer as it arrives.
#[derive(Debug)]
pub(super) struct ConverseState {
    model: String,
    started: bool,
    /// Calls by their block's index.
    calls: HashMap<i32, Call>,
    stop: Option<StopReason>,
    done: bool,
}

#[derive(Debug)]
struct Call {
    index: u32,
    has_input: bool,
}

/// An answer that does not follow Converse's protocol, in words about the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConverseProblem {
    /// It sent something that makes no sense, or that no event can carry.
    Protocol(String),
    /// It ended before it had stopped.
    Cut(String),
}

impl ConverseState {
    /// A new answer of `model`.
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), started: false, calls: HashMap::new(), stop: None, done: false }
    }

    /// Whether the answer is complete.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Adds what one event of a stream means.
    pub(super) fn event(
        &mut self,
        event: ConverseStreamOutput,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ConverseProblem> {
        match event {
            ConverseStreamOutput::MessageStart(_) => self.start(events),
            ConverseStreamOutput::ContentBlockStart(start) => match start.start {
                Some(ContentBlockStart::ToolUse(call)) => {
                    self.begin_call(start.content_block_index, call.tool_use_id, call.name, events)?;
                }
                None => {}
                Some(_) => return Err(unreadable()),
            },
            ConverseStreamOutput::ContentBlockDelta(delta) => {
                if let Some(inner) = delta.delta {
                    self.delta(delta.content_block_index, inner, events)?;
                }
            }
            ConverseStreamOutput::ContentBlockStop(stop) => self.end_block(stop.content_block_index, events),
            ConverseStreamOutput::MessageStop(stop) => {
                self.start(events);
                self.stop = Some(stop.stop_reason);
            }
            ConverseStreamOutput::Metadata(metadata) => {
                let usage = metadata.usage.as_ref().map(usage);
                match self.stop.take() {
                    Some(reason) => self.finish(&reason, usage, events),
                    None => {
                        return Err(ConverseProblem::Cut(
                            "the stream ended without a stop reason".to_owned(),
                        ));
                    }
                }
            }
            // A kind of event that is newer than this.
            _ => {}
        }
        Ok(())
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), ConverseProblem> {
        match self.stop.take() {
            _ if self.done => Ok(()),
            // Everything but the usage has come.
            Some(reason) => {
                self.finish(&reason, None, events);
                Ok(())
            }
            None if self.started => {
                Err(ConverseProblem::Cut("the stream ended before the answer did".to_owned()))
            }
            None => Err(ConverseProblem::Cut("the stream ended before an answer began".to_owned())),
        }
    }

    /// Adds a whole answer that came as one document.
    pub(super) fn document(
        &mut self,
        document: Document,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ConverseProblem> {
        self.start(events);
        let Some(ConverseOutput::Message(message)) = document.output else {
            return Err(ConverseProblem::Protocol("the answer holds no message".to_owned()));
        };
        for (index, block) in (0i32..).zip(message.content) {
            match block {
                ContentBlock::Text(text) => push_text(text, events),
                ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(text)) => {
                    push_reasoning(text.text, events);
                }
                // Signatures, hidden reasoning and citations have no place in an event.
                ContentBlock::ReasoningContent(_) | ContentBlock::CachePoint(_) => {}
                ContentBlock::CitationsContent(citations) => {
                    use aws_sdk_bedrockruntime::types::CitationGeneratedContent::Text;
                    for generated in citations.content.unwrap_or_default() {
                        let Text(text) = generated else { return Err(unreadable()) };
                        push_text(text, events);
                    }
                }
                ContentBlock::ToolUse(call) => {
                    self.begin_call(index, call.tool_use_id, call.name, events)?;
                    self.add_input(index, to_value(&call.input).to_string(), events)?;
                }
                _ => return Err(unreadable()),
            }
        }
        self.finish(&document.stop_reason, document.usage.as_ref().map(usage), events);
        Ok(())
    }

    fn start(&mut self, events: &mut VecDeque<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            events.push_back(Event::Start { model: self.model.clone() });
        }
    }

    fn delta(
        &mut self,
        block: i32,
        delta: ContentBlockDelta,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ConverseProblem> {
        self.start(events);
        match delta {
            ContentBlockDelta::Text(text) => push_text(text, events),
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(text)) => {
                push_reasoning(text, events);
            }
            ContentBlockDelta::ReasoningContent(_) | ContentBlockDelta::Citation(_) => {}
            ContentBlockDelta::ToolUse(call) => self.add_input(block, call.input, events)?,
            _ => return Err(unreadable()),
        }
        Ok(())
    }

    fn begin_call(
        &mut self,
        block: i32,
        id: String,
        name: String,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ConverseProblem> {
        self.start(events);
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        if self.calls.insert(block, Call { index, has_input: false }).is_some() {
            return Err(ConverseProblem::Protocol(format!("block {block} began twice")));
        }
        events.push_back(Event::ToolCall {
            choice: 0,
            index,
            id: Some(id),
            name: Some(name),
            arguments: String::new(),
        });
        Ok(())
    }

    fn add_input(
        &mut self,
        block: i32,
        input: String,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ConverseProblem> {
        let call = self
            .calls
            .get_mut(&block)
            .ok_or_else(|| ConverseProblem::Protocol(format!("block {block} went on before it had begun")))?;
        if !input.is_empty() {
            call.has_input = true;
            events.push_back(Event::ToolCall {
                choice: 0,
                index: call.index,
                id: None,
                name: None,
                arguments: input,
            });
        }
        Ok(())
    }

    /// A call without any input has none to give; its JSON is still an object.
    fn end_block(&mut self, block: i32, events: &mut VecDeque<Event>) {
        if let Some(call) = self.calls.get_mut(&block)
            && !std::mem::replace(&mut call.has_input, true)
        {
            events.push_back(Event::ToolCall {
                choice: 0,
                index: call.index,
                id: None,
                name: None,
                arguments: "{}".to_owned(),
            });
        }
    }

    fn finish(&mut self, reason: &StopReason, usage: Option<Usage>, events: &mut VecDeque<Event>) {
        self.done = true;
        events.push_back(Event::Finish { choice: 0, reason: finish_reason(reason) });
        events.extend(usage.map(Event::Usage));
    }
}

fn unreadable() -> ConverseProblem {
    ConverseProblem::Protocol("it sent a kind of content that a chat answer cannot carry".to_owned())
}

fn push_text(text: String, events: &mut VecDeque<Event>) {
    if !text.is_empty() {
        events.push_back(Event::Text { choice: 0, text, logprobs: Vec::new() });
    }
}

fn push_reasoning(text: String, events: &mut VecDeque<Event>) {
    if !text.is_empty() {
        events.push_back(Event::Reasoning { choice: 0, text });
    }
}

fn finish_reason(reason: &StopReason) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence => FinishReason::Stop,
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => FinishReason::Length,
        StopReason::ToolUse => FinishReason::ToolCalls,
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => FinishReason::ContentFilter,
        other => FinishReason::Other(other.as_str().to_owned()),
    }
}

/// Converse counts cached tokens beside the others, and reasoning inside the output.
fn usage(usage: &TokenUsage) -> Usage {
    let count = |tokens: i32| u64::try_from(tokens).unwrap_or(0);
    Usage {
        input: count(usage.input_tokens),
        cache_read: count(usage.cache_read_input_tokens.unwrap_or(0)),
        cache_write: count(usage.cache_write_input_tokens.unwrap_or(0)),
        output: count(usage.output_tokens),
        reasoning: 0,
    }
}

#[cfg(test)]
mod tests;
