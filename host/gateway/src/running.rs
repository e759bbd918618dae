//! One attempt's stream with its timers, its place in the target's health and in the counters.
//!
//! What the moments mean is decided in [`crate::attempt`]; this waits for them. Dropping a [`Running`] drops the
//! target's stream at once and counts the attempt as abandoned, which says nothing about the target.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use lockgate_api::{Backend, BackendError, ErrorKind, Event, Events, Target, TimeoutKind, Usage};
use tokio::time::Sleep;

use crate::attempt::{Attempt, Verdict};
use crate::execute::now;
use crate::health::Flight;
use crate::metrics::Metrics;

/// When to come back to a target whose queue did not move an answer to its front in time.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// An attempt that was sent.
pub(crate) struct Running {
    attempt: Attempt,
    /// Gone as soon as the attempt is over.
    events: Option<Events>,
    flight: Option<Flight>,
    timer: Pin<Box<Sleep>>,
    /// Events that have come and are not read yet.
    begun: VecDeque<Event>,
    counted: Counted,
    backend: Arc<dyn Backend>,
}

/// Where an attempt is counted: once, also when it is abandoned.
pub(crate) struct Counted {
    target: Arc<Target>,
    metrics: Metrics,
    begun: Instant,
    over: bool,
}

impl Counted {
    /// An attempt that begins now.
    pub(crate) fn new(target: Arc<Target>, metrics: Metrics) -> Self {
        Self { target, metrics, begun: now(), over: false }
    }

    /// The same, with the tokens that it took where they are known.
    pub(crate) fn end_with(&mut self, result: &'static str, usage: Option<&Usage>) {
        self.end(result);
        if let Some(usage) = usage {
            self.metrics.usage(&self.target.id, usage);
        }
    }

    pub(crate) fn end(&mut self, result: &'static str) {
        if !std::mem::replace(&mut self.over, true) {
            self.metrics.attempt(&self.target.id, result, now().duration_since(self.begun));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end("abandoned");
    }
}

impl Running {
    /// An attempt that is sent as soon as it is polled.
    pub(crate) fn sent(
        attempt: Attempt,
        events: Events,
        flight: Flight,
        counted: Counted,
        backend: &Arc<dyn Backend>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(attempt.deadline().into()));
        let (events, flight) = (Some(events), Some(flight));
        let backend = Arc::clone(backend);
        Self { attempt, events, flight, timer, begun: VecDeque::new(), counted, backend }
    }

    /// Waits for the first event, which then waits to be read.
    pub(crate) async fn begin(&mut self) -> Result<(), BackendError> {
        std::future::poll_fn(|context| self.poll_begin(context)).await
    }

    pub(crate) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BackendError>> {
        Poll::Ready(match ready!(self.poll_event(context)) {
            Some(Ok(event)) => {
                self.begun.push_back(event);
                let Counted { target, metrics, begun, .. } = &self.counted;
                metrics.first_event(&target.id, now().duration_since(*begun));
                if let Some(flight) = &self.flight {
                    flight.answering();
                }
                Ok(())
            }
            Some(Err(error)) => Err(error),
            // A whole answer has at least its start, so an end without an event is an error above.
            None => Err(BackendError::new(ErrorKind::Cut, "the answer ended before it began")),
        })
    }

    /// The next event, the first included.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, BackendError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Puts events that were read back in front.
    pub(crate) fn begin_with(&mut self, events: VecDeque<Event>) {
        self.begun = events;
    }

    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Event, BackendError>>> {
        match self.begun.pop_front() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.poll_event(context),
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, BackendError>>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let verdict = match events.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(event))) => {
                if let Event::Usage(usage) = &event {
                    self.counted.metrics.usage(&self.counted.target.id, usage);
                }
                match self.attempt.on_event(now(), &event) {
                    Verdict::Continue => return Poll::Ready(Some(Ok(event))),
                    Verdict::Complete if matches!(event, Event::Usage(_)) => {
                        self.finish(Ok(()));
                        return Poll::Ready(Some(Ok(event)));
                    }
                    verdict => verdict,
                }
            }
            Poll::Ready(Some(Err(error))) => self.attempt.on_error(error),
            Poll::Ready(None) => self.attempt.on_end(),
            Poll::Pending => {
                self.attempt.on_silence(now());
                match ready!(self.poll_timer(context)) {
                    Verdict::Failed(error) => Verdict::Failed(self.unless_queued(error)),
                    verdict => verdict,
                }
            }
        };
        match verdict {
            Verdict::Failed(error) => {
                self.finish(Err(&error));
                Poll::Ready(Some(Err(error)))
            }
            Verdict::Complete | Verdict::Continue => {
                self.finish(Ok(()));
                Poll::Ready(None)
            }
        }
    }

    /// The timer is moved only when it fires, not at each event.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Verdict> {
        let due = self.attempt.deadline().into();
        if due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            match self.attempt.on_timer(now()) {
                Verdict::Continue => self.timer.as_mut().reset(self.attempt.deadline().into()),
                verdict => return Poll::Ready(verdict),
            }
        }
    }

    /// A target that works through a queue is busy, not broken, when an answer has not begun in time.
    fn unless_queued(&self, error: BackendError) -> BackendError {
        match self.backend.queued() {
            Some(waiting) if waiting > 0 && error.kind == ErrorKind::Timeout(TimeoutKind::FirstEvent) => {
                let message = format!("{waiting} requests wait for it, and {}", error.message);
                BackendError::new(ErrorKind::Overloaded, message)
                    .retry_after(Some(QUEUE_RETRY_AFTER))
                    .dispatched()
            }
            _ => error,
        }
    }

    /// Drops the target's stream at once and reports what came of it.
    fn finish(&mut self, result: Result<(), &BackendError>) {
        self.events = None;
        let now = now();
        let measured = self.attempt.measurement(now);
        self.counted.end(result.map_or_else(BackendError::word, |()| "ok"));
        if let Some(flight) = self.flight.take() {
            match result {
                Ok(()) => flight.succeeded(now, measured),
                Err(error) => flight.failed(now, error, measured),
            }
        }
    }
}
