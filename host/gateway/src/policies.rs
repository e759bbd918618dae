//! The chain of a request's plugins: preprocessors before the router, guards behind the target.
//!
//! Preprocessors run in order, also when the client names its model. A label that one adds holds from then
//! on; one that fails refuses the request. Guards begin to watch before anything is sent, so that one which
//! cannot refuses the request instead of cutting its answer short.

use std::collections::HashSet;
use std::sync::Arc;

use lockgate_api::{
    ChatRequest, Guard, Labels, PolicyError, PrepareInput, Prepared, Preprocessor, Router, Scope, WatchInput,
};

use crate::failure::GatewayError;
use crate::gateway::{Gateway, Outcome};
use crate::guarded::{Rules, Stage};
use crate::keys::Key;
use crate::routing::Route;
use crate::settling::absorb;
use crate::setup::SetupError;

/// The plugins of a configuration, in its order.
pub struct Policies {
    /// Decide where a request goes. The first does where neither its key nor its model's name chooses.
    pub routes: Vec<Route>,
    /// Change a request before it is routed.
    pub preprocessors: Vec<Arc<dyn Preprocessor>>,
    /// Watch the answer.
    pub guards: Vec<Arc<dyn Guard>>,
}

impl Policies {
    /// A router alone.
    pub fn router(router: Arc<dyn Router>) -> Self {
        Self::route(Route::of(router))
    }

    /// One route and no filter.
    pub fn route(route: Route) -> Self {
        Self { routes: vec![route], preprocessors: Vec::new(), guards: Vec::new() }
    }

    /// A preprocessor and a guard of one id are one plugin, whose halves share a note; no other two plugins
    /// may have the same.
    pub(crate) fn check(&self) -> Result<(), SetupError> {
        let preprocessors = self.preprocessors.iter().map(|preprocessor| preprocessor.id());
        let guards = self.guards.iter().map(|guard| guard.id());
        let mut first = HashSet::new();
        for route in &self.routes {
            route.check()?;
            if let Some(twice) = route.routers().find(|router| !first.insert(router.id())) {
                return Err(SetupError::DuplicatePlugin(twice.id().to_owned()));
            }
        }
        let mut second = first.clone();
        for (id, is_new) in
            preprocessors.map(|id| (id, first.insert(id))).chain(guards.map(|id| (id, second.insert(id))))
        {
            if !is_new {
                return Err(SetupError::DuplicatePlugin(id.to_owned()));
            }
        }
        Ok(())
    }
}

/// A request that has passed its preprocessors.
pub(crate) struct Passed {
    pub(crate) request: Arc<ChatRequest>,
    /// What each preprocessor kept for its guard, by its id.
    notes: Vec<(String, Arc<[u8]>)>,
}

impl Gateway {
    /// Leads a request through the preprocessors.
    pub(crate) async fn prepare(
        &self,
        request: &Arc<ChatRequest>,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &mut Outcome,
    ) -> Result<Passed, GatewayError> {
        let mut passed = Passed { request: Arc::clone(request), notes: Vec::new() };
        let limit = self.options.policy_timeout;
        for preprocessor in &self.policies.preprocessors {
            let input = PrepareInput {
                request_id: Arc::clone(&outcome.request_id),
                request: Arc::clone(&passed.request),
                labels: Arc::clone(&outcome.labels),
                key: key.map(Key::facts),
                scope: Arc::clone(scope),
            };
            let prepared = match tokio::time::timeout(limit, preprocessor.prepare(input)).await {
                Ok(prepared) => prepared,
                Err(_) => Err(PolicyError::Limit {
                    limit: format!("not prepared within {:.1} s", limit.as_secs_f64()),
                }),
            };
            let add_labels = prepared.iter().flat_map(|prepared| prepared.add_labels.iter().cloned());
            absorb(scope, preprocessor.id(), add_labels, outcome)?;
            let Prepared { request, note, .. } = prepared.map_err(|error| {
                plugin_failed(preprocessor.id().into(), error, &outcome.request_id, &outcome.labels)
            })?;
            passed.request = request;
            passed.notes.extend(note.map(|note| (preprocessor.id().to_owned(), note)));
        }
        Ok(passed)
    }

    /// Lets every guard begin to watch every choice. The stages come by choice.
    pub(crate) async fn watchers(
        &self,
        passed: &Passed,
        key: Option<&Key>,
        scope: &Arc<Scope>,
        outcome: &Outcome,
    ) -> Result<Vec<Vec<Stage>>, GatewayError> {
        let limit = self.options.policy_timeout;
        let mut choices: Vec<Vec<Stage>> = (0..passed.request.choices).map(|_| Vec::new()).collect();
        for guard in &self.policies.guards {
            let id: Arc<str> = guard.id().into();
            let note = passed.notes.iter().find(|(owner, _)| **owner == *id).map(|(_, note)| note);
            for (choice, stages) in (0..).zip(&mut choices) {
                let input = WatchInput {
                    request_id: Arc::clone(&outcome.request_id),
                    choice,
                    labels: Arc::clone(&outcome.labels),
                    key: key.map(Key::facts),
                    note: note.cloned(),
                    scope: Arc::clone(scope),
                };
                let watch = match tokio::time::timeout(limit, guard.watch(input)).await {
                    Ok(watch) => watch,
                    Err(_) => Err(PolicyError::Limit {
                        limit: format!("not watching within {:.1} s", limit.as_secs_f64()),
                    }),
                };
                let watch = watch.map_err(|error| {
                    plugin_failed(Arc::clone(&id), error, &outcome.request_id, &outcome.labels)
                })?;
                stages.push(Stage::new(Arc::clone(&id), watch));
            }
        }
        Ok(choices)
    }

    /// What all guards of an answer are told.
    pub(crate) fn guard_rules(&self, outcome: &Outcome) -> Rules {
        Rules {
            request_id: Arc::clone(&outcome.request_id),
            withhold: outcome.labels.withhold_payload(),
            limit: self.options.policy_timeout,
        }
    }
}

/// What a plugin's refusal or failure means for a request. A failure is logged.
pub(crate) fn plugin_failed(
    policy: Arc<str>,
    error: PolicyError,
    request: &str,
    labels: &Labels,
) -> GatewayError {
    if let PolicyError::Refused { reason } = error {
        return GatewayError::PolicyRefused { policy, reason };
    }
    // What a plugin writes counts as payload.
    if labels.withhold_payload() {
        tracing::warn!(%request, %policy, kind = error.kind(), "policy failed");
    } else {
        tracing::warn!(%request, %policy, kind = error.kind(), %error, "policy failed");
    }
    GatewayError::PolicyFailed { policy, error }
}
