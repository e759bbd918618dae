//! The gateway: a snapshot of the configuration that answers requests.
//!
//! Its owner may replace it at any time; requests in flight finish on the one that they began with.
//! What a target has shown so far (health, breaker) and the places in use survive a replacement.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lockgate_api::{
    Backend, ChatRequest, Health, Labels, Locality, Plan, PolicyError, RouteInput, Scope, Services, Target,
    TargetFacts, permit,
};
use tracing::debug;

use crate::desk::Desk;
use crate::execute::{AnswerEvents, Execution, now};
use crate::failure::{Failure, GatewayError};
use crate::guarded::Guarded;
use crate::health::Monitor;
use crate::in_hand::InHand;
use crate::keys::Key;
use crate::limiter::{Limiter, RETRY_AFTER};
use crate::policies::{Policies, plugin_failed};
use crate::record::{Ending, Recording};
use crate::review::Reviewer;
use crate::routing::{Decision, Route, Wish, for_named, wish};
use crate::selection::{NoSteps, Selection, Step, first_local, select, steps_of, unknown};
use crate::settling::{absorb, settle_refused};
use crate::setup::{DIRECT, GatewayOptions, GatewayTarget, Named, OnError, SetupError, check};
use crate::shadow::{self, Obeyed};

/// A target, what answers for it and how it is doing.
pub(crate) struct Entry {
    declared: Arc<Target>,
    /// The same as what it counts as when it passes requests on.
    forwarding: Arc<Target>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) monitor: Arc<Monitor>,
    /// Whether it was seen to refuse a request for its log-probabilities and to answer the same one without.
    pub(crate) lacks_logprobs: AtomicBool,
}

impl Entry {
    fn new(declared: Arc<Target>, backend: Arc<dyn Backend>, monitor: Arc<Monitor>) -> Self {
        let forwarding = Arc::new(Target { locality: Locality::Cloud, region: None, ..(*declared).clone() });
        Self { declared, forwarding, backend, monitor, lacks_logprobs: AtomicBool::new(false) }
    }

    /// The target, as far away as its bytes are known to go: one that passes requests on counts as cloud,
    /// and nobody knows in which region.
    pub(crate) fn target(&self) -> &Arc<Target> {
        if self.backend.forwards() { &self.forwarding } else { &self.declared }
    }
}

/// Answers requests by one configuration.
pub struct Gateway {
    pub(crate) entries: Arc<[Entry]>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) policies: Policies,
    pub(crate) direct_id: Arc<str>,
    shadows: shadow::Places,
    pub(crate) options: GatewayOptions,
    pub(crate) limiter: Arc<Limiter>,
}

/// A request and who makes it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// For headers, logs and upstreams.
    pub request_id: Arc<str>,
    /// The request.
    pub request: Arc<ChatRequest>,
    /// Labels from the request's own header. They add to the key's and the configuration's.
    pub labels: Labels,
    /// The caller, where keys are configured.
    pub key: Option<Arc<Key>>,
}

/// Who takes part in a request beside its text.
struct Parties<'a> {
    key: Option<&'a Key>,
    scope: &'a Arc<Scope>,
    recording: Option<&'a Arc<Recording>>,
}

/// What is known of how a request was treated.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The policy's id, or `direct` when the client's model name decided.
    pub policy: Arc<str>,
    /// The target that answers, or that was asked last; `None` when none was.
    pub target: Option<Arc<Target>>,
    /// How many times a target was asked.
    pub attempts: u32,
    /// The labels in force, those of preprocessors and of the plan included.
    pub labels: Arc<Labels>,
}

/// An answer that has begun: its target is settled.
pub struct Answer {
    /// How it came about.
    pub outcome: Outcome,
    /// The answer itself, from its first event.
    pub events: AnswerEvents,
}

impl Gateway {
    /// A gateway over these targets, in configuration order.
    ///
    /// # Errors
    /// Ids that are not unique or cannot be used, limits out of bounds.
    pub fn new(
        targets: Vec<GatewayTarget>,
        policies: Policies,
        options: GatewayOptions,
    ) -> Result<Self, SetupError> {
        Self::build(targets, policies, options, None)
    }

