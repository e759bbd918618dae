//! Which targets a request may use: by the name that it asks for, its labels, and its policy's plan.
//!
//! Pure. A plan is a proposal: it can order targets and add labels, and nothing else. Whatever it says,
//! what comes out of [`steps_of`] is permitted by the labels before it and by those that it added.

use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Labels, Locality, Overrides, Plan, PlannedAttempt, PolicyError, Target, permit};

use crate::failure::GatewayError;
use crate::setup::Named;

/// Steps that a plan may have. It may name a target twice, which is how a policy asks for a retry.
pub const STEPS_MAX: usize = 16;
/// Names listed to a client that asked for an unknown one.
const NAMES_SHOWN_MAX: usize = 20;

/// One attempt to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The target's place in the catalogue.
    pub target: usize,
    /// The plan's limit for the whole attempt.
    pub timeout: Option<Duration>,
    /// Whether the router judges the answer.
    pub review: bool,
    /// How long it runs alone.
    pub hedge_after: Option<Duration>,
    /// Sampling parameters in the place of the request's own.
    pub sampling: Overrides,
}

impl Step {
    /// An attempt on the target at this place, and nothing special about it.
    pub fn on(target: usize) -> Self {
        Self { target, timeout: None, review: false, hedge_after: None, sampling: Overrides::default() }
    }

    /// What a plan says, on the target at this place.
    fn of(attempt: &PlannedAttempt, target: usize) -> Self {
        let PlannedAttempt { timeout, review, hedge_after, sampling, .. } = *attempt;
        Self { target, timeout, review, hedge_after, sampling }
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Selection {
    /// The client: this target.
    Direct(Step),
    /// The router.
    Route,
}

/// Why a plan has no steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSteps {
    /// The plan makes no sense.
    Invalid(PolicyError),
    /// The labels forbid every step of it.
    Forbidden {
        /// For the client.
        message: String,
    },
}

/// What the request asks for, labels applied: the target `named`, or a router's decision where none is. Nothing
/// is asked of a policy when no target could be used anyway.
///
/// # Errors
/// Unknown or refused names, no target at all, or none that the labels permit.
pub fn select<'a>(
    wanted: Option<&str>,
    named: Named,
    labels: &Labels,
    targets: impl Iterator<Item = &'a Arc<Target>> + Clone,
) -> Result<Selection, GatewayError> {
    if targets.clone().next().is_none() {
        return Err(GatewayError::NoTarget);
    }
    if let Some(model) = wanted {
        let place = targets.clone().position(|target| target.id == model);
        let (Some(place), Some(target)) = (place, place.and_then(|place| targets.clone().nth(place))) else {
            return Err(unknown(model, targets));
        };
        match named {
            Named::Refuse => return Err(GatewayError::NamedRefused { model: model.to_owned() }),
            Named::Direct => {
                permit(labels, target)
                    .map_err(|forbidden| GatewayError::Locality { message: forbidden.to_string() })?;
                return Ok(Selection::Direct(Step::on(place)));
            }
            Named::Route => {}
        }
    }
    if targets.clone().any(|target| permit(labels, target).is_ok()) {
        return Ok(Selection::Route);
    }
    Err(GatewayError::Locality {
        message: format!("the labels in force ({labels}) permit none of the configured targets"),
    })
}

/// The error for a name that nothing has.
pub(crate) fn unknown<'a>(model: &str, targets: impl Iterator<Item = &'a Arc<Target>>) -> GatewayError {
    let mut known: Vec<_> = targets.map(|target| target.id.as_str()).take(NAMES_SHOWN_MAX + 1).collect();
    let more = known.len() > NAMES_SHOWN_MAX;
    known.truncate(NAMES_SHOWN_MAX);
    let known = format!("{}{}", known.join(", "), if more { ", …" } else { "" });
    GatewayError::UnknownModel { model: model.chars().take(128).collect(), known }
}

/// A plan's steps in its order, without those that the labels forbid. `labels` already holds the plan's
/// own.
///
/// # Errors
/// An unusable plan is its policy's failure; one of which the labels leave nothing is a refusal.
pub fn steps_of<'a>(
    plan: &Plan,
    labels: &Labels,
    targets: impl Iterator<Item = &'a Arc<Target>> + Clone,
) -> Result<Vec<Step>, NoSteps> {
    let invalid = |problem: String| NoSteps::Invalid(PolicyError::InvalidPlan { problem });
    if plan.attempts.is_empty() {
        return Err(invalid("it names no target".to_owned()));
    }
    if plan.attempts.len() > STEPS_MAX {
        return Err(invalid(format!(
            "it has {} steps, at most {STEPS_MAX} are allowed",
            plan.attempts.len()
        )));
    }
    if let Some(problem) = plan.problem() {
        return Err(invalid(problem));
    }
    let mut steps = Vec::with_capacity(plan.attempts.len());
    let mut against = None;
    for attempt in &plan.attempts {
        let found = targets.clone().enumerate().find(|(_, target)| target.id == attempt.target);
        let Some((place, target)) = found else {
            let name: String = attempt.target.chars().take(128).collect();
            return Err(invalid(format!("it names the target `{name}`, which does not exist")));
        };
        match permit(labels, target) {
            Ok(_) => steps.push(Step::of(attempt, place)),
            Err(forbidden) => against = Some(forbidden),
        }
    }
    match against {
        Some(forbidden) if steps.is_empty() => Err(NoSteps::Forbidden {
            message: format!("the labels in force ({labels}) permit no target of the plan: {forbidden}"),
        }),
        _ => Ok(steps),
    }
}

/// Where `on_error = "first-target"` sends a request: the first permitted target on this machine.
pub fn first_local<'a>(labels: &Labels, targets: impl Iterator<Item = &'a Arc<Target>>) -> Option<Step> {
    targets
        .enumerate()
        .find(|(_, target)| target.locality == Locality::Local && permit(labels, target).is_ok())
        .map(|(place, _)| Step::on(place))
}

#[cfg(test)]
mod tests;
