//! Which router decides about a request, and how it is asked.
//!
//! The choice is pure: by the key's own router, else by the model's name, else the first. Beside the router
//! that is obeyed there may be a *canary*, a newer version that decides a share of the requests and falls
//! back to the old one when it fails, and *shadows* (`shadow`), which are asked and never obeyed. Labels are
//! applied to whatever comes out, in [`crate::selection`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use lockgate_api::{Plan, PolicyError, RouteInput, Router};
use tracing::warn;

use crate::gateway::Gateway;
use crate::keys::Key;
use crate::setup::{AUTO, OnError, SetupError};

/// A router that is obeyed, and what is tried out beside it.
pub struct Route {
    /// Decides where a request goes.
    pub router: Arc<dyn Router>,
    /// What happens to a request when it fails.
    pub on_error: OnError,
    /// A version to come.
    pub canary: Option<Canary>,
    /// Wish after the router about the same requests, and never obeyed.
    pub shadows: Vec<Arc<dyn Router>>,
}

/// A router that decides a share of the requests in another's place.
pub struct Canary {
    /// Decides. When it fails, the old version is asked.
    pub router: Arc<dyn Router>,
    /// Of all requests that the old version would decide; more than 0 and at most 1.
    pub share: f64,
}

impl Route {
    /// A router alone; a failure of it refuses the request.
    pub fn of(router: Arc<dyn Router>) -> Self {
        Self { router, on_error: OnError::Refuse, canary: None, shadows: Vec::new() }
    }

    /// All its routers, the obeyed one first.
    pub(crate) fn routers(&self) -> impl Iterator<Item = &Arc<dyn Router>> {
        let canary = self.canary.iter().map(|canary| &canary.router);
        std::iter::once(&self.router).chain(canary).chain(&self.shadows)
    }

    pub(crate) fn check(&self) -> Result<(), SetupError> {
        match &self.canary {
            Some(canary) if !(canary.share > 0.0 && canary.share <= 1.0) => Err(SetupError::OutOfBounds {
                name: "a canary's share of the requests",
                bounds: "more than 0 and at most 1",
            }),
            _ => Ok(()),
        }
    }
}

/// What a model's name asks for.
pub(crate) enum Wish<'a> {
    /// A decision of this router.
    Router(&'a Route),
    /// The target of that name.
    Target,
    /// Nothing that exists, or that this key may ask for.
    Unknown,
}

/// Reads the model's name: `auto`, `auto:ROUTER`, or a target. A key that has a router of its own is decided
/// by that one and cannot name another.
pub(crate) fn wish<'a>(routes: &'a [Route], model: &str, key: Option<&Key>) -> Wish<'a> {
    let own = key.and_then(|key| key.router.as_deref());
    let name = match model.strip_prefix(AUTO) {
        Some("") => own,
        Some(rest) => match (rest.strip_prefix(':'), own) {
            (Some(name), Some(own)) if name != own => return Wish::Unknown,
            (Some(name), _) => Some(name),
            (None, _) => return Wish::Target,
        },
        None => return Wish::Target,
    };
    match name {
        None => routes.first(),
        Some(name) => routes.iter().find(|route| route.router.id() == name),
    }
    .map_or(Wish::Unknown, Wish::Router)
}

/// The router for a request that names a target, where names are wishes.
pub(crate) fn for_named<'a>(routes: &'a [Route], key: Option<&Key>) -> Option<&'a Route> {
    match wish(routes, AUTO, key) {
        Wish::Router(route) => Some(route),
        Wish::Target | Wish::Unknown => None,
    }
}

/// Whether the canary decides. The same request id always falls on the same side.
fn falls_to(canary: &Canary, request_id: &str) -> bool {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    ((hasher.finish() >> 11) as f64) < canary.share * (1_u64 << 53) as f64
}

/// A decision and whose it is.
pub(crate) struct Decision {
    pub(crate) policy: Arc<str>,
    pub(crate) router: Arc<dyn Router>,
    pub(crate) plan: Result<Plan, PolicyError>,
}

impl Gateway {
    /// Asks the canary where the request falls to it, else or when it fails the router.
    pub(crate) async fn decide(&self, route: &Route, input: RouteInput) -> Decision {
        if let Some(canary) = route.canary.as_ref().filter(|canary| falls_to(canary, &input.request_id)) {
            let plan = self.ask(&canary.router, input.clone()).await;
            let policy: Arc<str> = canary.router.id().into();
            match plan {
                Err(error) if !matches!(error, PolicyError::Refused { .. }) => {
                    self.options.metrics.canary(&policy, false);
                    let (request, kind, old) =
                        (Arc::clone(&input.request_id), error.kind(), route.router.id().to_owned());
                    // What a plugin writes counts as payload.
                    input.scope.when_over(move |labels| {
                        if labels.withhold_payload() {
                            warn!(%request, %policy, kind, old, "canary failed, the old version decides");
                        } else {
                            warn!(%request, %policy, kind, old, %error, "canary failed, the old version decides");
                        }
                    });
                }
                plan => {
                    self.options.metrics.canary(&policy, true);
                    return Decision { policy, router: Arc::clone(&canary.router), plan };
                }
            }
        }
        let plan = self.ask(&route.router, input).await;
        Decision { policy: route.router.id().into(), router: Arc::clone(&route.router), plan }
    }

    /// Asks a router, and no longer than the gateway waits for one.
    async fn ask(&self, router: &Arc<dyn Router>, input: RouteInput) -> Result<Plan, PolicyError> {
        let limit = self.options.policy_timeout;
        tokio::time::timeout(limit, router.route(input)).await.unwrap_or_else(|_| {
            Err(PolicyError::Limit { limit: format!("no plan within {:.1} s", limit.as_secs_f64()) })
        })
    }
}

#[cfg(test)]
mod tests;
