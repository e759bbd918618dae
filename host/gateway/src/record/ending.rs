//! Watches an answer on its way to the client, and counts and takes down how its request ends, also when nobody reads on.

use std::sync::Arc;
use std::time::Instant;

use lockgate_api::{BackendError, Event, Usage};

use super::Recording;
use crate::execute::now;
use crate::gateway::Outcome;
use crate::metrics::Metrics;

/// What is seen of an answer.
pub(crate) struct Ending {
    recording: Option<Arc<Recording>>,
    metrics: Metrics,
    outcome: Outcome,
    first_event: Option<Instant>,
    usage: Option<Usage>,
    end: &'static str,
    is_over: bool,
}

impl Ending {
    pub(crate) fn new(recording: Option<Arc<Recording>>, metrics: Metrics, outcome: Outcome) -> Self {
        Self { recording, metrics, outcome, first_event: None, usage: None, end: "abandoned", is_over: false }
    }

    /// Something goes to the client; nothing when the answer is over.
    pub(crate) fn see(&mut self, item: Option<&Result<Event, BackendError>>) {
        match item {
            Some(Ok(event)) => {
                self.first_event.get_or_insert_with(now);
                if let Event::Usage(usage) = event {
                    self.usage = Some(*usage);
                }
            }
            Some(Err(_)) => self.end = "cut",
            None => {
                if self.end == "abandoned" {
                    self.end = "answered";
                }
                // Before the client sees the end, and so before it asks for the counts.
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.metrics.request(&self.outcome.policy, self.end);
        if let Some(recording) = &self.recording {
            recording.end(&self.outcome, self.end, self.usage, self.first_event);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.finish();
    }
}
