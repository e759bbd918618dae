//! The seam for asks: generation, inference, cloud.

use super::bindings::router::lockgate::plugin::{cloud, generation, inference, request, types as wire};
use crate::asking::{AskError, Event, Likelihood};
use crate::facts::Request;
use crate::reviewing::Finish;
use crate::types::Role;

/// A prompt in the host.
pub(crate) struct Prompt(generation::Prompt);

impl Prompt {
    pub(crate) fn new() -> Self {
        Self(generation::Prompt::new())
    }

    pub(crate) fn of(request: &impl Request) -> Self {
        // Every request of a component is the host's own.
        Self(match request.handle() {
            Some(handle) => generation::Prompt::of_request(handle),
            None => generation::Prompt::new(),
        })
    }

    pub(crate) fn add(&self, role: Role, text: &str) {
        let role = match role {
            Role::System => wire::Role::System,
            Role::Developer => wire::Role::Developer,
            Role::User => wire::Role::User,
            Role::Assistant => wire::Role::Assistant,
            Role::Tool => wire::Role::Tool,
            Role::Other(name) => wire::Role::Other(name),
        };
        self.0.add(&role, text);
    }

    pub(crate) fn set_max_tokens(&self, tokens: u32) {
        self.0.set_max_tokens(tokens);
    }

    pub(crate) fn set_temperature(&self, temperature: f32) {
        self.0.set_temperature(temperature);
    }

    pub(crate) fn set_seed(&self, seed: u64) {
        self.0.set_seed(seed);
    }

    pub(crate) fn add_stop(&self, text: &str) {
        self.0.add_stop(text);
    }
}

/// A generation in the host.
pub(crate) struct Generation(generation::Generation);

impl Generation {
    pub(crate) fn next(&mut self, max: u32) -> Result<Vec<Event>, AskError> {
        let events = self.0.next(max).map_err(from_error)?;
        Ok(events.into_iter().map(from_event).collect())
    }
}

pub(crate) fn generate(model: &str, prompt: &Prompt) -> Result<Generation, AskError> {
    inference::generate(model, &prompt.0).map(Generation).map_err(from_error)
}

pub(crate) fn choose(
    model: &str,
    prompt: &Prompt,
    continuations: &[&str],
) -> Result<Vec<Likelihood>, AskError> {
    let likelihood =
        |one: inference::Likelihood| Likelihood { log_probability: one.log_probability, tokens: one.tokens };
    let all = inference::choose(model, &prompt.0, &owned(continuations)).map_err(from_error)?;
    Ok(all.into_iter().map(likelihood).collect())
}

pub(crate) fn embed(model: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
    inference::embed(model, &owned(texts)).map_err(from_error)
}

pub(crate) fn count_tokens(model: &str, prompt: &Prompt) -> Result<u64, AskError> {
    inference::count_tokens(model, &prompt.0).map_err(from_error)
}

pub(crate) fn generate_in_cloud(target: &str, prompt: &Prompt) -> Result<Generation, AskError> {
    cloud::generate(target, &prompt.0).map(Generation).map_err(from_error)
}

pub(crate) fn embed_in_cloud(target: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
    cloud::embed(target, &owned(texts)).map_err(from_error)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn from_event(event: generation::Event) -> Event {
    match event {
        generation::Event::Text(text) => Event::Text(text),
        generation::Event::Reasoning(text) => Event::Reasoning(text),
        generation::Event::Finish(finish) => Event::Finish(match finish {
            generation::Finish::Stop => Finish::Stop,
            generation::Finish::Length => Finish::Length,
            generation::Finish::ContentFilter => Finish::ContentFilter,
            generation::Finish::Other(word) => Finish::Other(word),
        }),
        generation::Event::Usage(usage) => Event::Usage { input: usage.input, output: usage.output },
        generation::Event::Other(name) => Event::Other(name),
    }
}

fn from_error(error: generation::Error) -> AskError {
    match error {
        generation::Error::Denied => AskError::Denied,
        generation::Error::ForbiddenByLabels => AskError::ForbiddenByLabels,
        generation::Error::Unsupported => AskError::Unsupported,
        generation::Error::ContextExceeded => AskError::ContextExceeded,
        generation::Error::Overloaded => AskError::Overloaded,
        generation::Error::Unavailable => AskError::Unavailable,
        generation::Error::Timeout => AskError::Timeout,
        generation::Error::Limit => AskError::Limit,
        generation::Error::Failed => AskError::Failed,
        generation::Error::Other(reason) => AskError::Other(reason),
    }
}

/// What a request is in the host.
pub type Handle = request::Request;
