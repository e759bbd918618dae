//! A cascade: the nearest and cheapest target answers first, and the next one when its answer is not good enough.
//!
//! Every attempt but the last is reviewed before the client sees any of it. `judge` says what is not good enough,
//! `options` reads the settings. Labels hold for every step: a request that may not leave this machine cascades
//! over this machine's models alone.

mod judge;
mod options;

use lockgate_plugin::{
    Breaker, Catalog, Locality, Outcome, Plan, Refusal, Request, Review, Reviewer, Router, Settings, Target,
    able, targets,
};

use crate::options::Options;

/// The policy.
pub struct Cascade;

/// Attempts of a plan: whoever waited for so many answers has given up.
const ATTEMPTS_MAX: usize = 4;

impl Router for Cascade {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        // A setting that makes no sense is told now, not when an answer waits for its review.
        Options::read(settings)?;
        let all = targets(catalog);
        let able = able(catalog, &request.wants(), all.len());
        let mut steps: Vec<(Target, bool)> =
            all.into_iter().zip(able).filter(|(target, _)| target.permitted).collect();
        if steps.is_empty() {
            return Err(Refusal::new("no target is permitted for this request"));
        }
        let named = request.model();
        steps.sort_by(|(one, one_is_able), (other, other_is_able)| {
            let rank = |target: &Target, is_able: bool| {
                (target.breaker == Breaker::Open, !is_able, target.id != named, distance(&target.locality))
            };
            rank(one, *one_is_able).cmp(&rank(other, *other_is_able)).then(cost(one).total_cmp(&cost(other)))
        });
        steps.truncate(ATTEMPTS_MAX);
        let last = steps.len() - 1;
        let plan = Plan::because(format!("a cascade of {}", steps.len()));
        let steps = steps.into_iter().enumerate();
        Ok(steps.fold(
            plan,
            |plan, (place, (target, _))| {
                if place == last { plan.then(target.id) } else { plan.then_reviewed(target.id) }
            },
        ))
    }
}

impl Reviewer for Cascade {
    fn review(request: &impl Request, outcome: &impl Outcome, settings: &impl Settings) -> Review {
        let Ok(options) = Options::read(settings) else {
            return Review::Next("the settings make no sense".to_owned());
        };
        match judge::fault(request, outcome, &options) {
            Some(fault) => Review::Next(fault),
            None => Review::Accept,
        }
    }
}

/// Nearer comes first.
fn distance(locality: &Locality) -> u8 {
    match locality {
        Locality::Local => 0,
        Locality::Lan => 1,
        Locality::Cloud => 2,
        Locality::Other(_) => 3,
    }
}

/// USD for a million tokens in and out; an unknown price comes last.
fn cost(target: &Target) -> f64 {
    target.price.map_or(f64::INFINITY, |price| price.input + price.output)
}

lockgate_plugin::export_reviewer!(Cascade);

#[cfg(test)]
mod tests;
