//! Performs a plan: one target after the other until one begins to answer.
//!
//! **Retry and failover.** Steps are tried in the plan's order, each once, without pause; a target is
//! tried again only if the plan names it again. An attempt may be given up for the next one until its
//! first event. After that its errors are the answer's: they come out of [`AnswerEvents`] as its last
//! item, and its end is never silent. An answer that its router judges (`review`) is settled only when
//! it is accepted.
//!
//! **Forwarding.** A target that turns out to pass requests on ([`ErrorKind::Locality`]) counts as a
//! cloud. If nothing was sent it is passed over like any target that the labels forbid, and when nothing
//! else was tried the request is refused. If bytes may already be there, the request ends: another
//! target's good answer would hide the breach.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, ErrorKind, Event, Events, Labels, Target,
    TimeoutKind, Timeouts, permit,
};
use tokio::time::Sleep;
use tracing::warn;

use crate::attempt::{Attempt, Verdict};
use crate::failure::{FailedAttempt, GatewayError};
use crate::gateway::Entry;
use crate::guarded::Guarded;
use crate::health::Flight;
use crate::limiter::Slot;
use crate::metrics::Metrics;
use crate::policies::plugin_failed;
use crate::record::Ending;
use crate::review::{Judged, Reviewer, Unfit, judgeable};
use crate::selection::Step;

/// When to come back to a target whose queue did not move an answer to its front in time.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The time, on the runtime's clock so that tests can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What every attempt of one request has in common.
pub(crate) struct Execution<'a> {
    pub(crate) request_id: &'a Arc<str>,
    pub(crate) request: &'a Arc<ChatRequest>,
    pub(crate) labels: &'a Arc<Labels>,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: &'a Metrics,
    /// Judges the answers of steps that want it.
    pub(crate) reviewer: Option<Reviewer<'a>>,
    /// Attempts made so far.
    pub(crate) attempts: u32,
    /// The last target that was asked.
    pub(crate) target: Option<Arc<Target>>,
}

