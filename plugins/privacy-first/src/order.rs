//! The plan: which targets, in which order.
//!
//! Targets keep the operator's order where nothing speaks against them. Those that cannot do what is asked
//! for come after those that can, and those whose breaker is open come last: a plan would rather wait for
//! one than give up.

use lockgate_plugin::{Breaker, Catalog, Locality, Plan, Refusal, Request, Want, able};

/// Which side the work goes to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preference {
    Local,
    Cloud,
}

/// Attempts of a plan: whoever waited for so many failures has given up.
const ATTEMPTS_MAX: usize = 8;

struct Candidate {
    id: String,
    locality: Locality,
    is_able: bool,
    breaker: Breaker,
}

/// A plan of local targets for something personal; a refusal when there is none.
pub(crate) fn local_only(catalog: &impl Catalog, wants: &[Want], what: &str) -> Result<Plan, Refusal> {
    let mut local = candidates(catalog, wants);
    local.retain(|candidate| candidate.locality == Locality::Local);
    if local.is_empty() {
        return Err(Refusal::new(format!(
            "the request must not leave this machine ({what}), and no model on this machine is available to it"
        )));
    }
    Ok(plan(local, |_| 0, format!("stays on this machine: {what}")))
}

/// A plan of every permitted target, the preferred side first. A target that the client named comes before
/// all others.
pub(crate) fn anywhere(
    request: &impl Request,
    catalog: &impl Catalog,
    wants: &[Want],
    preference: Preference,
    reason: &str,
) -> Result<Plan, Refusal> {
    let permitted = candidates(catalog, wants);
    if permitted.is_empty() {
        return Err(Refusal::new("no target is permitted for this request"));
    }
    let named = request.model();
    let side = |candidate: &Candidate| match (&candidate.locality, preference) {
        _ if candidate.id == named => 0,
        (Locality::Local, Preference::Local) | (Locality::Cloud, Preference::Cloud) => 1,
        (Locality::Lan, _) => 2,
        (Locality::Local | Locality::Cloud, _) => 3,
        (Locality::Other(_), _) => 4,
    };
    Ok(plan(permitted, side, reason.to_owned()))
}

fn plan(mut candidates: Vec<Candidate>, side: impl Fn(&Candidate) -> u8, reason: String) -> Plan {
    let rank = |candidate: &Candidate| {
        let is_open = candidate.breaker == Breaker::Open;
        (is_open, !candidate.is_able, side(candidate), candidate.breaker == Breaker::HalfOpen)
    };
    candidates.sort_by_key(rank);
    candidates.truncate(ATTEMPTS_MAX);
    candidates.into_iter().fold(Plan::because(reason), |plan, candidate| plan.then(candidate.id))
}

/// The targets that the labels permit, in the operator's order.
fn candidates(catalog: &impl Catalog, wants: &[Want]) -> Vec<Candidate> {
    let facts = catalog.localities().into_iter().zip(catalog.permitted()).zip(catalog.breakers());
    let ids = catalog.ids();
    let is_able = able(catalog, wants, ids.len());
    ids.into_iter()
        .zip(facts)
        .zip(is_able)
        .filter(|((_, ((_, permitted), _)), _)| *permitted)
        .map(|((id, ((locality, _), breaker)), is_able)| Candidate { id, locality, is_able, breaker })
        .collect()
}
