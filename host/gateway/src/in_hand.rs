//! A request whose answer has not begun: whoever drops it then has given it up, as a client does that waits no longer.
//!
//! That is counted and taken down as `abandoned`. What comes of a request otherwise is its gateway's to say, and what
//! becomes of an answer that has begun is [`crate::record`]'s.

use std::sync::Arc;

use lockgate_api::Scope;

use crate::gateway::Outcome;
use crate::metrics::Metrics;
use crate::record::Recording;

/// See the module.
pub(crate) struct InHand<'a> {
    /// As far as it has come.
    pub(crate) outcome: Outcome,
    scope: &'a Arc<Scope>,
    recording: Option<&'a Arc<Recording>>,
    metrics: &'a Metrics,
    is_over: bool,
}

impl<'a> InHand<'a> {
    pub(crate) fn new(
        outcome: Outcome,
        scope: &'a Arc<Scope>,
        recording: Option<&'a Arc<Recording>>,
        metrics: &'a Metrics,
    ) -> Self {
        Self { outcome, scope, recording, metrics, is_over: false }
    }

    /// It has come to an answer or an error.
    pub(crate) fn over(mut self) -> Outcome {
        self.is_over = true;
        self.outcome.clone()
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        const END: &str = "abandoned";
        if self.is_over {
            return;
        }
        // Those that have come meanwhile, too.
        self.outcome.labels = self.scope.labels();
        self.metrics.request(&self.outcome.policy, END);
        if let Some(recording) = self.recording {
            recording.end(&self.outcome, END, None, None);
        }
    }
}
