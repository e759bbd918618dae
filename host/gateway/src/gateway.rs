//! The gateway: a snapshot of the configuration that answers requests.
//!
//! Its owner may replace it at any time; requests in flight finish on the one that they began with.
//! What a target has shown so far (health, breaker) and the places in use survive a replacement.

use std::sync::Arc;
use std::time::Instant;

use lockgate_api::{
    Backend, ChatRequest, Labels, PolicyError, RouteInput, Scope, Services, Target, TargetFacts, permit,
};
use tracing::debug;

use crate::desk::Desk;
use crate::execute::{AnswerEvents, Execution, now};
use crate::failure::{Failure, GatewayError};
use crate::guarded::Guarded;
use crate::health::Monitor;
use crate::keys::Key;
use crate::limiter::{Limiter, RETRY_AFTER};
use crate::policies::{Policies, plugin_failed};
use crate::selection::{NoSteps, Selection, Step, first_local, select, steps_of};
use crate::settling::{absorb, settle_refused};
use crate::setup::{AUTO, DIRECT, GatewayOptions, GatewayTarget, Named, OnError, SetupError, check};

/// A target, what answers for it and how it is doing.
pub(crate) struct Entry {
    pub(crate) target: Arc<Target>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) monitor: Arc<Monitor>,
}

/// Answers requests by one configuration.
pub struct Gateway {
    entries: Arc<[Entry]>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) policies: Policies,
    router_id: Arc<str>,
    direct_id: Arc<str>,
    pub(crate) options: GatewayOptions,
    limiter: Arc<Limiter>,
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
            let entry = previous.entries.iter().find(|entry| *entry.target == *target)?;
            Some(Arc::clone(&entry.monitor))
        };
        let entries = targets.into_iter().map(|GatewayTarget { target, backend }| {
            let monitor = monitor_of(&target).unwrap_or_else(|| Monitor::new(options.breaker));
            Entry { target, backend, monitor }
        });
        let entries: Arc<[Entry]> = entries.collect();
        let services = Arc::new(Desk { entries: Arc::clone(&entries), timeouts: options.timeouts });
        let limiter = previous
            .filter(|previous| previous.limiter.limits() == options.limits)
            .map_or_else(|| Arc::new(Limiter::new(options.limits)), |previous| Arc::clone(&previous.limiter));
        let router_id = Arc::from(policies.router.id());
        Ok(Self { entries, services, policies, router_id, direct_id: Arc::from(DIRECT), options, limiter })
    }

    /// The targets in configuration order.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &Arc<Target>> + Clone {
        self.entries.iter().map(|entry| &entry.target)
    }

    /// Every target and how it is doing, with whether `labels` permit it.
    pub fn facts(&self, labels: &Labels) -> Arc<[TargetFacts]> {
        let now: Instant = now();
        let facts = self.entries.iter().map(|Entry { target, backend, monitor }| TargetFacts {
            target: Arc::clone(target),
            health: monitor.health(now, backend.queued()),
            permitted: permit(labels, target).is_ok(),
        });
        facts.collect()
    }

    /// What the policy header says about a request for this model.
    pub fn policy_for(&self, model: &str) -> &Arc<str> {
        if model == AUTO || self.options.named == Named::Route { &self.router_id } else { &self.direct_id }
    }

    /// Answers, or says why not. Waits until a target has begun to answer. Dropping the future abandons
    /// the request.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn answer(&self, ask: Ask) -> Result<Answer, Box<Failure>> {
        let Ask { request_id, request, labels, key } = ask;
        let of_key = key.as_deref().map(|key| key.labels.iter().cloned());
        let all = self.options.labels.iter().cloned().chain(of_key.into_iter().flatten());
        let mut outcome = Outcome {
            policy: Arc::clone(self.policy_for(&request.model)),
            target: None,
            attempts: 0,
            labels: Arc::new(labels.with(all)),
            request_id,
        };
        let scope = self.scope(&outcome);
        match self.answer_as(&request, key.as_deref(), &scope, &mut outcome).await {
            Ok(events) => Ok(Answer { outcome, events }),
            Err(error) => {
                settle_refused(&scope, &error);
                Err(Box::new(Failure { outcome, error }))
            }
        }
    }

    async fn answer_as(
        &self,
        request: &Arc<ChatRequest>,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &mut Outcome,
    ) -> Result<AnswerEvents, GatewayError> {
        let selection = select(&request.model, self.options.named, &outcome.labels, self.targets())?;
        let overloaded = |_| GatewayError::Overloaded { retry_after: RETRY_AFTER };
        let slot = self.limiter.enter().await.map_err(overloaded)?;
        let passed = self.prepare(request, key, scope, outcome).await?;
        let selection = if self.policies.preprocessors.is_empty() {
            selection
        } else {
            // They may have added labels.
            select(&request.model, self.options.named, &outcome.labels, self.targets())?
        };
        let request = &passed.request;
        let steps = match selection {
            Selection::Direct(step) => vec![step],
            Selection::Route => self.route(request, key, scope, outcome).await?,
        };
        scope.settle();
        let stages = self.watchers(&passed, key, scope, outcome).await?;
        let labels = Arc::clone(&outcome.labels);
        let request_id = Arc::clone(&outcome.request_id);
        let mut execution = Execution {
            request_id: &request_id,
            request,
            labels: &labels,
            timeouts: self.options.timeouts,
            attempts: 0,
            target: None,
        };
        let running = execution.run(&steps, &self.entries).await;
        outcome.attempts = execution.attempts;
        outcome.target = execution.target;
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
        request: &Arc<ChatRequest>,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Step>, GatewayError> {
        let input = RouteInput {
            request_id: Arc::clone(&outcome.request_id),
            request: Arc::clone(request),
            labels: Arc::clone(&outcome.labels),
            catalog: self.facts(&outcome.labels),
            key: key.map(Key::facts),
            scope: Arc::clone(scope),
        };
        let limit = self.options.policy_timeout;
        let plan = match tokio::time::timeout(limit, self.policies.router.route(input)).await {
            Ok(plan) => plan,
            Err(_) => {
                Err(PolicyError::Limit { limit: format!("no plan within {:.1} s", limit.as_secs_f64()) })
            }
        };
        let policy = Arc::clone(&outcome.policy);
        let add_labels = plan.iter().flat_map(|plan| plan.add_labels.iter().cloned());
        absorb(scope, &policy, add_labels, outcome)?;
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return self.policy_failed(error, outcome),
        };
        if !outcome.labels.withhold_payload() {
            debug!(request = %outcome.request_id, policy = %outcome.policy, reason = %plan.reason, "planned");
        }
        match steps_of(&plan, &outcome.labels, self.targets()) {
            Ok(steps) => Ok(steps),
            Err(NoSteps::Forbidden { message }) => Err(GatewayError::Locality { message }),
            Err(NoSteps::Invalid(error)) => self.policy_failed(error, outcome),
        }
    }

    /// A refusal ends the request; a failure is logged and `on_error` applies.
    fn policy_failed(&self, error: PolicyError, outcome: &Outcome) -> Result<Vec<Step>, GatewayError> {
        let error = plugin_failed(Arc::clone(&outcome.policy), error, outcome);
        let step = match (self.options.on_error, &error) {
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
