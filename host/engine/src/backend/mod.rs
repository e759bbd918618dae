//! A model on this machine as a target: [`LocalModel`] implements [`Backend`].
//!
//! Owns what a request needs on its way to the runner and back: which fields are honoured, the permit, the prompt,
//! the stream of events. Does not compute (`model`, `kv`), batch (`scheduler`) or route.
//!
//! What requests leave open: `max_tokens` is what remains of the context; sampling is the operator's, then the model
//! file's own recommendation, then OpenAI's default (temperature 1, nothing else). Tools, images and structured
//! answers are refused by name: nothing is silently dropped.
//!
//! A model with an adapter is a target of its own, over the same threads, cache and batches: see `adapters`, and
//! `tuned` for one with a component. What a model is asked beside an answer is in `measures`.

mod accepts;
mod adapters;
mod blocking;
mod device;
mod load;
mod measures;
mod options;
mod prompts;
mod recommended;
mod trial;
mod tuned;

pub use crate::runner::{Loss, Stats};
pub use adapters::AdaptError;
pub use blocking::BlockingEvents;
pub use device::DeviceError;
pub use load::LoadError;
pub use options::{CONTEXT_TOKENS_DEFAULT, Device, ModelOptions, UnknownDevice};
pub use tuned::Tuning;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Choose, Chosen, Embed, Embedded, ErrorKind, Event,
    Events, Labels, Locality, Permit, Price, Sampling, Target, permit,
};

use crate::model::Config;
use crate::runner::{Answer, Ask, Runner};
use prompts::Prompts;
use tuned::{Asker, Hooks};

/// Plain text to be continued, without a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// The text. It never becomes a control token.
    pub prompt: String,
    /// How tokens are drawn and when the answer ends.
    pub sampling: Sampling,
    /// Independent answers, at least 1.
    pub choices: u32,
    /// As in [`ChatRequest::logprobs`].
    pub logprobs: Option<u8>,
}

/// A model that is loaded and ready, alone or with one of its adapters. Its threads end when the last answer and the
/// last clone of this are dropped.
#[derive(Clone, Debug)]
pub struct LocalModel {
    shared: Arc<Shared>,
    variant: Arc<Variant>,
}

/// What the model and all its adapters have in common.
#[derive(Debug)]
struct Shared {
    /// The target id of the model itself.
    id: String,
    runner: Runner,
    config: Config,
    adapters: Mutex<BTreeMap<String, Arc<Variant>>>,
}

/// The model itself, or the model with an adapter.
#[derive(Debug)]
struct Variant {
    target: Target,
    prompts: Arc<Prompts>,
    adapter_name: Option<String>,
    hooks: Option<Hooks>,
}

impl LocalModel {
    fn assemble(prompts: Prompts, model: String, config: Config, runner: Runner) -> Self {
        let target = Target {
            id: prompts.id.to_string(),
            model,
            locality: Locality::Local,
            region: None,
            context_tokens: Some(prompts.context_tokens as u64),
            price: Some(Price { input: 0.0, output: 0.0 }),
            tools: false,
            images: false,
        };
        Self {
            shared: Arc::new(Shared { id: target.id.clone(), runner, config, adapters: Mutex::default() }),
            variant: Arc::new(Variant {
                target,
                prompts: Arc::new(prompts),
                adapter_name: None,
                hooks: None,
            }),
        }
    }

    /// The model as policies see it: local, free, text only.
    pub fn target(&self) -> &Target {
        &self.variant.target
    }

    /// Tokens of prompt and answer together.
    pub fn context_tokens(&self) -> usize {
        self.variant.prompts.context_tokens
    }

    /// What the model has done and is doing, with all its adapters. Never waits for it.
    pub fn stats(&self) -> Stats {
        self.shared.runner.stats()
    }

    /// Answers on the calling thread, which waits for each event: for a command line. Nothing is sent anywhere, so
    /// no labels can be against it.
    pub fn chat(&self, request: ChatRequest) -> BlockingEvents {
        let events = match permit(&Labels::default(), self.target()) {
            Ok(permit) => {
                let asker = Asker { request_id: "local".into(), labels: Arc::default() };
                self.answer(Arc::new(request), &permit, asker)
            }
            Err(forbidden) => failed(BackendError::new(ErrorKind::Locality, forbidden.to_string())),
        };
        BlockingEvents::new(events)
    }

    /// Continues plain text. `permit` as for [`Backend::stream`]. A model with hooks does not: they steer answers.
    pub fn complete(&self, request: CompletionRequest, permit: &Permit) -> Events {
        if self.variant.hooks.is_some() {
            let message = format!("model `{}` answers conversations and continues no text", self.target().id);
            return failed(BackendError::new(ErrorKind::Unsupported { field: "prompt".to_owned() }, message));
        }
        self.begin(permit, |_| Ok(()), move |prompts| prompts.completion(&request))
    }

