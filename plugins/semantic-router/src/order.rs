//! The plan: what was decided for first, then this machine, then the rest; what cannot do the job behind what can, and
//! open breakers last.

use lockgate_plugin::{Breaker, Catalog, Locality, Plan, Refusal, Request, Want, able, targets};

/// Attempts of a plan.
const ATTEMPTS_MAX: usize = 8;

/// Where a request should go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First<'a> {
    /// To this target.
    Target(&'a str),
    /// To this machine, since the work is simple.
    Local,
    /// To a cloud, since the work is hard.
    Cloud,
}

/// A plan of every permitted target. One that the client named comes before all others.
///
/// # Errors
/// None is permitted.
pub(crate) fn plan(
    request: &impl Request,
    catalog: &impl Catalog,
    wants: &[Want],
    first: First<'_>,
    reason: &str,
) -> Result<Plan, Refusal> {
    let named = request.model();
    let side = |id: &str, locality: &Locality| match (locality, first) {
        _ if id == named => 0,
        (_, First::Target(target)) if id == target => 1,
        (Locality::Cloud, First::Cloud) | (Locality::Local, First::Local | First::Target(_)) => 2,
        (Locality::Lan, _) => 3,
        _ => 4,
    };
    let all = targets(catalog);
    let able = able(catalog, wants, all.len());
    let permitted = all.into_iter().zip(able).filter(|(target, _)| target.permitted);
    let mut ranked: Vec<_> = permitted
        .map(|(target, is_able)| {
            let rank = (target.breaker == Breaker::Open, !is_able, side(&target.id, &target.locality));
            (rank, target.id)
        })
        .collect();
    if ranked.is_empty() {
        return Err(Refusal::new("no target is permitted for this request"));
    }
    let forbidden = |target: &str| !ranked.iter().any(|(_, id)| id == target);
    let reason = match first {
        First::Target(target) if forbidden(target) => {
            format!("{reason}, whose target `{target}` does not exist or is not permitted")
        }
        _ => reason.to_owned(),
    };
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(ATTEMPTS_MAX);
    Ok(ranked.into_iter().fold(Plan::because(reason), |plan, (_, id)| plan.then(id)))
}
