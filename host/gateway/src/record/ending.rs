//! Watches an answer on its way to the client and ends its request's line, also when nobody reads on.

use std::sync::Arc;
use std::time::Instant;

use lockgate_api::{BackendError, Event, Usage};

use super::Recording;
use crate::execute::now;
use crate::gateway::Outcome;

/// What is seen of an answer.
pub(crate) struct Ending {
    recording: Arc<Recording>,
    outcome: Outcome,
    first_event: Option<Instant>,
    usage: Option<Usage>,
    end: &'static str,
}

impl Ending {
    pub(crate) fn new(recording: Arc<Recording>, outcome: Outcome) -> Self {
        Self { recording, outcome, first_event: None, usage: None, end: "abandoned" }
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
            None if self.end == "abandoned" => self.end = "answered",
            None => {}
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.recording.end(&self.outcome, self.end, self.usage, self.first_event);
    }
}
