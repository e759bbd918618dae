//! What one decision about one request comes to: where it goes, what that costs, how long it takes.
//!
//! Costs and times are of the tokens that the request really took, at the prices and speeds that its targets had then.
//! Answers that the router judged are followed by the recorded judgements: those that were not accepted are paid for and
//! waited for, too. Where one is asked for that was not recorded, neither is known.

use std::sync::Arc;

use lockgate_api::{Labels, Plan, PolicyError, Target, Usage, permit};
use lockgate_gateway::record::{Content, Decided, Line, Routing, cost};

use super::targets_of;

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    pub(super) decided: Decided,
    /// Of the plan or the refusal.
    pub(super) reason: Option<String>,
    /// Where the request goes first; none where it is refused or fails.
    pub(super) target: Option<Arc<Target>>,
    /// Targets of the plan that the labels in force before it forbade.
    pub(super) violations: usize,
    pub(super) usd: Option<f64>,
    pub(super) expected_ms: Option<f64>,
}

impl Side {
    /// A decision made again.
    pub(super) fn of(plan: &Result<Plan, PolicyError>, routing: &Routing, record: &Line) -> Self {
        let reason = match plan {
            Ok(plan) => Some(plan.reason.clone()),
            Err(PolicyError::Refused { reason }) => Some(reason.clone()),
            Err(_) => None,
        };
        Self::new(Decided::of(plan), reason, routing, record)
    }

    /// The decision as it was.
    pub(super) fn recorded(record: &Line, routing: &Routing, content: &Content) -> Self {
        Self::new(routing.decided.clone(), content.reason.clone(), routing, record)
    }

    fn new(decided: Decided, reason: Option<String>, routing: &Routing, record: &Line) -> Self {
        let plan = match &decided {
            Decided::Plan { attempts, add_labels } => Some(Plan {
                attempts: attempts.clone(),
                add_labels: add_labels.clone(),
                reason: String::new(),
            }),
            Decided::Refused | Decided::Failed { .. } => None,
        };
        let targets = plan.as_ref().map_or_else(Vec::new, |plan| targets_of(plan, routing));
        let answers = answers(&targets, routing, record);
        let sum = |of: &dyn Fn(&Target, &Usage) -> Option<f64>| -> Option<f64> {
            answers.as_ref()?.iter().map(|(target, usage)| of(target, usage)).sum()
        };
        let violations = plan.as_ref().map_or(0, |plan| violations(plan, &routing.labels, routing));
        let usd = sum(&|target, usage| Some(cost(usage, target.price?)));
        let expected_ms = sum(&|target, usage| expected_ms(target, routing, usage));
        let target = targets.into_iter().next().map(|(target, _)| target);
        Self { decided, reason, target, violations, usd, expected_ms }
    }

    /// The target's id, or what became of the request instead.
    pub(super) fn place(&self) -> String {
        match (&self.target, &self.decided) {
            (Some(target), _) => target.id.clone(),
            (None, Decided::Refused) => "(refused)".to_owned(),
            (None, Decided::Failed { kind }) => format!("(failed: {kind})"),
            (None, Decided::Plan { .. }) => "(no permitted target)".to_owned(),
        }
    }
}

/// Attempts on targets that the request's labels forbid, or that the plan's own labels do.
fn violations(plan: &Plan, labels: &Labels, routing: &Routing) -> usize {
    let labels = labels.with(plan.add_labels.iter().cloned());
    let target = |id: &str| routing.catalog.iter().find(|facts| facts.target.id == id);
    let forbidden = plan.attempts.iter().filter(|attempt| {
        target(&attempt.target).is_some_and(|facts| permit(&labels, &facts.target).is_err())
    });
    forbidden.count()
}

/// Whose answers a request comes to, up to the one that its client gets, and their tokens; none where they are not known
/// or there are none.
fn answers<'a>(
    targets: &'a [(Arc<Target>, bool)],
    routing: &Routing,
    record: &Line,
) -> Option<Vec<(&'a Target, Usage)>> {
    let mut answers = Vec::new();
    for (target, is_judged) in targets {
        let judgement = routing.reviews.iter().find(|review| review.target == target.id);
        let is_accepted = match (is_judged, judgement) {
            (false, _) => true,
            (true, Some(judgement)) => judgement.accepted?,
            (true, None) => return None,
        };
        if is_accepted {
            answers.push((&**target, record.end.usage?));
            return Some(answers);
        }
        answers.push((&**target, judgement?.usage?));
    }
    // None of them was accepted.
    (!answers.is_empty()).then_some(answers)
}

/// The median first token and the rest at the median speed, where both are known.
fn expected_ms(target: &Target, routing: &Routing, usage: &Usage) -> Option<f64> {
    let health = routing.catalog.iter().find(|facts| facts.target.id == target.id)?.health;
    let first = health.first_token_median?.as_secs_f64();
    let tokens = usage.completion_total() as f64;
    let speed = f64::from(health.tokens_per_second_median.filter(|speed| *speed > 0.0)?);
    Some((first + tokens / speed) * 1e3)
}