impl Execution<'_> {
    /// Tries `steps` in order. The stream returned has begun: its first event waits in it.
    pub(crate) async fn run(&mut self, steps: &[Step], entries: &[Entry]) -> Result<Running, GatewayError> {
        let mut failures: Vec<FailedAttempt> = Vec::new();
        let mut forbidden = None;
        for (place, step) in steps.iter().enumerate() {
            let Some(entry) = entries.get(step.target) else { continue };
            let target = entry.target();
            // The check at the send: labels are asked again, whatever was decided before.
            let permit = match permit(self.labels, target) {
                Ok(permit) => permit,
                Err(reason) => {
                    forbidden = Some(reason);
                    continue;
                }
            };
            let mut skip = |error: BackendError| {
                failures.push(FailedAttempt { target: Arc::clone(target), error, tried: false });
            };
            let request = self.request_of(step);
            if let Err(error) = entry.backend.accepts(&request) {
                skip(error);
                continue;
            }
            let flight = match entry.monitor.begin(now()) {
                Ok(flight) => flight,
                Err(wait) => {
                    let message = "it failed repeatedly and is left alone for a while";
                    skip(BackendError::new(ErrorKind::Unavailable, message).retry_after(Some(wait)));
                    continue;
                }
            };
            self.attempts += 1;
            self.target = Some(Arc::clone(target));
            let mut timeouts = self.timeouts;
            timeouts.total = step.timeout.map_or(timeouts.total, |limit| limit.min(timeouts.total));
            let context = AttemptContext {
                request_id: Arc::clone(self.request_id),
                labels: Arc::clone(self.labels),
                timeouts,
            };
            let attempt = Attempt::begin(now(), timeouts, request.choices);
            let reviewer = self.reviewer.as_ref().filter(|_| step.review);
            let request = match reviewer {
                Some(_) => judgeable(&request, &*entry.backend),
                None => request,
            };
            let events = entry.backend.stream(request, permit, context);
            let counted = Counted::new(Arc::clone(target), self.metrics.clone());
            let began = counted.begun;
            let mut answer = Running::start(attempt, events, flight, counted, &entry.backend).await;
            if let (Ok(running), Some(reviewer)) = (&mut answer, reviewer) {
                let judged = Judged {
                    request_id: self.request_id,
                    request: self.request,
                    labels: self.labels,
                    target,
                    attempt: place as u32,
                    attempts_left: (steps.len() - 1 - place) as u32,
                    began,
                };
                match reviewer.review(running, judged).await {
                    Ok(()) => {}
                    Err(Unfit::Attempt(error)) => answer = Err(error),
                    Err(Unfit::Policy(error)) => {
                        let policy = reviewer.router.id().into();
                        return Err(plugin_failed(policy, error, self.request_id, self.labels));
                    }
                }
            }
            match answer {
                Ok(running) => return Ok(running),
                Err(error) => {
                    warn!(request = %self.request_id, target = %target.id, kind = ?error.kind, %error, "attempt failed");
                    let breach = error.kind == ErrorKind::Locality && error.dispatched;
                    let goes_on = error.may_fail_over() || (error.kind == ErrorKind::Locality && !breach);
                    failures.push(FailedAttempt { target: Arc::clone(target), error, tried: true });
                    if breach {
                        return Err(locality_of(&failures));
                    }
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        Err(match GatewayError::deciding(&failures) {
            Some(deciding) if deciding.error.kind == ErrorKind::Locality => locality_of(&failures),
            Some(_) => GatewayError::Exhausted(failures),
            None => GatewayError::Locality {
                message: forbidden.map_or_else(
                    || "the labels in force permit no target of the plan".to_owned(),
                    |reason| reason.to_string(),
                ),
            },
        })
    }

    /// The request as this step wants it sent.
    fn request_of(&self, step: &Step) -> Arc<ChatRequest> {
        if step.sampling.is_empty() {
            return Arc::clone(self.request);
        }
        let sampling = step.sampling.apply(&self.request.sampling);
        Arc::new(ChatRequest { sampling, ..(**self.request).clone() })
    }
}

pub(crate) fn locality_of(failures: &[FailedAttempt]) -> GatewayError {
    let found = failures.iter().rev().find(|failed| failed.error.kind == ErrorKind::Locality);
    let message = found.map_or_else(String::new, |FailedAttempt { target, error, .. }| {
        format!("target `{}` passes requests on to where the labels forbid: {error}", target.id)
    });
    GatewayError::Locality { message }
}

/// An attempt that has begun to answer.
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
    /// Waits for the first event.
    pub(crate) async fn start(
        attempt: Attempt,
        events: Events,
        flight: Flight,
        counted: Counted,
        backend: &Arc<dyn Backend>,
    ) -> Result<Self, BackendError> {
        let timer = Box::pin(tokio::time::sleep_until(attempt.deadline().into()));
        let (events, flight) = (Some(events), Some(flight));
        let backend = Arc::clone(backend);
        let mut running = Self { attempt, events, flight, timer, begun: VecDeque::new(), counted, backend };
        match std::future::poll_fn(|context| running.poll_event(context)).await {
            Some(Ok(event)) => {
                running.begun.push_back(event);
                let Counted { target, metrics, begun, .. } = &running.counted;
                metrics.first_event(&target.id, now().duration_since(*begun));
                if let Some(flight) = &running.flight {
                    flight.answering();
                }
                Ok(running)
            }
            Some(Err(error)) => Err(error),
            // A whole answer has at least its start, so an end without an event is an error above.
            None => Err(BackendError::new(ErrorKind::Cut, "the answer ended before it began")),
        }
    }

    /// The next event, the first included.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, BackendError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Puts events that were read back in front.
    pub(crate) fn begin_with(&mut self, events: VecDeque<Event>) {
        self.begun = events;
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, BackendError>>> {
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

/// An answer as it is made: events, and at most one error, which is last. Dropping it drops the
/// target's stream at once and frees the request's place.
pub struct AnswerEvents {
    source: Source,
    /// Takes the request down, where that is wanted.
    ending: Option<Ending>,
    _slot: Slot,
}

enum Source {
    /// As the target makes it.
    Plain(Box<Running>),
    /// As its guards let it through.
    Guarded(Pin<Box<dyn Stream<Item = Result<Event, BackendError>> + Send>>),
}

impl AnswerEvents {
    pub(crate) fn new(running: Running, slot: Slot) -> Self {
        Self { source: Source::Plain(Box::new(running)), ending: None, _slot: slot }
    }

    pub(crate) fn guarded(guarded: Guarded, slot: Slot) -> Self {
        Self { source: Source::Guarded(Box::pin(guarded.into_stream())), ending: None, _slot: slot }
    }

    pub(crate) fn recorded(self, ending: Option<Ending>) -> Self {
        Self { ending, ..self }
    }
}

impl Stream for AnswerEvents {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(match &mut self.source {
            Source::Plain(running) => running.poll_next(context),
            Source::Guarded(events) => events.as_mut().poll_next(context),
        });
        if let Some(ending) = &mut self.ending {
            ending.see(item.as_ref());
        }
        Poll::Ready(item)
    }
}
