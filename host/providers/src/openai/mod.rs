//! Servers that speak OpenAI's chat completions and embeddings: LM Studio, Ollama, vLLM, llama.cpp's server and others.
//!
//! [`Server`] is what the targets of one provider share; [`OpenAiBackend`] is one target. Translation is
//! in pure modules: [`request`] to bytes, [`answer`] and [`chat`] from bytes, [`embeddings`] both ways, [`failure`] from errors,
//! [`probe`] from what a server says about itself. This file sends, and decides what may be sent.

mod answer;
mod chat;
mod embeddings;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod probe;
mod request;
mod server;
mod tools;
mod usage;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use async_stream::stream;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Embed, Embedded, ErrorKind, Events, ImageSource,
    Locality, Message, Part, Permit, Role, Target, TimeoutKind,
};

use self::answer::{AnswerDecoder, AnswerProblem};
use self::chat::ChatState;
use self::failure::Attempt;
pub(crate) use self::server::Server;
use crate::http::{Answer, ConnectError, SendError, SendProblem};

/// The most bytes that are read of an error's body.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Fields whose answers come in forms that no event carries.
const UNSUPPORTED_EXTRA: [&str; 3] = ["functions", "function_call", "audio"];

/// One target on a server.
pub(crate) struct OpenAiBackend {
    pub(crate) server: Arc<Server>,
    pub(crate) target: Arc<Target>,
}

impl Backend for OpenAiBackend {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        let refuse = |field: &str, why: &str| {
            let message = format!("target `{}` cannot honour `{field}`: {why}", self.target.id);
            Err(BackendError::new(ErrorKind::Unsupported { field: field.to_owned() }, message))
        };
        if !self.target.tools && !request.tools.is_empty() {
            return refuse("tools", "its configuration says that it has no tools");
        }
        if !self.target.images && has_image(request, |_| true) {
            return refuse("messages", "its configuration says that it reads no images");
        }
        for field in UNSUPPORTED_EXTRA {
            if request.extra.get(field).is_some_and(|value| !value.is_null()) {
                return refuse(field, "its answer has no form here");
            }
        }
        Ok(())
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events {
        let attempt = Sending {
            server: Arc::clone(&self.server),
            target: Arc::clone(&self.target),
            request,
            embeds: false,
            permit,
            context,
        };
        Box::pin(stream! {
            let mut answer = match attempt.open().await {
                Ok(answer) => answer,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            let mut decoder = attempt.decoder();
            let mut events = VecDeque::new();
            loop {
                let result = match answer.body.chunk().await {
                    Ok(Some(bytes)) => decoder.push(&bytes, &mut events),
                    Ok(None) => decoder.end(None, &mut events),
                    Err(broken) => decoder.end(Some(&broken.to_string()), &mut events),
                };
                if let Some(to) = decoder.take_forwards_to()
                    && let Err(error) = attempt.forwards(&to)
                {
                    yield Err(error);
                    return;
                }
                while let Some(event) = events.pop_front() {
                    yield Ok(event);
                }
                if let Err(problem) = result {
                    yield Err(attempt.problem(problem));
                    return;
                }
                if decoder.is_done() {
                    answer.body.finish();
                    return;
                }
            }
        })
    }

    fn forwards(&self) -> bool {
        self.server.forwards(&self.target.model)
    }

    fn reveal(&self) -> BoxFuture<'static, ()> {
        let (server, model) = (Arc::clone(&self.server), self.target.model.clone());
        Box::pin(async move { server.reveal(&model).await })
    }

    fn embed(
        &self,
        ask: Embed,
        permit: Permit,
        context: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        // As a conversation the texts are known to what keeps them out of error messages.
        let messages = ask.inputs.iter().map(|text| Message::text(Role::User, text)).collect();
        let attempt = Sending {
            server: Arc::clone(&self.server),
            target: Arc::clone(&self.target),
            request: Arc::new(ChatRequest::new(self.target.model.as_str(), messages)),
            embeds: true,
            permit,
            context,
        };
        Box::pin(async move { attempt.embed(&ask).await })
    }
}

