//! Measurements on their way through the turns: taken in, gone on with behind each chunk, handed out or failed.

use lockgate_api::BackendError;

use super::super::forward::{Fault, Forward};
use super::super::measure::{Measuring, Next};
use super::Core;
use crate::scheduler::{Limits, Scheduler, Segment, SequenceId};

impl<F: Forward> Core<F> {
    /// Takes a measurement into the queue, or fails it at once.
    pub(in crate::runner) fn measure(&mut self, measuring: impl FnOnce(&Limits) -> Measuring) {
        let measuring = measuring(&self.scheduler.limits());
        match self.scheduler.submit_given(measuring.given()) {
            Ok(id) => drop(self.measurements.insert(id, measuring)),
            Err(refused) => measuring.fail(self.refusal(refused)),
        }
        self.note();
    }

    /// Goes on with a measurement behind a chunk.
    pub(super) fn go_on(&mut self, segment: &Segment, added: Result<(), Fault>) {
        let id = segment.sequence;
        let Some(measuring) = self.measurements.get_mut(&id) else { return };
        match added.and_then(|()| measuring.advance(segment, &mut self.forward)) {
            Ok(Next::Chunk) => {}
            Ok(Next::Stage(stage)) => {
                self.scheduler.go_on(id, stage);
            }
            Ok(Next::Over) => {
                if let Some(measuring) = self.remove_measurement(id) {
                    self.note();
                    measuring.finish();
                }
            }
            Err(Fault(message)) => {
                let error = self.internal(&message);
                self.fail_measurement(id, error);
            }
        }
    }

    /// Forgets a measurement and frees what it holds.
    fn remove_measurement(&mut self, id: SequenceId) -> Option<Measuring> {
        let measuring = self.measurements.remove(&id)?;
        measuring.close(id, &mut self.forward);
        self.leave(id);
        Some(measuring)
    }

    fn fail_measurement(&mut self, id: SequenceId, error: BackendError) {
        if let Some(measuring) = self.remove_measurement(id) {
            self.note();
            measuring.fail(error);
        }
    }

    /// Fails those that `which` picks.
    pub(super) fn fail_measurements(
        &mut self,
        error: &BackendError,
        which: impl Fn(SequenceId, &Measuring, &Scheduler) -> bool,
    ) {
        let picked =
            self.measurements.iter().filter(|(id, measuring)| which(**id, measuring, &self.scheduler));
        let ids: Vec<SequenceId> = picked.map(|(&id, _)| id).collect();
        for id in ids {
            self.fail_measurement(id, error.clone());
        }
    }
}
