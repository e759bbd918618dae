//! Performs a plan: one target after the other until one begins to answer, or beside each other where it hedges.
//!
//! **Retry and failover.** Steps are tried in the plan's order, each once, without pause; a target is
//! tried again only if the plan names it again. An attempt may be given up for the next one until its
//! first event. After that its errors are the answer's: they come out of [`AnswerEvents`] as its last
//! item, and its end is never silent. An answer that its router judges (`review`) is settled only when
//! it is accepted.
//!
//! **Hedges.** Which steps run at a moment is decided in [`crate::race`]. Each is checked like any other at its own
//! send, by the labels of that moment; the first to say its first event answers, and the others are dropped.
//!
//! **Forwarding.** A target that turns out to pass requests on ([`ErrorKind::Locality`]) counts as a
//! cloud. If nothing was sent it is passed over like any target that the labels forbid, and when nothing
//! else was tried the request is refused. If bytes may already be there, the request ends: another
//! target's good answer would hide the breach.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use lockgate_api::{
    AttemptContext, BackendError, ChatRequest, ErrorKind, Event, Forbidden, Labels, Scope, Target, Timeouts,
    permit,
};
use tracing::warn;

use crate::attempt::Attempt;
use crate::failure::{FailedAttempt, GatewayError};
use crate::gateway::Entry;
use crate::guarded::Guarded;
use crate::limiter::Slot;
use crate::metrics::Metrics;
use crate::policies::plugin_failed;
use crate::race::{Race, Turn};
use crate::record::Ending;
use crate::review::{Judged, Reviewer, Unfit, judgeable, may_refuse_logprobs};
use crate::running::{Counted, Running};
use crate::selection::Step;

/// The time, on the runtime's clock so that tests can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What every attempt of one request has in common.
pub(crate) struct Execution<'a> {
    pub(crate) request_id: &'a Arc<str>,
    pub(crate) request: &'a Arc<ChatRequest>,
    /// Knows the labels of each moment.
    pub(crate) scope: &'a Scope,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: &'a Metrics,
    /// Judges the answers of steps that want it.
    pub(crate) reviewer: Option<Reviewer<'a>>,
    /// Attempts made so far.
    pub(crate) attempts: &'a mut u32,
    /// The target that answers, or that was asked last.
    pub(crate) target: &'a mut Option<Arc<Target>>,
    /// Targets that were given up while they were asked, since another answered first or the request ended.
    pub(crate) abandoned: Vec<Arc<Target>>,
}

/// A step whose turn it is.
#[derive(Clone, Copy)]
struct Racing<'a> {
    place: usize,
    step: &'a Step,
    entry: &'a Entry,
    /// Whether others run already.
    is_hedge: bool,
}

/// A step that was sent and has not said anything yet.
struct Racer<'a> {
    racing: Racing<'a>,
    /// As it counted when the step was sent.
    target: Arc<Target>,
    /// Those of the send.
    labels: Arc<Labels>,
    began: Instant,
    running: Running,
    logprobs: Logprobs,
}

/// What an attempt whose answer is judged has to do with log-probabilities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logprobs {
    /// As the client has asked.
    AsAsked,
    /// The host has asked for them.
    Added,
    /// The target has refused the same attempt with them.
    LeftOut,
}

/// Steps that did not answer, and why.
#[derive(Default)]
struct Tried {
    failures: Vec<FailedAttempt>,
    forbidden: Option<Forbidden>,
}

