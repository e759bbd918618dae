//! The plan: whose level is enough, cheapest first; then the others, the best first.

use lockgate_plugin::{Breaker, Catalog, Plan, Refusal, Request, Target, Want, able, targets};

use crate::options::Options;

/// Attempts of a plan.
const ATTEMPTS_MAX: usize = 8;
/// Share of the budget below which work is given to targets of one level less.
const SHORT: f64 = 0.25;
/// Share of the budget below which only what is free is used, where there is any.
const SPENT: f64 = 0.05;

/// How the caller's budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// There is enough, or nobody counts.
    Enough,
    /// It is running down.
    Short,
    /// It is nearly gone.
    Spent,
}

impl Means {
    /// For the plan's reason.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Enough => "",
            Self::Short => ", the budget is running down",
            Self::Spent => ", the budget is nearly spent",
        }
    }
}

/// What is left of the budget, and the whole of it, in USD.
pub(crate) fn means(budget: Option<(f64, f64)>) -> Means {
    match budget {
        Some((left, whole)) if left <= whole * SPENT => Means::Spent,
        Some((left, whole)) if left <= whole * SHORT => Means::Short,
        _ => Means::Enough,
    }
}

struct Candidate {
    id: String,
    usd: f64,
    level: u8,
    is_able: bool,
    breaker: Breaker,
}

/// The plan for work of the level `wished`.
pub(crate) fn plan(
    request: &impl Request,
    catalog: &impl Catalog,
    wants: &[Want],
    options: &Options,
    wished: u8,
    means: Means,
    reason: String,
) -> Result<Plan, Refusal> {
    let all = targets(catalog);
    let able = able(catalog, wants, all.len());
    let mut candidates: Vec<Candidate> = all
        .into_iter()
        .zip(able)
        .filter(|(target, _)| target.permitted)
        .map(|(target, is_able)| Candidate {
            usd: usd(request, &target, options.answer_tokens),
            level: options.level(&target.id, &target.locality),
            is_able: is_able && fits(request, &target),
            id: target.id,
            breaker: target.breaker,
        })
        .collect();
    if candidates.is_empty() {
        return Err(Refusal::new("no target is permitted for this request"));
    }
    if let Some(most) = options.usd_max {
        candidates.retain(|candidate| candidate.usd <= most);
        if candidates.is_empty() {
            return Err(Refusal::new(format!(
                "every permitted target would cost more than the {most} USD that one request may"
            )));
        }
    }
    if means == Means::Spent && candidates.iter().any(|candidate| candidate.usd == 0.0) {
        candidates.retain(|candidate| candidate.usd == 0.0);
    }
    let needed = if means == Means::Enough { wished } else { wished.saturating_sub(1).max(1) };
    candidates.sort_by(|one, other| {
        let rank = |candidate: &Candidate| {
            let missing = needed.saturating_sub(candidate.level);
            (candidate.breaker == Breaker::Open, !candidate.is_able, missing)
        };
        rank(one).cmp(&rank(other)).then(one.usd.total_cmp(&other.usd))
    });
    candidates.truncate(ATTEMPTS_MAX);
    Ok(candidates.into_iter().fold(Plan::because(reason), |plan, candidate| plan.then(candidate.id)))
}

/// What the request would cost on this target; an unknown price is the highest.
fn usd(request: &impl Request, target: &Target, answer_tokens: f64) -> f64 {
    let output = request.answer_tokens_max().map_or(answer_tokens, |most| answer_tokens.min(most as f64));
    let input = request.estimate_tokens() as f64;
    target.price.map_or(f64::INFINITY, |price| (input * price.input + output * price.output) / 1e6)
}

/// Whether the prompt fits, as far as is known.
fn fits(request: &impl Request, target: &Target) -> bool {
    target.context_tokens.is_none_or(|context| request.estimate_tokens() < context)
}
