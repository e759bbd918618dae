//! What plugins may ask for: the gateway's targets, each ask an attempt of its own.
//!
//! The same checks as for a request's attempts, in the same order: whether the target can, its breaker, and last,
//! at the send, the permit by every label that is on the request at that moment. There is no retry and no
//! failover: a plugin named its target, and may name another.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{
    Asking, AttemptContext, BackendError, ChatRequest, Choose, Chosen, Embed, Embedded, ErrorKind, Events,
    Permit, Scope, ServiceError, Services, Target, TimeoutKind, Timeouts, Usage,
};
use tracing::debug;

use crate::attempt::Attempt;
use crate::execute::now;
use crate::gateway::Entry;
use crate::health::{Flight, Measurement};
use crate::metrics::Metrics;
use crate::running::{Counted, Running};

/// The targets behind the trait.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) entries: Arc<[Entry]>,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: Metrics,
}

/// What a plugin wants.
#[derive(Clone, Copy, PartialEq)]
enum Wanted<'a> {
    Answer(&'a ChatRequest),
    Likelihoods,
    Embeddings,
    Count,
}

/// An ask that may be sent: nothing stands against it.
struct Sending {
    entries: Arc<[Entry]>,
    place: usize,
    flight: Flight,
    permit: Permit,
    context: AttemptContext,
    scope: Arc<Scope>,
    /// None where nothing is computed that would be an attempt.
    counted: Option<Counted>,
}

impl Desk {
    fn place(&self, id: &str) -> Result<usize, ServiceError> {
        let place = self.entries.iter().position(|entry| entry.target().id == id);
        place.ok_or_else(|| ServiceError::UnknownTarget(id.to_owned()))
    }

    /// Everything that is checked before a send. Returns what must be sent now or dropped.
    fn send(&self, asking: Asking, wanted: Wanted<'_>) -> Result<Sending, ServiceError> {
        let Asking { scope, target, limit } = asking;
        let place = self.place(&target)?;
        let entry = &self.entries[place];
        if let Wanted::Answer(request) = wanted {
            entry.backend.accepts(request)?;
        }
        let begun = match wanted {
            Wanted::Embeddings => entry.monitor.begin_embedding(now()),
            Wanted::Answer(_) | Wanted::Likelihoods | Wanted::Count => entry.monitor.begin(now()),
        };
        let flight = begun.map_err(|wait| {
            let message = format!("target `{target}` failed repeatedly and is left alone for a while");
            BackendError::new(ErrorKind::Unavailable, message).retry_after(Some(wait))
        })?;
        let permit = scope.permit(entry.target())?;
        let Timeouts { connect, first_event, idle, total } = self.timeouts;
        let timeouts = Timeouts {
            connect: connect.min(limit),
            first_event: first_event.min(limit),
            idle: idle.min(limit),
            total: total.min(limit),
        };
        let request_id = Arc::clone(scope.request_id());
        let context = AttemptContext { request_id, labels: scope.labels(), timeouts };
        debug!(request = %scope.request_id(), %target, "a plugin asks");
        let is_attempt = wanted != Wanted::Count;
        let counted = is_attempt.then(|| Counted::new(Arc::clone(entry.target()), self.metrics.clone()));
        Ok(Sending { entries: Arc::clone(&self.entries), place, flight, permit, context, scope, counted })
    }
}

impl Sending {
    /// Waits for an answer that comes at once, and reports what it showed of the target.
    async fn whole<T>(
        self,
        usage: impl FnOnce(&T) -> Option<Usage>,
        ask: impl FnOnce(&Entry, Permit, AttemptContext) -> BoxFuture<'static, Result<T, BackendError>>,
    ) -> Result<T, ServiceError> {
        let Self { entries, place, flight, permit, context, scope, mut counted } = self;
        let entry = &entries[place];
        let total = context.timeouts.total;
        let answer = tokio::time::timeout(total, ask(entry, permit, context)).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err(late(entry.target(), total)));
        if let Some(counted) = &mut counted {
            let used = answer.as_ref().ok().and_then(usage);
            counted.end_with(answer.as_ref().map_or_else(BackendError::word, |_| "ok"), used.as_ref());
        }
        match answer {
            Ok(answer) => {
                flight.succeeded(now(), Measurement::default());
                Ok(answer)
            }
            Err(error) => {
                flight.failed(now(), &error, Measurement::default());
                Err(told(&scope, entry.target(), error).into())
            }
        }
    }
}

fn late(target: &Target, limit: Duration) -> BackendError {
    let message = format!("target `{}` did not answer within {:.1} s", target.id, limit.as_secs_f64());
    BackendError::new(ErrorKind::Timeout(TimeoutKind::Total), message).dispatched()
}

/// A target that turned out to pass text on, once it had it, is one that was asked as a cloud.
fn told(scope: &Scope, target: &Target, error: BackendError) -> BackendError {
    if error.kind == ErrorKind::Locality && error.dispatched {
        scope.forwarded(target);
    }
    error
}

impl Services for Desk {
    fn target(&self, id: &str) -> Option<Arc<Target>> {
        self.place(id).ok().map(|place| Arc::clone(self.entries[place].target()))
    }

    fn generate(
        &self,
        asking: Asking,
        request: Arc<ChatRequest>,
    ) -> BoxFuture<'static, Result<Events, ServiceError>> {
        let desk = self.clone();
        Box::pin(async move {
            let Sending { entries, place, flight, permit, context, scope, counted } =
                desk.send(asking, Wanted::Answer(&request))?;
            let backend = &entries[place].backend;
            let target = Arc::clone(entries[place].target());
            let attempt = Attempt::begin(now(), context.timeouts, request.choices);
            let events = backend.stream(request, permit, context);
            let counted = counted.unwrap_or_else(|| Counted::new(Arc::clone(&target), desk.metrics.clone()));
            let mut running = Running::sent(attempt, events, flight, counted, backend);
            if let Err(error) = running.begin().await {
                return Err(told(&scope, &target, error).into());
            }
            let events: Events = Box::pin(futures_util::stream::unfold(running, move |mut running| {
                let (scope, target) = (Arc::clone(&scope), Arc::clone(&target));
                async move {
                    let item = running.next().await?;
                    Some((item.map_err(|error| told(&scope, &target, error)), running))
                }
            }));
            Ok(events)
        })
    }

    fn choose(&self, asking: Asking, ask: Choose) -> BoxFuture<'static, Result<Chosen, ServiceError>> {
        let desk = self.clone();
        Box::pin(async move {
            let sending = desk.send(asking, Wanted::Likelihoods)?;
            let used = |chosen: &Chosen| Some(chosen.usage);
            sending.whole(used, |entry, permit, context| entry.backend.choose(ask, permit, context)).await
        })
    }

    fn embed(&self, asking: Asking, ask: Embed) -> BoxFuture<'static, Result<Embedded, ServiceError>> {
        let desk = self.clone();
        Box::pin(async move {
            let sending = desk.send(asking, Wanted::Embeddings)?;
            let used = |embedded: &Embedded| Some(embedded.usage);
            sending.whole(used, |entry, permit, context| entry.backend.embed(ask, permit, context)).await
        })
    }

    fn count_tokens(
        &self,
        asking: Asking,
        request: Arc<ChatRequest>,
    ) -> BoxFuture<'static, Result<u64, ServiceError>> {
        let desk = self.clone();
        Box::pin(async move {
            let sending = desk.send(asking, Wanted::Count)?;
            let counts =
                |entry: &Entry, permit, context| entry.backend.count_tokens(request, permit, context);
            sending.whole(|_| None, counts).await
        })
    }
}