impl Execution<'_> {
    /// Tries `steps` in order. The stream returned has begun: its first event waits in it.
    pub(crate) async fn run(&mut self, steps: &[Step], entries: &[Entry]) -> Result<Running, GatewayError> {
        let mut racers: Vec<Racer<'_>> = Vec::new();
        let answer = self.race(steps, entries, &mut racers).await;
        self.abandoned.extend(racers.into_iter().map(|racer| racer.target));
        answer
    }

    /// Leaves whoever still runs in `racers`.
    async fn race<'s>(
        &mut self,
        steps: &'s [Step],
        entries: &'s [Entry],
        racers: &mut Vec<Racer<'s>>,
    ) -> Result<Running, GatewayError> {
        let mut tried = Tried::default();
        let mut race = Race::of(steps.iter().map(|step| step.hedge_after));
        loop {
            let until = match race.turn(now()) {
                Turn::Begin { step: place, is_hedge } => {
                    let step = &steps[place];
                    let sent = entries.get(step.target).and_then(|entry| {
                        let racing = Racing { place, step, entry, is_hedge };
                        let may_add = !entry.lacks_logprobs.load(Ordering::Relaxed);
                        let logprobs = if may_add { Logprobs::Added } else { Logprobs::AsAsked };
                        self.send(racing, logprobs, &mut tried)
                    });
                    if let Some(racer) = sent {
                        race.runs(place, now());
                        racers.push(racer);
                    }
                    continue;
                }
                Turn::Wait(until) => until,
                Turn::Over => return Err(tried.error()),
            };
            let Some((at, begun)) = first(racers, until).await else { continue };
            let mut racer = racers.remove(at);
            let judged = match begun {
                Ok(()) => {
                    if racer.logprobs == Logprobs::LeftOut {
                        racer.racing.entry.lacks_logprobs.store(true, Ordering::Relaxed);
                    }
                    self.judge(&mut racer, steps.len()).await
                }
                Err(error) if racer.logprobs == Logprobs::Added && may_refuse_logprobs(&error) => {
                    // A server's own list of what it can do is longer than what it does: once more without.
                    match self.send(racer.racing, Logprobs::LeftOut, &mut tried) {
                        Some(again) => racers.push(again),
                        None => race.failed(racer.racing.place),
                    }
                    continue;
                }
                Err(error) => Err(Unfit::Attempt(error)),
            };
            let error = match judged {
                Ok(()) => {
                    race.won();
                    if racer.racing.is_hedge {
                        self.metrics.hedge(&racer.target.id, "won");
                    }
                    *self.target = Some(racer.target);
                    return Ok(racer.running);
                }
                Err(Unfit::Attempt(error)) => error,
                Err(Unfit::Policy(error)) => {
                    let policy = self.reviewer.as_ref().map_or("", |reviewer| reviewer.router.id());
                    return Err(plugin_failed(policy.into(), error, self.request_id, &self.scope.labels()));
                }
            };
            let target = racer.target;
            warn!(request = %self.request_id, target = %target.id, kind = ?error.kind, %error, "attempt failed");
            race.failed(racer.racing.place);
            let breach = error.kind == ErrorKind::Locality && error.dispatched;
            let goes_on = error.may_fail_over() || (error.kind == ErrorKind::Locality && !breach);
            tried.failures.push(FailedAttempt { target, error, tried: true });
            if breach {
                return Err(locality_of(&tried.failures));
            }
            if !goes_on {
                return Err(tried.error());
            }
        }
    }

    /// Sends the request to a step's target, unless something is against that.
    fn send<'s>(&mut self, racing: Racing<'s>, logprobs: Logprobs, tried: &mut Tried) -> Option<Racer<'s>> {
        let Racing { step, entry, is_hedge, .. } = racing;
        let target = Arc::clone(entry.target());
        // The check at the send: labels are asked again, whatever was decided before.
        let labels = self.scope.labels();
        let permit = match permit(&labels, &target) {
            Ok(permit) => permit,
            Err(reason) => {
                tried.forbidden = Some(reason);
                return None;
            }
        };
        let request = self.request_of(step);
        if let Err(error) = entry.backend.accepts(&request) {
            tried.failures.push(FailedAttempt { target, error, tried: false });
            return None;
        }
        let flight = match entry.monitor.begin(now()) {
            Ok(flight) => flight,
            Err(wait) => {
                let message = "it failed repeatedly and is left alone for a while";
                let error = BackendError::new(ErrorKind::Unavailable, message).retry_after(Some(wait));
                tried.failures.push(FailedAttempt { target, error, tried: false });
                return None;
            }
        };
        *self.attempts += 1;
        *self.target = Some(Arc::clone(&target));
        if is_hedge {
            self.metrics.hedge(&target.id, "started");
        }
        let mut timeouts = self.timeouts;
        timeouts.total = step.timeout.map_or(timeouts.total, |limit| limit.min(timeouts.total));
        let context =
            AttemptContext { request_id: Arc::clone(self.request_id), labels: Arc::clone(&labels), timeouts };
        let began = now();
        let attempt = Attempt::begin(began, timeouts, request.choices);
        let is_judged = step.review && self.reviewer.is_some();
        let adds = is_judged && logprobs == Logprobs::Added;
        let (request, logprobs) = match adds.then(|| judgeable(&request, &*entry.backend)).flatten() {
            Some(asking) => (asking, Logprobs::Added),
            None if logprobs == Logprobs::LeftOut => (request, logprobs),
            None => (request, Logprobs::AsAsked),
        };
        self.scope.sent(&target);
        let events = entry.backend.stream(request, permit, context);
        let counted = Counted::new(Arc::clone(&target), self.metrics.clone());
        let running = Running::sent(attempt, events, flight, counted, &entry.backend);
        Some(Racer { racing, target, labels, began, running, logprobs })
    }

    /// Has an answer that has begun judged, where its step wants that.
    async fn judge(&self, racer: &mut Racer<'_>, steps: usize) -> Result<(), Unfit> {
        let Some(reviewer) = self.reviewer.as_ref().filter(|_| racer.racing.step.review) else {
            return Ok(());
        };
        let judged = Judged {
            request_id: self.request_id,
            request: self.request,
            labels: &racer.labels,
            target: &racer.target,
            attempt: racer.racing.place as u32,
            attempts_left: (steps - 1 - racer.racing.place) as u32,
            began: racer.began,
        };
        reviewer.review(&mut racer.running, judged).await
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

/// Waits for the first event or failure of any racer, or until that moment. Of several at one moment the earliest of
/// the plan comes first.
async fn first(
    racers: &mut [Racer<'_>],
    until: Option<Instant>,
) -> Option<(usize, Result<(), BackendError>)> {
    let mut alarm = pin!(async {
        match until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    });
    std::future::poll_fn(|context| {
        for (at, racer) in racers.iter_mut().enumerate() {
            if let Poll::Ready(begun) = racer.running.poll_begin(context) {
                return Poll::Ready(Some((at, begun)));
            }
        }
        alarm.as_mut().poll(context).map(|()| None)
    })
    .await
}

impl Tried {
    /// What it comes to that no step answers.
    fn error(self) -> GatewayError {
        match GatewayError::deciding(&self.failures) {
            Some(deciding) if deciding.error.kind == ErrorKind::Locality => locality_of(&self.failures),
            Some(_) => GatewayError::Exhausted(self.failures),
            None => GatewayError::Locality {
                message: self.forbidden.map_or_else(
                    || "the labels in force permit no target of the plan".to_owned(),
                    |reason| reason.to_string(),
                ),
            },
        }
    }
}

pub(crate) fn locality_of(failures: &[FailedAttempt]) -> GatewayError {
    let found = failures.iter().rev().find(|failed| failed.error.kind == ErrorKind::Locality);
    let message = found.map_or_else(String::new, |FailedAttempt { target, error, .. }| {
        format!("target `{}` passes requests on to where the labels forbid: {error}", target.id)
    });
    GatewayError::Locality { message }
}

/// An answer as it is made: events, and at most one error, which is last. Dropping it drops the
/// target's stream at once and frees the request's place.
pub struct AnswerEvents {
    source: Source,
    /// Counts the request, and takes it down where that is wanted.
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

    pub(crate) fn watched(self, ending: Ending) -> Self {
        Self { ending: Some(ending), ..self }
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