    fn answer(&self, request: Arc<ChatRequest>, permit: &Permit, asker: Asker) -> Events {
        if let Some(hooks) = &self.variant.hooks {
            return self.answer_with(hooks.clone(), request, permit, asker);
        }
        let checked = Arc::clone(&request);
        self.begin(
            permit,
            move |prompts| accepts::accepts(&prompts.id, &checked),
            move |prompts| prompts.chat(&request),
        )
    }

    /// An answer whose tokens have hooks, which are begun first.
    fn answer_with(&self, hooks: Hooks, request: Arc<ChatRequest>, permit: &Permit, asker: Asker) -> Events {
        if let Err(error) = self.check_permit(permit) {
            return failed(error);
        }
        let model = self.clone();
        Box::pin(LocalEvents::Hooking(Box::pin(async move {
            let prompts = Arc::clone(&model.variant.prompts);
            accepts::accepts(&prompts.id, &request)?;
            let steered = hooks.begin(&request, &asker, &prompts.tokenizer).await?;
            let prepare = move || Ok(Ask { steered, ..prompts.chat(&request)? });
            let answer = model.shared.runner.submit(prepare)?;
            Ok((answer, model))
        })))
    }

    /// An answer that begins when it is polled: `check` on the polling thread, `prepare` on one of the runner's.
    fn begin(
        &self,
        permit: &Permit,
        check: impl FnOnce(&Prompts) -> Result<(), BackendError> + Send + 'static,
        prepare: impl FnOnce(&Prompts) -> Result<Ask, BackendError> + Send + 'static,
    ) -> Events {
        if let Err(error) = self.check_permit(permit) {
            return failed(error);
        }
        let model = self.clone();
        let begin = move || {
            // The job must not own the runner, whose threads it waits in.
            let prompts = Arc::clone(&model.variant.prompts);
            check(&prompts)?;
            let answer = model.shared.runner.submit(move || prepare(&prompts))?;
            Ok((answer, model))
        };
        Box::pin(LocalEvents::Begin(Box::new(begin)))
    }
}

impl LocalModel {
    /// A permit for another target is a fault of whoever asks.
    fn check_permit(&self, permit: &Permit) -> Result<(), BackendError> {
        let id = &self.target().id;
        if permit.target() == id {
            return Ok(());
        }
        let message = format!("the permit is for target `{}`, not for model `{id}`", permit.target());
        Err(BackendError::new(ErrorKind::Internal, message))
    }
}

impl Backend for LocalModel {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        accepts::accepts(&self.target().id, request)
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events {
        let AttemptContext { request_id, labels, .. } = context;
        self.answer(request, &permit, Asker { request_id, labels })
    }

    fn queued(&self) -> Option<u32> {
        Some(u32::try_from(self.stats().waiting).unwrap_or(u32::MAX))
    }

    fn adapter_targets(&self) -> Vec<String> {
        self.adapters_as_targets()
    }

    fn choose(
        &self,
        ask: Choose,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Chosen, BackendError>> {
        self.measure(&permit, Runner::choose, move |prompts| prompts.choosing(&ask))
    }

    fn embed(
        &self,
        ask: Embed,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        self.measure(&permit, Runner::embed, move |prompts| prompts.embedding(&ask))
    }

    fn count_tokens(
        &self,
        request: Arc<ChatRequest>,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<u64, BackendError>> {
        self.measure(&permit, Runner::count, move |prompts| prompts.count(&request))
    }
}

fn failed(error: BackendError) -> Events {
    Box::pin(LocalEvents::Begin(Box::new(move || Err(error))))
}

type Begun = Result<(Answer, LocalModel), BackendError>;

/// An answer that has not been asked for yet, or is being read. It keeps the model alive.
enum LocalEvents {
    Begin(Box<dyn FnOnce() -> Begun + Send>),
    /// Its hooks are being begun.
    Hooking(BoxFuture<'static, Begun>),
    Reading {
        answer: Answer,
        _model: LocalModel,
    },
    Over,
}

impl Stream for LocalEvents {
    type Item = Result<Event, BackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if matches!(this, Self::Begin(_))
            && let Self::Begin(begin) = std::mem::replace(this, Self::Over)
        {
            match begin() {
                Ok((answer, model)) => *this = Self::Reading { answer, _model: model },
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        if let Self::Hooking(begin) = this {
            match std::task::ready!(begin.as_mut().poll(context)) {
                Ok((answer, model)) => *this = Self::Reading { answer, _model: model },
                Err(error) => {
                    *this = Self::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        match this {
            Self::Reading { answer, .. } => Pin::new(answer).poll_next(context),
            _ => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests;
