//! Routers that are tried on live traffic: asked what they would have done, compared, never obeyed.
//!
//! A shadow runs beside the answer and can neither delay nor change it. Few run at once: beyond that a
//! request is skipped, which is counted too.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Plan, PolicyError, RouteInput, Router};
use tokio::sync::Semaphore;
use tracing::info;

use crate::metrics::Metrics;

/// Shadows that run at once.
const RUNNING_MAX: usize = 8;

/// The places that shadows run in, shared over configurations.
pub(crate) type Places = Arc<Semaphore>;

pub(crate) fn places() -> Places {
    Arc::new(Semaphore::new(RUNNING_MAX))
}

/// How a shadow's decision compares with the one that was obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The same targets in the same order, and the same labels; or both refuse.
    Same,
    /// Anything else.
    Different,
    /// It came to no decision.
    Failed,
    /// It was not asked, since too many were running.
    Skipped,
}

impl Comparison {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Compares what was obeyed with what would have been.
    fn of(obeyed: &Obeyed, shadow: &Result<Plan, PolicyError>) -> Self {
        let same = match (obeyed, shadow) {
            (_, Err(error)) if !matches!(error, PolicyError::Refused { .. }) => return Self::Failed,
            (Obeyed::Refused, Err(_)) => true,
            (Obeyed::Plan(plan), Ok(other)) => {
                targets(plan).eq(targets(other)) && plan.add_labels == other.add_labels
            }
            (Obeyed::Refused | Obeyed::Failed, Ok(_)) | (Obeyed::Plan(_) | Obeyed::Failed, Err(_)) => false,
        };
        if same { Self::Same } else { Self::Different }
    }
}

/// What the obeyed router decided.
#[derive(Clone, Debug)]
pub(crate) enum Obeyed {
    Plan(Plan),
    Refused,
    Failed,
}

impl Obeyed {
    pub(crate) fn of(plan: &Result<Plan, PolicyError>) -> Self {
        match plan {
            Ok(plan) => Self::Plan(plan.clone()),
            Err(PolicyError::Refused { .. }) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

fn targets(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.attempts.iter().map(|attempt| attempt.target.as_str())
}

fn names(plan: &Plan) -> String {
    targets(plan).collect::<Vec<_>>().join(",")
}

/// Asks a shadow beside everything else. Needs a Tokio runtime.
pub(crate) fn ask(
    shadow: &Arc<dyn Router>,
    input: RouteInput,
    obeyed: Obeyed,
    limit: Duration,
    places: &Places,
    metrics: &Metrics,
) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        metrics.shadow(shadow.id(), Comparison::Skipped);
        return;
    };
    let (shadow, metrics) = (Arc::clone(shadow), metrics.clone());
    tokio::spawn(async move {
        let request = Arc::clone(&input.request_id);
        let plan = match tokio::time::timeout(limit, shadow.route(input)).await {
            Ok(plan) => plan,
            Err(_) => Err(PolicyError::Limit { limit: "no plan in time".to_owned() }),
        };
        drop(place);
        let comparison = Comparison::of(&obeyed, &plan);
        metrics.shadow(shadow.id(), comparison);
        if comparison != Comparison::Same {
            // Ids of targets alone: a plugin's words may quote the request.
            let would = match &plan {
                Ok(plan) => names(plan),
                Err(error) => error.kind().to_owned(),
            };
            let did = match &obeyed {
                Obeyed::Plan(plan) => names(plan),
                Obeyed::Refused => "refused".to_owned(),
                Obeyed::Failed => "failed".to_owned(),
            };
            info!(%request, shadow = shadow.id(), comparison = comparison.name(), did, would, "shadow decision");
        }
    });
}

#[cfg(test)]
mod tests;
