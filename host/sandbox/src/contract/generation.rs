//! The interface `generation`: prompts as plugins build them, and answers as they read them.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use lockgate_api::{
    BackendError, ChatRequest, Event, Events, FinishReason, Message, Part, Role, Sampling, ServiceError,
};
use serde_json::json;
use wasmtime::component::Resource;

use super::RequestHandle;
use super::bindings::router::lockgate::plugin::generation;
use super::bindings::router::lockgate::plugin::types;
use super::recorded::{Recalled, digest};
use crate::budget::Bill;
use crate::call::Call;
use crate::stop::Stop;

const STOPS_MAX: usize = 16;
/// Events that one call gives at most.
const EVENTS_MAX: u32 = 256;
/// What a picture is estimated to cost, in tokens.
const PICTURE_TOKENS: u64 = 1_000;

/// A conversation to put to a model.
#[derive(Debug, Default)]
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct Prompt {
    /// Whose messages come first.
    base: Option<Arc<ChatRequest>>,
    added: Vec<Message>,
    sampling: Sampling,
}

impl Prompt {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.base.is_none()
    }

    pub(super) fn max_tokens(&self) -> u32 {
        self.sampling.max_tokens.unwrap_or(u32::MAX)
    }

    /// The same for the same conversation and sampling, in a few characters.
    pub(super) fn digest(&self) -> String {
        digest(&(self.messages().collect::<Vec<_>>(), &self.sampling))
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        self.base.iter().flat_map(|base| &base.messages).chain(&self.added)
    }

    pub(super) fn estimate_tokens(&self) -> u64 {
        let of = |message: &Message| {
            let is_picture = |part: &&Part| matches!(part, Part::Image(_));
            let pictures = message.content.iter().filter(is_picture).count() as u64;
            (message.text_bytes() as u64).div_ceil(4) + pictures * PICTURE_TOKENS
        };
        self.messages().map(of).sum()
    }

    /// What is sent. Copies the conversation.
    pub(super) fn request(&self, target: &str, max_tokens: u32) -> Arc<ChatRequest> {
        let mut request = ChatRequest::new(target, self.messages().cloned().collect());
        request.sampling = Sampling { max_tokens: Some(max_tokens.max(1)), ..self.sampling.clone() };
        Arc::new(request)
    }
}

/// An answer that has begun.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct Generation {
    /// None when it is over.
    pub(super) events: Option<Events>,
    pub(super) bill: Option<Bill>,
    /// What is told when the events before it are read.
    pub(super) failure: Option<BackendError>,
}

impl Generation {
    /// One that a journal answers for.
    pub(super) fn recorded() -> Self {
        Self { events: None, bill: None, failure: None }
    }
}

impl generation::Host for Call {}

impl generation::HostPrompt for Call {
    fn new(&mut self) -> wasmtime::Result<Resource<Prompt>> {
        self.enter()?;
        self.prompts.insert(Prompt::default())
    }

