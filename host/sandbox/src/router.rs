//! A router that runs as a component: one call from waiting for a free instance to the checked plan, and one to
//! the verdict on an answer.

use std::fmt;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{Plan, PolicyError, ReviewInput, ReviewVerdict, RouteInput, Router};

use crate::Sandbox;
use crate::call::{Call, Facts};
use crate::contract::bindings::reviewer::ReviewerPre;
use crate::contract::bindings::reviewer::exports::lockgate::plugin::review;
use crate::contract::bindings::router::RouterPre;
use crate::contract::{Draft, REASON_BYTES_MAX};
use crate::grant::Grant;
use crate::pin::Digest;
use crate::plugin::{Begun, Plugin, another_world};
use crate::stock::{Ahead, Hook};
use crate::warm::Instance;

/// A router that runs as a component.
///
/// Cheap to call from many tasks at once: each call has an instance and a memory of its own, or one that was kept for it
/// ([`crate::PluginSpec::reuse`]).
pub struct RouterPlugin {
    plugin: Plugin,
    instance: RouterPre<Call>,
    /// Where the component judges answers too.
    reviewer: Option<ReviewerPre<Call>>,
    ahead: Ahead,
}

/// How a guest answered.
enum Answer {
    Plan(Draft),
    Refused(String),
}

impl RouterPlugin {
    pub(crate) fn new(
        plugin: Plugin,
        (instance, reviewer): (RouterPre<Call>, Option<ReviewerPre<Call>>),
    ) -> Self {
        let ahead = Ahead::new(&plugin, Hook::Router(instance.clone()));
        Self { plugin, instance, reviewer, ahead }
    }

    /// Which component it is.
    pub fn digest(&self) -> Digest {
        self.plugin.digest
    }

    /// What compiling the component took.
    pub fn compile_time(&self) -> Duration {
        self.plugin.compile_time
    }

    /// Grants that the component does not use. Worth a warning: they could be taken away.
    pub fn grants_unused(&self) -> &[Grant] {
        &self.plugin.grants_unused
    }

    /// The same router as if `sandbox` had loaded it; see [`Sandbox::apart`].
    #[must_use]
    pub fn within(&self, sandbox: &Sandbox) -> Self {
        let (instance, reviewer) = (self.instance.clone(), self.reviewer.clone());
        Self::new(self.plugin.within(sandbox), (instance, reviewer))
    }

    async fn call(&self, input: RouteInput) -> Result<Plan, PolicyError> {
        let mut begun = self.plugin.begin(Facts::of_route(input), &self.ahead).await?;
        let _running = self.plugin.shared.ticker.running();
        let answer = self.plugin.limited(self.enter(&mut begun)).await;
        let outcome = match self.plugin.judge(begun.store.data(), answer) {
            Ok(Answer::Plan(draft)) => {
                let call = begun.store.data();
                if let Some(probe) = &self.plugin.powers.probe {
                    draft.targets().for_each(|target| probe.asks(&self.plugin.id, target));
                }
                draft.check(&call.facts().catalog, self.reviewer.is_some(), call.labels().withhold_payload())
            }
            Ok(Answer::Refused(reason)) => Err(PolicyError::Refused { reason }),
            Err(error) => Err(error),
        };
        self.plugin.report(&mut begun.store, outcome.as_ref().err());
        self.plugin.keep(begun, &self.ahead, outcome.as_ref().err());
        outcome
    }

    async fn enter(&self, begun: &mut Begun) -> wasmtime::Result<Answer> {
        let Begun { store, instance, .. } = begun;
        let instance = match instance {
            Some(Instance::Router(kept)) => kept,
            vacant => {
                let fresh = Instance::Router(self.instance.instantiate_async(&mut *store).await?);
                let Instance::Router(fresh) = vacant.insert(fresh) else { return Err(another_world()) };
                fresh
            }
        };
        let hook = instance.lockgate_plugin_route();
        let answer = hook.call_route(&mut *store, Call::request_handle()).await?;
        let call = store.data_mut();
        Ok(match answer {
            Ok(plan) => Answer::Plan(call.drafts.remove(&plan)?),
            Err(refusal) => Answer::Refused(call.refusals.remove(&refusal)?.reason),
        })
    }
}

impl RouterPlugin {
    async fn review_answer(&self, input: ReviewInput) -> Result<ReviewVerdict, PolicyError> {
        let Some(reviewer) = &self.reviewer else {
            let problem = "the component has no `review`".to_owned();
            return Err(PolicyError::InvalidPlan { problem });
        };
        let (mut store, _place) = self.plugin.begin_fresh(Facts::of_review(input)).await?;
        let _running = self.plugin.shared.ticker.running();
        let entered = async {
            let instance = reviewer.instantiate_async(&mut store).await?;
            let hook = instance.lockgate_plugin_review();
            hook.call_review(&mut store, Call::request_handle(), Call::outcome_handle()).await
        };
        let answer = self.plugin.limited(entered).await;
        let outcome = self.plugin.judge(store.data(), answer).and_then(verdict);
        self.plugin.report(&mut store, outcome.as_ref().err());
        outcome
    }
}

fn verdict(verdict: review::Verdict) -> Result<ReviewVerdict, PolicyError> {
    match verdict {
        review::Verdict::Accept => Ok(ReviewVerdict::Accept),
        review::Verdict::Next(reason) if reason.len() <= REASON_BYTES_MAX => {
            Ok(ReviewVerdict::Next { reason })
        }
        review::Verdict::Next(reason) => {
            let length = reason.len();
            let limit =
                format!("the reason of the verdict: {length} where at most {REASON_BYTES_MAX} is allowed");
            Err(PolicyError::Limit { limit })
        }
    }
}

impl Router for RouterPlugin {
    fn id(&self) -> &str {
        &self.plugin.id
    }

    /// Needs a Tokio runtime with its clock.
    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        Box::pin(self.call(input))
    }

    /// Needs a Tokio runtime with its clock.
    fn review(&self, input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        Box::pin(self.review_answer(input))
    }
}

impl fmt::Debug for RouterPlugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.describe("RouterPlugin", formatter)
    }
}
