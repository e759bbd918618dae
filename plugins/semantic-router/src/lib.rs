//! Routes by what a request is about and how hard it is. Cheap signs decide where they are clear; where they leave it
//! open a model on this machine is asked, which sees the request's last question and sends nothing anywhere.
//!
//! An intent is a kind of request that the operator describes by examples and gives a target. Words that the question
//! shares with the examples decide when one intent leads clearly, else the nearness of meaning does (one embedding of
//! question and examples). Without an intent the work's difficulty decides between this machine and a cloud: as the
//! default policy judges it where that is far from the threshold, else by how likely the model holds the answers
//! "simple" and "hard" to the question which it is. A model that fails, is denied or is unsure leaves the cheap signs'
//! word standing; labels are the host's, and local targets are all that a label can leave.
//!
//! `options` reads the settings, `intent` finds the intent, `difficulty` judges the work, `order` makes
//! the plan. Personal data is not looked for: put the preprocessor `personal-data` in front.

mod difficulty;
mod intent;
mod options;
mod order;

use lockgate_difficulty::last_question;
use lockgate_plugin::{Catalog, Plan, Refusal, Request, Router, Settings};

use crate::options::Options;
use crate::order::First;

/// The policy.
pub struct SemanticRouter;

/// The target of an intent whose work is judged by its difficulty.
const AUTO: &str = "auto";

impl Router for SemanticRouter {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        let options = Options::read(settings)?;
        let wants = request.wants();
        let question = last_question(request).unwrap_or_default();
        let note = match intent::find(&question, &options) {
            Ok(Some(found)) if found.intent.target != AUTO => {
                let first = First::Target(&found.intent.target);
                return order::plan(request, catalog, &wants, first, &found.reason());
            }
            Ok(Some(found)) => format!("{}; ", found.reason()),
            Ok(None) => String::new(),
            Err(why) => format!("no intent, since {} did not say: {why}; ", options.model),
        };
        let judged = difficulty::judge(request, &wants, &question, &options);
        let first = if judged.is_hard { First::Cloud } else { First::Local };
        order::plan(request, catalog, &wants, first, &format!("{note}{}", judged.reason))
    }
}

lockgate_plugin::export_router!(SemanticRouter);

#[cfg(test)]
mod tests;
