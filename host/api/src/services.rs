//! What plugins may ask for while they decide: the targets of the configuration, each ask checked like any send.
//!
//! `gateway` implements [`Services`] over its targets, `sandbox` offers it to components within their grants and
//! limits. Neither knows the other.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use thiserror::Error;

use crate::backend::Events;
use crate::error::BackendError;
use crate::labels::Forbidden;
use crate::measure::{Choose, Chosen, Embed, Embedded};
use crate::request::ChatRequest;
use crate::scope::Scope;
use crate::target::Target;

/// What plugins may ask for. An ask is one attempt on one target: no retry and no failover.
///
/// Each takes its permit from [`Scope::permit`] at the send, stands behind the target's breaker, counts for its
/// health, and ends within [`Asking::limit`]. Dropping a future or stream abandons the work.
pub trait Services: Send + Sync {
    /// The target of this id.
    fn target(&self, id: &str) -> Option<Arc<Target>>;

    /// One answer, from its first event on.
    fn generate(
        &self,
        asking: Asking,
        request: Arc<ChatRequest>,
    ) -> BoxFuture<'static, Result<Events, ServiceError>>;

    /// How likely a model holds given continuations.
    fn choose(&self, asking: Asking, ask: Choose) -> BoxFuture<'static, Result<Chosen, ServiceError>>;

    /// Embeddings of texts.
    fn embed(&self, asking: Asking, ask: Embed) -> BoxFuture<'static, Result<Embedded, ServiceError>>;

    /// The exact number of tokens that a request has in the target.
    fn count_tokens(
        &self,
        asking: Asking,
        request: Arc<ChatRequest>,
    ) -> BoxFuture<'static, Result<u64, ServiceError>>;
}

/// Who asks whom, for how long.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The request that the asking plugin serves.
    pub scope: Arc<Scope>,
    /// The target's id.
    pub target: String,
    /// The longest that all of it may take.
    pub limit: Duration,
}

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ServiceError {
    /// No target has that id.
    #[error("there is no target `{0}`")]
    UnknownTarget(String),
    /// The labels on the request forbid it. Nothing was sent.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The target did not answer.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
