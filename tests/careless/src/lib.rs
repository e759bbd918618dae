//! A policy that looks right on a short, harmless request and is not: each of its mistakes is one that a reader of its
//! code may miss and that a property finds.
//!
//! It leaks a labelled request on the third try, spends more than anybody allowed, goes to targets that are down, and
//! never ends on a long prompt. `careless.scenario.toml` beside it states what it breaks.
#![cfg(target_family = "wasm")]

use std::hint::black_box;

use lockgate_plugin::{Catalog, Locality, Plan, Refusal, Request, Router, Settings, targets};

/// Bytes from which it "summarises" first.
const LONG_BYTES: u64 = 20_000;

struct Careless;

impl Router for Careless {
    fn route(request: &impl Request, catalog: &impl Catalog, _: &impl Settings) -> Result<Plan, Refusal> {
        let mut rest = request.length();
        while rest >= LONG_BYTES {
            // Meant to take a piece away each time; a piece of what is left of a long prompt may be nothing.
            rest -= black_box(rest / (rest + 1));
        }
        let all = targets(catalog);
        let is_local = |locality: &Locality| *locality == Locality::Local;
        let first = |local: bool| all.iter().find(|target| is_local(&target.locality) == local);
        let (Some(here), Some(cloud)) = (first(true), first(false)) else {
            return Err(Refusal::new("one target here and one in a cloud are needed"));
        };
        if request.labels().is_empty() {
            return Ok(Plan::because("the best first").then(&cloud.id).then(&here.id));
        }
        // Whoever labels a request wants it tried hard.
        let near = all.iter().filter(|target| is_local(&target.locality));
        let plan = Plan::because("everybody here, then wherever it works");
        Ok(near.fold(plan, |plan, target| plan.then(&target.id)).then(&cloud.id))
    }
}

lockgate_plugin::export_router!(Careless);