/// One attempt, with everything that it needs.
struct Sending {
    server: Arc<Server>,
    target: Arc<Target>,
    request: Arc<ChatRequest>,
    /// Whether the request's texts are to be embedded rather than answered.
    embeds: bool,
    permit: Permit,
    context: AttemptContext,
}

impl Sending {
    /// Asks for a chat answer, and returns one that has begun well.
    async fn open(&self) -> Result<Answer, BackendError> {
        let body = request::body(&self.request, &self.target.model, self.server.length_field());
        self.exchange("/chat/completions", body).await
    }

    /// Asks for embeddings and reads them.
    async fn embed(&self, ask: &Embed) -> Result<Embedded, BackendError> {
        let mut answer =
            self.exchange("/embeddings", embeddings::body(&ask.inputs, &self.target.model)).await?;
        let body = answer.body.read_all(embeddings::ANSWER_BYTES_MAX).await.map_err(|broken| {
            let what = format!("{}: the embeddings did not arrive whole: {broken}", self.server.origin());
            self.attempt().error(ErrorKind::Cut, what)
        })?;
        let read = embeddings::read(&body, ask.inputs.len());
        if let Some(to) = &read.forwards_to {
            self.forwards(to)?;
        }
        read.embedded.map_err(|problem| self.problem(problem))
    }

    /// Checks that the request may be sent, sends it, and returns an answer that has begun well.
    async fn exchange(
        &self,
        path: &str,
        body: Result<Vec<u8>, serde_json::Error>,
    ) -> Result<Answer, BackendError> {
        self.check_permit()?;
        if self.server.locality() != Locality::Cloud && !self.may_be_passed_on() {
            self.check_forwarding().await?;
        }
        let body = body.map_err(|error| {
            self.unsent(ErrorKind::Internal, format!("the request cannot be written: {error}"))
        })?;
        let path = self.server.path(path);
        let mut answer = self
            .server
            .send(Method::POST, &path, Bytes::from(body), Some(&self.context), self.context.timeouts.connect)
            .await
            .map_err(|error| self.send_error(&error))?;
        if !answer.head.status.is_success() {
            // Whatever arrives of the body helps; the status alone is enough.
            let body = answer.body.read_all(ERROR_BYTES_MAX).await.unwrap_or_default();
            let head = &answer.head;
            return Err(self.attempt().status_error(head.status, &head.headers, &body, SystemTime::now()));
        }
        self.check_head(&answer.head.headers)?;
        Ok(answer)
    }

    fn check_permit(&self) -> Result<(), BackendError> {
        if self.permit.target() != self.target.id {
            let what = format!("the permit is for target `{}`", self.permit.target());
            return Err(self.unsent(ErrorKind::Internal, what));
        }
        if self.permit.locality() < self.server.locality() {
            let what = format!(
                "the permit is for locality `{}`, but the provider is `{}`",
                self.permit.locality(),
                self.server.locality()
            );
            return Err(self.unsent(ErrorKind::Locality, what));
        }
        Ok(())
    }

    fn may_be_passed_on(&self) -> bool {
        self.permit.allows_forwarding() && !self.server.is_air_gapped()
    }

    /// What forbids passing on, in words.
    fn forbidding(&self) -> String {
        if self.permit.allows_forwarding() {
            "this air-gapped host".to_owned()
        } else {
            format!("the request's labels ({})", self.context.labels)
        }
    }

    /// For a request that no cloud may see: makes sure that nothing would carry it further.
    async fn check_forwarding(&self) -> Result<(), BackendError> {
        let is_remote =
            |source: &ImageSource| matches!(source, ImageSource::Url(url) if !url.starts_with("data:"));
        if has_image(&self.request, is_remote) {
            let what = format!(
                "the server would fetch an image by its URL, forbidden by {}: send the image's bytes",
                self.forbidding()
            );
            return Err(self.unsent(ErrorKind::Locality, what));
        }
        match self.server.check_forwarding(&self.target.model, self.context.timeouts.connect).await {
            Ok(None) => Ok(()),
            Ok(Some(to)) => Err(self.forbidden(&to)),
            Err(server::Unclear::Send(error)) => {
                // The question was sent, the request was not.
                Err(BackendError { dispatched: false, ..self.send_error(&error) })
            }
            Err(server::Unclear::NoAnswer(reason)) => {
                let what = format!(
                    "{} did not say whether it passes requests on ({reason}), which is forbidden by {}",
                    self.server.origin(),
                    self.forbidding()
                );
                Err(self.unsent(ErrorKind::Unavailable, what))
            }
        }
    }

