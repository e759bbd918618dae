//! Numbers that the runner publishes and other threads read without waiting for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a model has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers that wait for a place, requests whose prompts are being prepared included.
    pub waiting: u64,
    /// Answers that are being computed.
    pub running: u64,
    /// Steps computed so far; each gives every running answer its next token or computes part of its prompt.
    pub steps: u64,
    /// Forward passes that the model has begun, by its own count: one a step, and those that were stopped or failed.
    pub passes: u64,
    /// Prompt tokens computed so far.
    pub prompt_tokens: u64,
    /// Tokens generated so far.
    pub generated_tokens: u64,
    /// Forward passes that failed.
    pub faults: u64,
    /// KV blocks that no answer holds.
    pub blocks_free: u64,
}

/// The live numbers behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) preparing: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) steps: AtomicU64,
    pub(super) passes: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) generated_tokens: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) blocks_free: AtomicU64,
    retry_after_seconds: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            waiting: read(&self.preparing) + read(&self.waiting),
            running: read(&self.running),
            steps: read(&self.steps),
            passes: read(&self.passes),
            prompt_tokens: read(&self.prompt_tokens),
            generated_tokens: read(&self.generated_tokens),
            faults: read(&self.faults),
            blocks_free: read(&self.blocks_free),
        }
    }

    pub(super) fn set_retry_after(&self, delay: Duration) {
        self.retry_after_seconds.store(delay.as_secs(), Ordering::Relaxed);
    }

    /// When an overloaded model is worth asking again; at least a second.
    pub(super) fn retry_after(&self) -> Duration {
        Duration::from_secs(self.retry_after_seconds.load(Ordering::Relaxed).max(1))
    }
}
