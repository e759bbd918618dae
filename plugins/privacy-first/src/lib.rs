//! The default routing policy: what is personal stays on this machine.
//!
//! A request that carries the label `local-only`, or in whose text something personal is recognised, gets
//! that label and goes to local targets only; without one it is refused. Anything else goes where its work
//! fits: simple work to this machine, hard work to a cloud, the other side being the fallback where labels
//! permit it. The whole text is read (messages, tool results, tool definitions, whatever a target would
//! receive), since a part that nobody looked at leaks. Pictures cannot be read and count as personal.
//!
//! The crate `lockgate-scan` recognises, `lockgate-difficulty` judges the work, `options` reads the settings, `order` makes the plan.
//! Reasons say what kind of thing was found and never quote it.
//!
//! Settings, all optional:
//! - `threshold`, 0 to 1, default 0.7: from which difficulty on work is hard;
//! - `tokens_hard`, default 2000: the tokens of a prompt that is hard by its length alone;
//! - `pictures`, `personal` (default) or `ignore`.

mod options;
mod order;

use lockgate_difficulty::Difficulty;
use lockgate_plugin::{Catalog, Plan, Refusal, Request, Router, Settings, Want};
use lockgate_scan::window;

use crate::options::{Options, Pictures};
use crate::order::Preference;

/// The policy.
pub struct PrivacyFirst;

const LOCAL_ONLY: &str = "local-only";

impl Router for PrivacyFirst {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        let options = Options::read(settings)?;
        let wants = request.wants();
        if let Some(what) = personal(request, &wants, &options) {
            return order::local_only(catalog, &wants, &what).map(|plan| plan.label(LOCAL_ONLY));
        }
        let difficulty = Difficulty::of(request, &wants, options.tokens_hard);
        let preference =
            if difficulty.score >= options.threshold { Preference::Cloud } else { Preference::Local };
        order::anywhere(request, catalog, &wants, preference, &difficulty.reason(options.threshold))
    }
}

/// What makes a request personal, in words.
fn personal(request: &impl Request, wants: &[Want], options: &Options) -> Option<String> {
    if request.labels().iter().any(|label| label == LOCAL_ONLY) {
        return Some(format!("the label {LOCAL_ONLY}"));
    }
    if options.pictures == Pictures::Personal && wants.contains(&Want::Images) {
        return Some("a picture, which this policy cannot read".to_owned());
    }
    let length = request.length();
    let kind = window::find(length, window::piece_bytes(length), |offset, limit| request.read(offset, limit));
    kind.map(|kind| kind.name().to_owned())
}

lockgate_plugin::export_router!(PrivacyFirst);

#[cfg(test)]
mod tests;
