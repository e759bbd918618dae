//! Why a target did not answer, or not to the end.
//!
//! One type for every backend, so that one attempt state machine can decide about retry and failover
//! and one table in `server` can choose status and wording.

use std::time::Duration;

use thiserror::Error;

/// Which timer ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// No connection.
    Connect,
    /// Connected, but no first event.
    FirstEvent,
    /// Silence between two events.
    Idle,
    /// The whole answer took too long.
    Total,
}

impl TimeoutKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::FirstEvent => "first event",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The target rejects the request itself; another target might not.
    InvalidRequest,
    /// The prompt and the answer do not fit: tokens of the prompt, and of the context.
    ContextExceeded {
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// Tokens of the context.
        context_tokens: u64,
    },
    /// The target cannot honour this field of the request.
    Unsupported {
        /// Its wire name in OpenAI's API.
        field: String,
    },
    /// The target does not accept our credentials, or there are none.
    Authentication,
    /// The target's limit for us.
    RateLimited,
    /// The target is too busy for anybody.
    Overloaded,
    /// No connection, or the server says that it is down.
    Unavailable,
    /// A timer of ours ran out.
    Timeout(TimeoutKind),
    /// The target failed (a 5xx), or its answer does not follow its own protocol.
    Upstream,
    /// The stream ended before the answer did.
    Cut,
    /// The server forwards to somewhere that the request's labels forbid.
    Locality,
    /// A guard of the answer failed. Nothing that it held back is let through.
    Guard,
    /// An adapter's component failed. No answer goes on without it, here or elsewhere.
    Adapter,
    /// The policy did not accept the answer.
    Rejected,
    /// The request was abandoned by us.
    Cancelled,
    /// A fault of our own.
    Internal,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct BackendError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// For people: names the target or field and what to do. Carries no credential, no URL with
    /// credentials and no text of the conversation.
    pub message: String,
    /// The request's field that is at fault, where one is and the kind does not say it.
    pub field: Option<String>,
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether any byte of the request may have reached the target, so that it may bill for it.
    pub dispatched: bool,
}

impl BackendError {
    /// An error before anything was sent.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None, dispatched: false }
    }

    /// The same error after the request was sent.
    pub fn dispatched(mut self) -> Self {
        self.dispatched = true;
        self
    }

    /// The same error as one about a field of the request.
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same error with the time after which to ask again.
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// A short stable word for logs and metrics.
    pub fn word(&self) -> &'static str {
        match self.kind {
            ErrorKind::InvalidRequest => "invalid_request",
            ErrorKind::ContextExceeded { .. } => "context_exceeded",
            ErrorKind::Unsupported { .. } => "unsupported",
            ErrorKind::Authentication => "authentication",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Timeout(_) => "timeout",
            ErrorKind::Upstream => "upstream",
            ErrorKind::Cut => "cut",
            ErrorKind::Locality => "locality",
            ErrorKind::Guard => "guard",
            ErrorKind::Adapter => "adapter",
            ErrorKind::Rejected => "rejected",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }

    /// Whether another attempt, here or elsewhere, may succeed where this one failed. A cancelled
    /// request is never tried again; one that breaks a label is refused, not moved; a guard's failure
    /// says nothing about the target; what an adapter's component could not answer is answered by nobody.
    pub fn may_fail_over(&self) -> bool {
        !matches!(
            self.kind,
            ErrorKind::Cancelled | ErrorKind::Guard | ErrorKind::Adapter | ErrorKind::Locality
        )
    }

    /// Whether the same target may answer if asked again.
    pub fn may_retry(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::RateLimited
                | ErrorKind::Overloaded
                | ErrorKind::Unavailable
                | ErrorKind::Timeout(TimeoutKind::Connect | TimeoutKind::FirstEvent)
                | ErrorKind::Upstream
                | ErrorKind::Cut
        )
    }

    /// Whether this says something about the target's health, rather than about the request.
    pub fn counts_against_target(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Authentication
                | ErrorKind::RateLimited
                | ErrorKind::Overloaded
                | ErrorKind::Unavailable
                | ErrorKind::Timeout(_)
                | ErrorKind::Upstream
                | ErrorKind::Cut
        )
    }
}
