//! Preprocessors: what they are given of a request, and what they make of it.
//!
//! `sandbox` implements [`Preprocessor`] with WebAssembly components; `gateway` calls the configured ones
//! in order before any router. Labels that one adds hold from then on; a failure of one refuses the request.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use crate::labels::{Label, Labels};
use crate::policy::{KeyFacts, PolicyError};
use crate::request::ChatRequest;
use crate::scope::Scope;

/// The most bytes that a preprocessor may keep for its guard.
pub const NOTE_BYTES_MAX: usize = 64 << 10;

/// Prepares requests before they are routed.
pub trait Preprocessor: Send + Sync {
    /// The plugin's id, for errors and logs. A guard of the same id is its other half.
    fn id(&self) -> &str;

    /// The request to go on with. Dropping the future at any time is safe.
    fn prepare(&self, input: PrepareInput) -> BoxFuture<'_, Result<Prepared, PolicyError>>;
}

/// Everything that a preprocessor sees.
#[derive(Clone, Debug)]
pub struct PrepareInput {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// The request, as earlier preprocessors left it.
    pub request: Arc<ChatRequest>,
    /// Labels in force, those of earlier preprocessors included.
    pub labels: Arc<Labels>,
    /// Who asks, where keys are configured.
    pub key: Option<KeyFacts>,
    /// What the request's plugins share.
    pub scope: Arc<Scope>,
}

/// A prepared request.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The request to go on with: the one given, where nothing was changed.
    pub request: Arc<ChatRequest>,
    /// Labels to add, from now on.
    pub add_labels: Vec<Label>,
    /// What the plugin's own guard is to read later; at most [`NOTE_BYTES_MAX`] bytes.
    pub note: Option<Arc<[u8]>>,
}