    /// A gateway by a new configuration that takes over what this one knows: the health of each target
    /// whose description is unchanged, and the places in use where their limits are.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn replaced(
        &self,
        targets: Vec<GatewayTarget>,
        policies: Policies,
        options: GatewayOptions,
    ) -> Result<Self, SetupError> {
        Self::build(targets, policies, options, Some(self))
    }

    fn build(
        targets: Vec<GatewayTarget>,
        policies: Policies,
        options: GatewayOptions,
        previous: Option<&Self>,
    ) -> Result<Self, SetupError> {
        check(&targets, &options)?;
        policies.check()?;
        let monitor_of = |target: &Target| {
            let previous = previous.filter(|previous| previous.options.breaker == options.breaker)?;
            let entry = previous.entries.iter().find(|entry| *entry.declared == *target)?;
            Some(Arc::clone(&entry.monitor))
        };
        let entries = targets.into_iter().map(|GatewayTarget { target, backend }| {
            let monitor = monitor_of(&target).unwrap_or_else(|| Monitor::new(options.breaker));
            Entry::new(target, backend, monitor)
        });
        let entries: Arc<[Entry]> = entries.collect();
        let services = Arc::new(Desk {
            entries: Arc::clone(&entries),
            timeouts: options.timeouts,
            metrics: options.metrics.clone(),
        });
        let limiter = previous
            .filter(|previous| previous.limiter.limits() == options.limits)
            .map_or_else(|| Arc::new(Limiter::new(options.limits)), |previous| Arc::clone(&previous.limiter));
        let shadows = previous.map_or_else(shadow::places, |previous| Arc::clone(&previous.shadows));
        Ok(Self { entries, services, policies, direct_id: Arc::from(DIRECT), shadows, options, limiter })
    }

    /// The targets in configuration order.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &Arc<Target>> + Clone {
        self.entries.iter().map(Entry::target)
    }

    /// Asks every backend whether it passes requests on ([`Backend::reveal`]): for the host's start.
    pub fn reveal(&self) -> impl Future<Output = ()> + Send + 'static {
        let asked: Vec<_> = self.entries.iter().map(|entry| entry.backend.reveal()).collect();
        async move {
            futures_util::future::join_all(asked).await;
        }
    }

    /// Takes this for the health of the target `id`, if there is one, until it has shown its own: for simulations.
    pub fn assume_health(&self, id: &str, health: Health) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.declared.id == id) {
            entry.monitor.assume(now(), health);
        }
    }

    /// Brings the gauges of [`crate::Metrics`] up to date.
    pub fn observe(&self) {
        self.options.metrics.observe(&self.facts(&Labels::none()));
    }

    /// Every target and how it is doing, with whether `labels` permit it.
    pub fn facts(&self, labels: &Labels) -> Arc<[TargetFacts]> {
        let now: Instant = now();
        let facts = self.entries.iter().map(|entry| TargetFacts {
            target: Arc::clone(entry.target()),
            health: entry.monitor.health(now, entry.backend.queued()),
            permitted: permit(labels, entry.target()).is_ok(),
            adapters: entry.backend.adapter_targets(),
        });
        facts.collect()
    }

    /// The routers that a request may ask by name, `auto:ID`, the default one first.
    pub fn routers(&self) -> impl Iterator<Item = &str> {
        self.policies.routes.iter().map(|route| route.router.id())
    }

    /// Answers, or says why not. Waits until a target has begun to answer. Dropping the future abandons
    /// the request.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn answer(&self, ask: Ask) -> Result<Answer, Box<Failure>> {
        let Ask { request_id, request, labels, key } = ask;
        let wish = wish(&self.policies.routes, &request.model, key.as_deref());
        let route = match &wish {
            Wish::Router(route) => Some(*route),
            Wish::Target if self.options.named == Named::Route => {
                for_named(&self.policies.routes, key.as_deref())
            }
            Wish::Target | Wish::Unknown => None,
        };
        let outcome = Outcome {
            policy: route.map_or_else(|| Arc::clone(&self.direct_id), |route| route.router.id().into()),
            target: None,
            attempts: 0,
            labels: Arc::new(self.in_force(&labels, key.as_deref())),
            request_id,
        };
        let record = self.options.record.as_ref();
        let recording = record.map(|log| Recording::begin(log, &request, key.as_deref().map(Key::facts)));
        let scope = self.scope(&outcome, recording.as_ref());
        let parties = Parties { key: key.as_deref(), scope: &scope, recording: recording.as_ref() };
        let mut in_hand = InHand::new(outcome, &scope, recording.as_ref(), &self.options.metrics);
        let outcome = &mut in_hand.outcome;
        let answered = match wish {
            Wish::Unknown => Err(unknown(&request.model, self.targets())),
            Wish::Router(_) => self.answer_as(&request, None, route, &parties, outcome).await,
            Wish::Target => {
                let wanted = Some(request.model.as_str());
                self.answer_as(&request, wanted, route, &parties, outcome).await
            }
        };
        let outcome = in_hand.over();
        let metrics = &self.options.metrics;
        match answered {
            Ok(events) => {
                let ending = Ending::new(recording, metrics.clone(), outcome.clone());
                Ok(Answer { outcome, events: events.watched(ending) })
            }
            Err(error) => {
                metrics.request(&outcome.policy, error.kind());
                if let Some(recording) = recording {
                    recording.end(&outcome, error.kind(), None, None);
                }
                settle_refused(&scope, &error);
                scope.end();
                Err(Box::new(Failure { outcome, error }))
            }
        }
    }

    /// The labels that a request begins with: its own, the configuration's and the key's.
    pub(crate) fn in_force(&self, labels: &Labels, key: Option<&Key>) -> Labels {
        let of_key = key.map(|key| key.labels.iter().cloned());
        labels.with(self.options.labels.iter().cloned().chain(of_key.into_iter().flatten()))
    }

    /// `wanted` is the target that the client named, `route` what decides where it did not.
    async fn answer_as(
        &self,
        request: &Arc<ChatRequest>,
        wanted: Option<&str>,
        route: Option<&Route>,
        parties: &Parties<'_>,
        outcome: &mut Outcome,
    ) -> Result<AnswerEvents, GatewayError> {
        let selection = select(wanted, self.options.named, &outcome.labels, self.targets())?;
        let overloaded = |_| GatewayError::Overloaded { retry_after: RETRY_AFTER };
        let slot = self.limiter.enter().await.map_err(overloaded)?;
        let &Parties { key, scope, recording } = parties;
        let passed = self.prepare(request, key, scope, outcome).await?;
        let selection = if self.policies.preprocessors.is_empty() {
            selection
        } else {
            // They may have added labels.
            select(wanted, self.options.named, &outcome.labels, self.targets())?
        };
        let request = &passed.request;
        let (steps, reviewer) = match (selection, route) {
            (Selection::Direct(step), _) => (vec![step], None),
            (Selection::Route, Some(route)) => self.route(route, request, parties, outcome).await?,
            // A key whose router is not configured. What decides in its place is not for the host to say.
            (Selection::Route, None) => return Err(unknown(&request.model, self.targets())),
        };
        // A review may yet add a label.
        if reviewer.is_none() {
            scope.settle();
        }
        let stages = self.watchers(&passed, key, scope, outcome).await?;
        let request_id = Arc::clone(&outcome.request_id);
        let mut execution = Execution {
            request_id: &request_id,
            request,
            scope,
            timeouts: self.options.timeouts,
            metrics: &self.options.metrics,
            reviewer,
            attempts: &mut outcome.attempts,
            target: &mut outcome.target,
            abandoned: Vec::new(),
        };
        let running = execution.run(&steps, &self.entries).await;
        if let Some(recording) = recording {
            recording.abandoned(execution.abandoned);
        }
        // A review may have added some.
        outcome.labels = scope.labels();
        if !matches!(running, Err(GatewayError::PolicyFailed { .. })) {
            scope.settle();
        }
        let running = running?;
        if self.policies.guards.is_empty() {
            return Ok(AnswerEvents::new(running, slot));
        }
        let guarded = Guarded::new(running, stages, self.guard_rules(outcome));
        Ok(AnswerEvents::guarded(guarded, slot))
    }

    /// Asks the policy and applies the labels to its plan.
    async fn route(
        &self,
        route: &Route,
        request: &Arc<ChatRequest>,
        parties: &Parties<'_>,
        outcome: &mut Outcome,
    ) -> Result<(Vec<Step>, Option<Reviewer<'_>>), GatewayError> {
        let &Parties { key, scope, recording } = parties;
        let input = RouteInput {
            request_id: Arc::clone(&outcome.request_id),
            request: Arc::clone(request),
            labels: Arc::clone(&outcome.labels),
            catalog: self.facts(&outcome.labels),
            key: key.map(Key::facts),
            scope: Arc::clone(scope),
        };
        if let Some(recording) = recording {
            recording.routed(&input);
        }
        let for_shadows = (!route.shadows.is_empty()).then(|| input.clone());
        let catalog = Arc::clone(&input.catalog);
        let Decision { policy, router, plan } = self.decide(route, input).await;
        if let Some(recording) = recording {
            recording.decided(&policy, &plan);
        }
        let add_labels = plan.iter().flat_map(|plan| plan.add_labels.iter().cloned());
        absorb(scope, &policy, add_labels, outcome)?;
        outcome.policy = policy;
        let obeyed = for_shadows.map(|input| (input, Obeyed::of(&plan)));
        let steps = self.steps(route, plan, scope, outcome);
        if let Some((input, obeyed)) = obeyed {
            let (labels, scope) = (Arc::clone(&outcome.labels), scope.shadow());
            let catalog = self.facts(&labels);
            self.ask_shadows(route, &RouteInput { labels, catalog, scope, ..input }, &obeyed);
        }
        let steps = steps?;
        let reviewer = steps.iter().any(|step| step.review).then(|| Reviewer {
            router,
            catalog,
            key: key.map(Key::facts),
            scope: Arc::clone(scope),
            limit: self.options.policy_timeout,
            metrics: &self.options.metrics,
            recording: recording.cloned(),
        });
        Ok((steps, reviewer))
    }

    /// Lets the shadows decide about the same request, under the labels that hold now.
    fn ask_shadows(&self, route: &Route, input: &RouteInput, obeyed: &Obeyed) {
        let limit = self.options.policy_timeout;
        for router in &route.shadows {
            let (places, metrics) = (&self.shadows, &self.options.metrics);
            shadow::ask(router, input.clone(), obeyed.clone(), limit, places, metrics);
        }
    }

    /// What a decision comes to under its own labels too.
    fn steps(
        &self,
        route: &Route,
        plan: Result<Plan, PolicyError>,
        scope: &Scope,
        outcome: &Outcome,
    ) -> Result<Vec<Step>, GatewayError> {
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return self.policy_failed(route, error, outcome),
        };
        let (request, policy, reason) =
            (Arc::clone(&outcome.request_id), Arc::clone(&outcome.policy), plan.reason.clone());
        scope.when_over(move |labels| {
            if !labels.withhold_payload() {
                debug!(%request, %policy, %reason, "planned");
            }
        });
        match steps_of(&plan, &outcome.labels, self.targets()) {
            Ok(steps) => Ok(steps),
            Err(NoSteps::Forbidden { message }) => Err(GatewayError::Locality { message }),
            Err(NoSteps::Invalid(error)) => self.policy_failed(route, error, outcome),
        }
    }

    /// A refusal ends the request; a failure is logged and `on_error` applies.
    fn policy_failed(
        &self,
        route: &Route,
        error: PolicyError,
        outcome: &Outcome,
    ) -> Result<Vec<Step>, GatewayError> {
        let error = plugin_failed(Arc::clone(&outcome.policy), error, &outcome.request_id, &outcome.labels);
        let step = match (route.on_error, &error) {
            (OnError::FirstTarget, GatewayError::PolicyFailed { .. }) => {
                first_local(&outcome.labels, self.targets())
            }
            _ => None,
        };
        step.map(|step| vec![step]).ok_or(error)
    }
}

#[cfg(test)]
mod tests;
