//! A request to tokens and checked parameters: template, tokenizer, context, sampling. Pure but for the date that
//! templates may ask for. Runs on the runner's own thread, since a long prompt takes a while.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use lockgate_api::{BackendError, ChatRequest, ErrorKind, Message, Role, Sampling};
use serde_json::{Map, Value, json};

use super::CompletionRequest;
use crate::adapter::Adapter;
use crate::runner::Ask;
use crate::sampler::Parameters;
use crate::template::{PromptTemplate, RenderInput, TemplateError};
use crate::tokenizer::{Specials, Tokenizer};

/// What turns requests into prompts for one target.
#[derive(Clone, Debug)]
pub(super) struct Prompts {
    pub(super) id: Arc<str>,
    /// What the answers are computed with.
    pub(super) adapter: Option<Arc<Adapter>>,
    pub(super) tokenizer: Arc<Tokenizer>,
    /// `None` for a model that was not made for conversations.
    pub(super) template: Option<Arc<PromptTemplate>>,
    /// A system message for conversations that do not begin with one.
    pub(super) system: Option<Arc<str>>,
    /// Tokens of prompt and answer together.
    pub(super) context_tokens: usize,
    /// What requests leave open; its stop strings end every answer.
    pub(super) sampling: Sampling,
}

impl Prompts {
    /// A conversation, through the model's own template.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] with the field, [`ErrorKind::ContextExceeded`] with both counts.
    pub(super) fn chat(&self, request: &ChatRequest) -> Result<Ask, BackendError> {
        let tokens = self.conversation(request)?;
        let choice =
            Choice { sampling: &request.sampling, choices: request.choices, logprobs: request.logprobs };
        self.ask(tokens, choice, "messages", self.tokenizer.adds_space_prefix())
    }

    /// The tokens of a conversation, up to where an answer begins.
    ///
    /// # Errors
    /// As [`Self::chat`], but for its length.
    pub(super) fn conversation(&self, request: &ChatRequest) -> Result<Vec<u32>, BackendError> {
        if request.messages.is_empty() {
            return Err(self.invalid("messages", "there is none"));
        }
        let Some(template) = &self.template else {
            return Err(
                self.invalid("messages", "the model file has no chat template; it only continues text")
            );
        };
        let developer = template.source().contains("developer");
        let begins_itself = matches!(request.messages[0].role, Role::System | Role::Developer);
        let system = self.system.as_deref().filter(|_| !begins_itself);
        let system = system.map(|text| json!({ "role": Role::System.name(), "content": text }));
        let messages = request.messages.iter().map(|message| template_message(message, developer));
        let input = RenderInput {
            messages: &Value::Array(system.into_iter().chain(messages).collect()),
            tools: None,
            documents: None,
            add_generation_prompt: true,
            variables: &Map::new(),
            now: Some(jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now())),
        };
        let prompt = template.render(&input).map_err(|error| self.template_error(&error))?;
        self.tokenizer.encode_prompt(&prompt).map_err(|error| self.invalid("messages", error))
    }

    /// Plain text to be continued; with the model's own beginning token, and no control token from the text.
    ///
    /// # Errors
    /// As [`Self::chat`].
    pub(super) fn completion(&self, request: &CompletionRequest) -> Result<Ask, BackendError> {
        let mut tokens = self
            .tokenizer
            .encode(&request.prompt, Specials::AsModel)
            .map_err(|error| self.invalid("prompt", error))?;
        // What follows continues the text, so no end belongs before it.
        if tokens.len() > 1 && tokens.last().copied() == self.tokenizer.end() {
            tokens.pop();
        }
        let choice =
            Choice { sampling: &request.sampling, choices: request.choices, logprobs: request.logprobs };
        self.ask(tokens, choice, "prompt", false)
    }

    fn ask(
        &self,
        prompt: Vec<u32>,
        choice: Choice<'_>,
        field: &str,
        drop_first_space: bool,
    ) -> Result<Ask, BackendError> {
        let Choice { sampling, choices, logprobs } = choice;
        if prompt.is_empty() {
            return Err(self.invalid(field, "it comes to no token at all"));
        }
        if prompt.len() >= self.context_tokens {
            return Err(self.context_exceeded(prompt.len()));
        }
        if choices == 0 {
            return Err(self.invalid("n", "it must be at least 1"));
        }
        if sampling.max_tokens == Some(0) {
            return Err(self.invalid("max_tokens", "it must be at least 1"));
        }
        if sampling.stop.iter().any(String::is_empty) {
            return Err(self.invalid("stop", "a stop string must not be empty"));
        }
        let vocabulary = self.tokenizer.size();
        // The standard library keys its hasher from the system's randomness, anew each time.
        let seed = RandomState::new().hash_one(0);
        let parameters = Parameters::resolve(sampling, &self.sampling, vocabulary, seed)
            .map_err(|error| self.invalid(error.field, error.problem))?;
        let room = self.context_tokens - prompt.len();
        Ok(Ask {
            name: Arc::clone(&self.id),
            adapter: self.adapter.clone(),
            prompt,
            parameters,
            stops: sampling.stop.iter().chain(&self.sampling.stop).cloned().collect(),
            output_tokens_max: sampling
                .max_tokens
                .or(self.sampling.max_tokens)
                .map_or(room, |tokens| room.min(tokens as usize)),
            choices,
            steered: Vec::new(),
            logprobs: logprobs.map(usize::from),
            drop_first_space,
        })
    }

    pub(super) fn context_exceeded(&self, prompt: usize) -> BackendError {
        let (id, context) = (&self.id, self.context_tokens);
        let message = format!(
            "the prompt has {prompt} tokens; with an answer of at least one it exceeds the context of model `{id}`, \
             {context} tokens: shorten it or choose a target with a longer context"
        );
        let kind =
            ErrorKind::ContextExceeded { prompt_tokens: prompt as u64, context_tokens: context as u64 };
        BackendError::new(kind, message)
    }

    fn template_error(&self, error: &TemplateError) -> BackendError {
        match error.is_request() {
            true => self.invalid("messages", error),
            false => BackendError::new(ErrorKind::Internal, format!("model `{}`: {error}", self.id)),
        }
    }

    pub(super) fn invalid(&self, field: &str, problem: impl std::fmt::Display) -> BackendError {
        BackendError::new(ErrorKind::InvalidRequest, format!("{field}: {problem} (model `{}`)", self.id))
            .about(field)
    }
}

/// How an answer is wanted.
struct Choice<'a> {
    sampling: &'a Sampling,
    choices: u32,
    logprobs: Option<u8>,
}

/// A message as templates know it. One that knows no developer sees a system message.
fn template_message(message: &Message, developer: bool) -> Value {
    let role = match message.role {
        Role::Developer if !developer => Role::System,
        role => role,
    };
    let mut object = json!({ "role": role.name(), "content": message.joined_text() });
    if let Some(name) = &message.name {
        object["name"] = json!(name);
    }
    if let Some(reasoning) = &message.reasoning {
        object["reasoning_content"] = json!(reasoning);
    }
    object
}