    fn of_request(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Resource<Prompt>> {
        self.enter()?;
        let base = Arc::clone(self.request()?);
        // Each older version of a request that is being changed would be kept whole.
        let is_older = |prompt: &Prompt| prompt.base.as_ref().is_some_and(|older| !Arc::ptr_eq(older, &base));
        if self.prompts.values().any(is_older) {
            return Err(Stop::OlderPrompt.into());
        }
        self.prompts.insert(Prompt { base: Some(base), ..Prompt::default() })
    }

    fn add(&mut self, prompt: Resource<Prompt>, role: types::Role, text: String) -> wasmtime::Result<()> {
        self.enter_with(text.len())?;
        let role = match role {
            types::Role::System => Role::System,
            types::Role::Developer => Role::Developer,
            types::Role::Assistant => Role::Assistant,
            types::Role::User | types::Role::Tool | types::Role::Other(_) => Role::User,
        };
        self.prompts.get_mut(&prompt)?.added.push(Message::text(role, text));
        Ok(())
    }

    fn set_max_tokens(&mut self, prompt: Resource<Prompt>, tokens: u32) -> wasmtime::Result<()> {
        self.enter()?;
        self.prompts.get_mut(&prompt)?.sampling.max_tokens = Some(tokens.max(1));
        Ok(())
    }

    fn set_temperature(&mut self, prompt: Resource<Prompt>, temperature: f32) -> wasmtime::Result<()> {
        self.enter()?;
        let bounded = if temperature.is_nan() { 0.0 } else { temperature.clamp(0.0, 2.0) };
        self.prompts.get_mut(&prompt)?.sampling.temperature = Some(bounded);
        Ok(())
    }

    fn set_seed(&mut self, prompt: Resource<Prompt>, seed: u64) -> wasmtime::Result<()> {
        self.enter()?;
        self.prompts.get_mut(&prompt)?.sampling.seed = Some(seed);
        Ok(())
    }

    fn add_stop(&mut self, prompt: Resource<Prompt>, text: String) -> wasmtime::Result<()> {
        self.enter_with(text.len())?;
        let stops = &mut self.prompts.get_mut(&prompt)?.sampling.stop;
        if stops.len() == STOPS_MAX {
            return Err(Stop::Part { part: "stop texts", length: STOPS_MAX + 1, max: STOPS_MAX }.into());
        }
        if !text.is_empty() {
            stops.push(text);
        }
        Ok(())
    }

    fn drop(&mut self, prompt: Resource<Prompt>) -> wasmtime::Result<()> {
        // One that is older than this call is gone already.
        let _gone = self.prompts.remove(&prompt);
        Ok(())
    }
}

impl generation::HostGeneration for Call {
    async fn next(
        &mut self,
        handle: Resource<Generation>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<generation::Event>, generation::Error>> {
        self.enter()?;
        let noted = match self.recall("generation.next", || json!([handle.rep(), max])) {
            Recalled::Answer(told) => {
                self.generations.get_mut(&handle)?;
                self.hand_over(bytes_of(&told))?;
                return Ok(told);
            }
            Recalled::Unknown(noted) => noted,
        };
        // Out of the call while it waits, so that both can be used; with a call that is given up it is dropped.
        let mut generation = self.generations.remove(&handle)?;
        let told = self.next_of(&mut generation, max.clamp(1, EVENTS_MAX) as usize).await;
        self.generations.put_back(&handle, generation);
        self.check_breach()?;
        let told = told?;
        self.note(noted, &told);
        Ok(told)
    }

    fn drop(&mut self, generation: Resource<Generation>) -> wasmtime::Result<()> {
        if let Ok(mut generation) = self.generations.remove(&generation)
            && let Some(bill) = generation.bill.take()
        {
            self.budget.settle(bill, None);
        }
        Ok(())
    }
}

/// What a batch of events counts as handed over.
fn bytes_of(told: &Result<Vec<generation::Event>, generation::Error>) -> usize {
    let bytes = |event: &generation::Event| match event {
        generation::Event::Text(text) | generation::Event::Reasoning(text) => text.len(),
        _ => 0,
    };
    told.iter().flatten().map(bytes).sum()
}

impl Call {
    async fn next_of(
        &mut self,
        generation: &mut Generation,
        max: usize,
    ) -> wasmtime::Result<Result<Vec<generation::Event>, generation::Error>> {
        let mut told = Vec::new();
        while told.len() < max {
            let Some(events) = &mut generation.events else { break };
            let item = if told.is_empty() {
                match self.waiting(events.next()).await {
                    Ok(item) => item,
                    Err(error) => return Ok(Err(error)),
                }
            } else {
                // What is there already, and no more.
                match events.next().now_or_never() {
                    Some(item) => item,
                    None => break,
                }
            };
            match item {
                Some(Ok(event)) => self.take(generation, event, &mut told)?,
                Some(Err(error)) => {
                    generation.failure = Some(error);
                    self.end(generation, true);
                }
                None => self.end(generation, false),
            }
        }
        match generation.failure.take() {
            Some(error) if told.is_empty() => Ok(Err(self.failed(&ServiceError::Backend(error)))),
            failure => {
                generation.failure = failure;
                Ok(Ok(told))
            }
        }
    }

    fn take(
        &mut self,
        generation: &mut Generation,
        event: Event,
        told: &mut Vec<generation::Event>,
    ) -> wasmtime::Result<()> {
        let bytes = match &event {
            Event::Text { text, .. } | Event::Reasoning { text, .. } => text.len(),
            Event::ToolCall { arguments, .. } => arguments.len(),
            _ => 0,
        };
        if let Some(bill) = &mut generation.bill {
            bill.received(bytes);
        }
        self.hand_over(bytes)?;
        told.push(match event {
            Event::Start { .. } => return Ok(()),
            Event::Text { text, .. } => generation::Event::Text(text),
            Event::Reasoning { text, .. } => generation::Event::Reasoning(text),
            Event::ToolCall { .. } => generation::Event::Other("tool-call".to_owned()),
            Event::Finish { reason, .. } => generation::Event::Finish(match reason {
                FinishReason::Stop => generation::Finish::Stop,
                FinishReason::Length => generation::Finish::Length,
                FinishReason::ContentFilter => generation::Finish::ContentFilter,
                FinishReason::ToolCalls => generation::Finish::Other("tool-calls".to_owned()),
                FinishReason::Other(word) => generation::Finish::Other(word),
            }),
            Event::Usage(usage) => {
                if let Some(bill) = generation.bill.take() {
                    self.budget.settle(bill, Some(usage));
                }
                let (input, output) = (usage.prompt_total(), usage.completion_total());
                generation::Event::Usage(generation::Usage { input, output })
            }
        });
        Ok(())
    }

    fn end(&mut self, generation: &mut Generation, has_failed: bool) {
        generation.events = None;
        if let Some(bill) = generation.bill.take() {
            if has_failed {
                bill.failed();
            }
            self.budget.settle(bill, None);
        }
    }
}
