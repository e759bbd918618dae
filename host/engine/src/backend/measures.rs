//! What a model is asked beside an answer: likelihoods of continuations, embeddings, exact counts.
//!
//! **Likelihoods.** The prompt is the conversation as for an answer, up to where the answer begins. A continuation is
//! tokenized on its own, as an answer's text is: no beginning or end token, no control token from its text, and where
//! the tokenizer puts a space before a first word, with that space, which answers do not show. Its likelihood is that
//! of exactly these tokens following the prompt, in the raw distribution before any sampling parameter; other tokens
//! that spell the same text do not count, nor does what comes after, so that an answer which merely begins so is
//! included.
//!
//! **Embeddings.** The mean over all tokens of the hidden states behind the last norm, scaled to length 1. Texts are
//! plain: no template, and beginning and end tokens as the model file asks.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use lockgate_api::{
    BackendError, CONTINUATIONS_MAX, ChatRequest, Choose, EMBED_INPUTS_MAX, Embed, ErrorKind, Permit,
};

use super::prompts::Prompts;
use super::{LocalModel, accepts};
use crate::runner::{Answer, Choosing, Embedding, Reply, Runner};
use crate::tokenizer::Specials;

/// The most tokens that the continuations of one choice may have in all: logits are computed for each of them.
const CONTINUATION_TOKENS_MAX: usize = 4_096;
/// The most tokens of one request for embeddings.
const EMBED_TOKENS_MAX: usize = 300_000;

impl LocalModel {
    /// A question that is asked when its future is polled; `prepare` runs on one of the runner's threads.
    pub(super) fn measure<P, T>(
        &self,
        permit: &Permit,
        ask: impl FnOnce(&Runner, Box<dyn FnOnce() -> Result<P, BackendError> + Send>) -> Begun<T>
        + Send
        + 'static,
        prepare: impl FnOnce(&Prompts) -> Result<P, BackendError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, BackendError>>
    where
        P: 'static,
        T: Send + 'static,
    {
        let checked = self.check_permit(permit);
        let model = self.clone();
        Box::pin(async move {
            checked?;
            // The job must not own the runner, whose threads it waits in.
            let prompts = Arc::clone(&model.variant.prompts);
            ask(&model.shared.runner, Box::new(move || prepare(&prompts)))?.await
        })
    }
}

type Begun<T> = Result<Answer<Reply<T>>, BackendError>;

impl Prompts {
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] and [`ErrorKind::Unsupported`] with the field, [`ErrorKind::ContextExceeded`] with
    /// both counts.
    pub(super) fn choosing(&self, ask: &Choose) -> Result<Choosing, BackendError> {
        let Choose { request, continuations } = ask;
        let count = continuations.len();
        if count == 0 || count > CONTINUATIONS_MAX {
            return Err(
                self.invalid("continuations", format!("there are {count}: give 1 to {CONTINUATIONS_MAX}"))
            );
        }
        accepts::accepts(&self.id, request)?;
        let prompt = self.conversation(request)?;
        if prompt.is_empty() {
            return Err(self.invalid("messages", "it comes to no token at all"));
        }
        if prompt.len() >= self.context_tokens {
            return Err(self.context_exceeded(prompt.len()));
        }
        let room = self.context_tokens - prompt.len();
        let mut all = 0;
        let mut tokens = Vec::with_capacity(count);
        for (index, text) in continuations.iter().enumerate() {
            let field = format!("continuations[{index}]");
            let continuation =
                self.tokenizer.encode(text, Specials::Omit).map_err(|error| self.invalid(&field, error))?;
            if continuation.is_empty() {
                return Err(self.invalid(&field, "it must not be empty"));
            }
            if continuation.len() > room {
                return Err(self.too_long(&field, prompt.len() + continuation.len(), " with the prompt"));
            }
            all += continuation.len();
            if all > CONTINUATION_TOKENS_MAX {
                let problem = format!("they have more than {CONTINUATION_TOKENS_MAX} tokens in all");
                return Err(self.invalid("continuations", problem));
            }
            tokens.push(continuation);
        }
        Ok(Choosing { adapter: self.adapter.clone(), prompt, continuations: tokens })
    }

    /// # Errors
    /// [`ErrorKind::InvalidRequest`] with the field, [`ErrorKind::ContextExceeded`] with both counts.
    pub(super) fn embedding(&self, ask: &Embed) -> Result<Embedding, BackendError> {
        let count = ask.inputs.len();
        if count == 0 || count > EMBED_INPUTS_MAX {
            return Err(
                self.invalid("input", format!("there are {count} texts: give 1 to {EMBED_INPUTS_MAX}"))
            );
        }
        let mut all = 0;
        let mut texts = Vec::with_capacity(count);
        for (index, text) in ask.inputs.iter().enumerate() {
            let field = format!("input[{index}]");
            if text.is_empty() {
                return Err(self.invalid(&field, "it must not be empty"));
            }
            let tokens = self
                .tokenizer
                .encode(text, Specials::AsModel)
                .map_err(|error| self.invalid(&field, error))?;
            if tokens.is_empty() {
                return Err(self.invalid(&field, "it comes to no token at all"));
            }
            if tokens.len() > self.context_tokens {
                return Err(self.too_long(&field, tokens.len(), ""));
            }
            all += tokens.len();
            if all > EMBED_TOKENS_MAX {
                let problem =
                    format!("the texts have more than {EMBED_TOKENS_MAX} tokens in all; send fewer at once");
                return Err(self.invalid("input", problem));
            }
            texts.push(tokens);
        }
        Ok(Embedding { adapter: self.adapter.clone(), texts })
    }

    /// The tokens of the conversation up to where an answer begins, whether they fit or not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] and [`ErrorKind::Unsupported`] with the field.
    pub(super) fn count(&self, request: &ChatRequest) -> Result<u64, BackendError> {
        accepts::accepts(&self.id, request)?;
        Ok(self.conversation(request)?.len() as u64)
    }

    fn too_long(&self, field: &str, tokens: usize, with: &str) -> BackendError {
        let (id, context) = (&self.id, self.context_tokens);
        let message = format!(
            "{field} has {tokens} tokens{with}, more than the context of model `{id}`, {context} tokens: shorten it"
        );
        BackendError::new(
            ErrorKind::ContextExceeded { prompt_tokens: tokens as u64, context_tokens: context as u64 },
            message,
        )
    }
}
