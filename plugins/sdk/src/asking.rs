//! What a plugin asks a model, and how it reads the answer: the interface `generation` as plain Rust.

use std::fmt;

use crate::facts::Request;
use crate::reviewing::Finish;
use crate::types::Role;

#[cfg(target_family = "wasm")]
use crate::guest::asking as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::asking as host;

/// A conversation to put to a model.
pub struct Prompt(pub(crate) host::Prompt);

impl Prompt {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "each is a call of the host")]
    pub fn new() -> Self {
        Self(host::Prompt::new())
    }

    /// One message of the user's.
    pub fn user(text: &str) -> Self {
        Self::new().add(Role::User, text)
    }

    /// The conversation at hand, which stays in the host.
    pub fn of(request: &impl Request) -> Self {
        Self(host::Prompt::of(request))
    }

    /// The same prompt with a message more. A tool's counts as the user's.
    #[must_use]
    pub fn add(self, role: Role, text: &str) -> Self {
        self.0.add(role, text);
        self
    }

    /// The same prompt for an answer of at most so many tokens.
    #[must_use]
    pub fn max_tokens(self, tokens: u32) -> Self {
        self.0.set_max_tokens(tokens);
        self
    }

    /// The same prompt with a temperature, 0 to 2.
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        self.0.set_temperature(temperature);
        self
    }

    /// The same prompt with a seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.0.set_seed(seed);
        self
    }

    /// The same prompt for an answer that ends before this text.
    #[must_use]
    pub fn stop(self, text: &str) -> Self {
        self.0.add_stop(text);
        self
    }
}

/// Why an ask has no answer. The interface `generation` says what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// No grant names the target, or its price is not known.
    Denied,
    /// A label on the request does not permit it.
    ForbiddenByLabels,
    /// The target cannot do this.
    Unsupported,
    /// It does not fit into the target's context.
    ContextExceeded,
    /// Too many asks at once.
    Overloaded,
    /// The target does not answer.
    Unavailable,
    /// The time to wait is over.
    Timeout,
    /// It would take more than the plugin may spend.
    Limit,
    /// The target failed.
    Failed,
    /// A reason that this crate does not know.
    Other(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Denied => "denied",
            Self::ForbiddenByLabels => "forbidden by labels",
            Self::Unsupported => "unsupported",
            Self::ContextExceeded => "context exceeded",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Failed => "failed",
            Self::Other(reason) => reason,
        })
    }
}

impl std::error::Error for AskError {}

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More text.
    Text(String),
    /// More reasoning.
    Reasoning(String),
    /// The answer has ended.
    Finish(Finish),
    /// What it took, in tokens.
    Usage {
        /// Of the prompt.
        input: u64,
        /// Of the answer.
        output: u64,
    },
    /// A step that this crate does not know.
    Other(String),
}

/// An answer that has begun. Dropping it abandons the work. Keep it no longer than the call.
pub struct Generation(pub(crate) host::Generation);

impl Generation {
    /// The next events, at most `max`: waits for the first alone. None are the end.
    ///
    /// # Errors
    /// [`AskError`]; nothing follows then.
    pub fn next(&mut self, max: u32) -> Result<Vec<Event>, AskError> {
        self.0.next(max)
    }

    /// All of its text, reasoning left out.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn text(mut self) -> Result<String, AskError> {
        let mut text = String::new();
        loop {
            let events = self.next(64)?;
            if events.is_empty() {
                return Ok(text);
            }
            for event in events {
                if let Event::Text(more) = event {
                    text.push_str(&more);
                }
            }
        }
    }
}

/// How likely a model holds a continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Natural logarithm of the probability of all its tokens.
    pub log_probability: f64,
    /// Its tokens, at least 1.
    pub tokens: u32,
}

/// The models on this machine. A component that calls any of this needs a grant `inference:MODEL`.
pub mod inference {
    use super::{AskError, Generation, Likelihood, Prompt, host};

    /// Begins an answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn generate(model: &str, prompt: &Prompt) -> Result<Generation, AskError> {
        host::generate(model, &prompt.0).map(Generation)
    }

    /// How likely the model holds each of these beginnings of its answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn choose(model: &str, prompt: &Prompt, continuations: &[&str]) -> Result<Vec<Likelihood>, AskError> {
        host::choose(model, &prompt.0, continuations)
    }

    /// One vector of length 1 a text.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn embed(model: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
        host::embed(model, texts)
    }

    /// The exact number of the prompt's tokens.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn count_tokens(model: &str, prompt: &Prompt) -> Result<u64, AskError> {
        host::count_tokens(model, &prompt.0)
    }
}

/// Targets beyond this machine. A component that calls any of this needs a grant `cloud:TARGET`.
pub mod cloud {
    use super::{AskError, Generation, Prompt, host};

    /// Begins an answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn generate(target: &str, prompt: &Prompt) -> Result<Generation, AskError> {
        host::generate_in_cloud(target, &prompt.0).map(Generation)
    }

    /// One vector a text.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn embed(target: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
        host::embed_in_cloud(target, texts)
    }
}
