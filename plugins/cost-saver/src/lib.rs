//! The cheapest target that can do the job, within budget.
//!
//! A request's work has a level, 1 to 3, by its difficulty (`lockgate-difficulty`); a target has one by its place or
//! by the operator's word. Of the targets whose level is enough the one whose estimated price is lowest comes first.
//! As the caller's budget runs down, work is given to ever cheaper targets, in the end to free ones alone.
//!
//! `order` makes the plan, `options` reads the settings.

mod options;
mod order;

use lockgate_difficulty::Difficulty;
use lockgate_plugin::{Catalog, Plan, Refusal, Request, Router, Settings};

use crate::options::Options;

/// The policy.
pub struct CostSaver;

impl Router for CostSaver {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        let options = Options::read(settings)?;
        let wants = request.wants();
        let difficulty = Difficulty::of(request, &wants, options.tokens_hard);
        let wished = match difficulty.score {
            0..35 => 1,
            35..70 => 2,
            _ => 3,
        };
        let means = order::means(catalog.budget());
        let reason = format!("{}; level {wished}{}", difficulty.reason(70), means.reason());
        order::plan(request, catalog, &wants, &options, wished, means, reason)
    }
}

lockgate_plugin::export_router!(CostSaver);

#[cfg(test)]
mod tests;