    /// The answer says that the request was passed on. Remembered; an error where the labels forbid it.
    fn forwards(&self, to: &str) -> Result<(), BackendError> {
        if self.server.locality() == Locality::Cloud {
            return Ok(());
        }
        let to = probe::shorten(to);
        self.server.remember_forwarding(&self.target.model, &to);
        if self.may_be_passed_on() { Ok(()) } else { Err(self.forbidden(&to).dispatched()) }
    }

    fn forbidden(&self, to: &str) -> BackendError {
        let what = format!(
            "{} passes requests for `{}` on to {to}, forbidden by {}",
            self.server.origin(),
            self.target.model,
            self.forbidding()
        );
        self.unsent(ErrorKind::Locality, what)
    }

    fn check_head(&self, headers: &HeaderMap) -> Result<(), BackendError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Another Lockgate says where it sent the request.
        if let Ok(locality) = text("x-lockgate-locality").parse::<Locality>()
            && locality > self.server.locality()
        {
            self.forwards(&format!("a target of locality `{locality}`"))?;
        }
        let encoding = text(CONTENT_ENCODING.as_str());
        if !encoding.is_empty() && encoding != "identity" {
            let what = format!("{} compressed its answer without being asked to", self.server.origin());
            return Err(self.attempt().error(ErrorKind::Upstream, what));
        }
        if text(CONTENT_TYPE.as_str()).starts_with("text/html") {
            let what = format!(
                "{} answered with a web page: check the path of the provider's endpoint",
                self.server.origin()
            );
            return Err(self.attempt().error(ErrorKind::Upstream, what));
        }
        Ok(())
    }

    fn decoder(&self) -> AnswerDecoder {
        let prefix = format!("call_{}", self.context.request_id);
        AnswerDecoder::new(ChatState::new(self.request.choices, self.target.model.as_str(), prefix))
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt {
            target: &self.target.id,
            model: &self.target.model,
            origin: self.server.origin(),
            embeds: self.embeds,
            request: &self.request,
            labels: &self.context.labels,
            secret: self.server.secret(),
        }
    }

    fn problem(&self, problem: AnswerProblem) -> BackendError {
        match problem {
            AnswerProblem::Said(object) => self.attempt().object_error(&object),
            AnswerProblem::Broken(kind, what) => {
                self.attempt().error(kind, format_args!("{}: {what}", self.server.origin()))
            }
        }
    }

    fn unsent(&self, kind: ErrorKind, what: impl std::fmt::Display) -> BackendError {
        BackendError::new(kind, format!("target `{}`: {what}", self.target.id))
    }

    fn send_error(&self, error: &SendError) -> BackendError {
        let origin = self.server.origin();
        let (kind, what) = match &error.problem {
            SendProblem::Connect(ConnectError::TimedOut(limit)) => {
                let what = format!("no connection to {origin} within {} ms", limit.as_millis());
                (ErrorKind::Timeout(TimeoutKind::Connect), what)
            }
            SendProblem::Connect(problem @ ConnectError::Forbidden { .. }) => {
                (ErrorKind::Locality, format!("{origin} was not contacted: {problem}"))
            }
            SendProblem::Connect(problem) => {
                (ErrorKind::Unavailable, format!("cannot connect to {origin}: {problem}"))
            }
            SendProblem::Exchange(problem) => (
                ErrorKind::Unavailable,
                format!("{origin} closed the connection before it answered: {problem}"),
            ),
        };
        BackendError { dispatched: error.dispatched, ..self.unsent(kind, what) }
    }
}

fn has_image(request: &ChatRequest, which: impl Fn(&ImageSource) -> bool) -> bool {
    let parts = request.messages.iter().flat_map(|message| &message.content);
    parts.into_iter().any(|part| matches!(part, Part::Image(source) if which(source)))
}
