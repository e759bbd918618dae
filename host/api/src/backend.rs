//! What answers: the engine and every provider implement [`Backend`]; the gateway sees only it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::error::{BackendError, ErrorKind};
use crate::event::Event;
use crate::labels::{Labels, Permit};
use crate::measure::{Choose, Chosen, Embed, Embedded};
use crate::request::ChatRequest;

/// An answer as it is made. Dropping it abandons the work within one token. After an `Err` nothing
/// follows.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, BackendError>> + Send>>;

/// Something that answers requests.
pub trait Backend: Send + Sync {
    /// Whether every field of the request can be honoured. The error's kind is
    /// [`crate::ErrorKind::Unsupported`] and names the field. Cheap: no tokenisation, no I/O.
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError>;

    /// Answers. Nothing is sent before the stream is polled. `permit` proves that the request's labels
    /// allow this target; a backend refuses one that was made for another
    /// ([`Permit::target`]). A backend enforces `context.timeouts.connect` itself; the other timers are
    /// the gateway's.
    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events;

    /// Whether this is known to pass requests on to somebody else: its target then counts as cloud.
    fn forwards(&self) -> bool {
        false
    }

    /// Asks whether this passes requests on, which [`Backend::forwards`] then tells. Ends within seconds, fails never.
    fn reveal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Requests waiting inside this backend, where it knows.
    fn queued(&self) -> Option<u32> {
        None
    }

    /// Ids of the targets that are this model with one of its adapters, where it has any loaded.
    fn adapter_targets(&self) -> Vec<String> {
        Vec::new()
    }

    /// How likely the model holds given continuations. Dropping the future abandons the work.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] unless the backend can; otherwise as for [`Backend::stream`].
    fn choose(
        &self,
        _ask: Choose,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Chosen, BackendError>> {
        cannot(&permit, "choose")
    }

    /// Embeds texts. Dropping the future abandons the work.
    ///
    /// # Errors
    /// As for [`Backend::choose`].
    fn embed(
        &self,
        _ask: Embed,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        cannot(&permit, "embed")
    }

    /// The exact number of tokens that the request's prompt has in this backend, template included.
    ///
    /// # Errors
    /// As for [`Backend::choose`].
    fn count_tokens(
        &self,
        _request: Arc<ChatRequest>,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<u64, BackendError>> {
        cannot(&permit, "count_tokens")
    }
}

fn cannot<T: Send + 'static>(permit: &Permit, what: &str) -> BoxFuture<'static, Result<T, BackendError>> {
    let message = format!("target `{}` cannot do this: {what}", permit.target());
    let error = BackendError::new(ErrorKind::Unsupported { field: what.to_owned() }, message);
    Box::pin(std::future::ready(Err(error)))
}

/// What a backend may know about the attempt that it serves.
#[derive(Clone, Debug)]
pub struct AttemptContext {
    /// The request's id, for logs and for upstreams that take one.
    pub request_id: Arc<str>,
    /// The labels in force. Payloads of labelled requests stay out of logs.
    pub labels: Arc<Labels>,
    /// The timers of this attempt.
    pub timeouts: Timeouts,
}

/// An attempt's timers. None is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From there to the first event.
    pub first_event: Duration,
    /// Between two events.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 5 s to connect, 120 s to the first event (a long prompt on a CPU), 60 s of silence, 30 minutes in
    /// all.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_event: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(1800),
        }
    }
}
