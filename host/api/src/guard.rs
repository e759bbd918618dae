//! Guards: they see an answer on its way to the client and may change or stop it.
//!
//! `sandbox` implements [`Guard`] with WebAssembly components; `gateway` leads each choice's stream through
//! the configured ones in order. Text comes in runs: chunks of one kind (of one tool call) without another
//! kind between them. The keeping of what is held back is the gateway's, so that a guard which fails lets
//! nothing of it through.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use crate::labels::Labels;
use crate::policy::{KeyFacts, PolicyError};
use crate::scope::Scope;

/// The most bytes of a run that a guard may have held back.
pub const HELD_BYTES_MAX: usize = 64 << 10;

/// Watches answers.
pub trait Guard: Send + Sync {
    /// The plugin's id, for errors and logs. A preprocessor of the same id is its other half.
    fn id(&self) -> &str;

    /// Begins to watch one choice of an answer, before the request is sent. Dropping the future at any time
    /// is safe.
    fn watch(&self, input: WatchInput) -> BoxFuture<'_, Result<Box<dyn Watch>, PolicyError>>;
}

/// Watches one choice. After an error, or after a future of it was dropped, every call fails.
pub trait Watch: Send {
    /// The next chunk of a run, or the first of a new one.
    fn on_chunk<'a>(&'a mut self, chunk: Chunk<'a>) -> BoxFuture<'a, Result<Verdict, PolicyError>>;

    /// The run is over. [`Verdict::Hold`] makes no sense any more.
    fn end_run(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>>;

    /// The choice is over, all its runs have ended. [`Verdict::Replace`] adds text to the answer.
    fn finish(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>>;
}

/// Everything that a guard is told beforehand.
#[derive(Clone, Debug)]
pub struct WatchInput {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// Which choice, from 0.
    pub choice: u32,
    /// Labels in force, the plan's included.
    pub labels: Arc<Labels>,
    /// Who asked, where keys are configured.
    pub key: Option<KeyFacts>,
    /// What the plugin's own preprocessor kept for it.
    pub note: Option<Arc<[u8]>>,
    /// What the request's plugins share. Its labels are settled.
    pub scope: Arc<Scope>,
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// What it is part of.
    pub kind: ChunkKind<'a>,
    /// Whole characters; empty only as the first of a tool call.
    pub text: &'a str,
}

/// What a chunk is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind<'a> {
    /// The answer's text.
    Text,
    /// The model's reasoning.
    Reasoning,
    /// The arguments of a tool call.
    Arguments {
        /// The tool.
        tool: &'a str,
    },
}

/// What becomes of a chunk, and of what is held back of its run before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it goes on.
    Pass,
    /// This goes on instead of all of it.
    Replace(String),
    /// The last so many bytes of it stay held back, or a few more where a character would be split; what is
    /// before them goes on.
    Hold(usize),
    /// Nothing of it goes on, and the choice ends.
    Stop {
        /// Why, for the operator. Counts as payload.
        reason: String,
    },
}
