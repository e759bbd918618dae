//! Ends of calls that follow from the machine and not from the plugin: its time was up, or there was no place for it.
//!
//! A request that is recorded has them in its journal, so that the same component ends in the same way when the request
//! is replayed on another machine. Owns how such an end is written and found again. Other ends follow from what the
//! plugin is told, and need no note; another component is ended by what it uses itself.

use std::borrow::Cow;

use lockgate_api::{HostCall, PolicyError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::call::Facts;
use crate::contract::digest;
use crate::plugin::Plugin;
use crate::stop::Stop;

/// Under what journals keep it. No component can call a function of this name.
const FUNCTION: &str = "call.stopped";

/// How the machine ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    /// Its time was up.
    Time {
        /// What it had run by then, as far as is known: at least as far as to its last call of the host.
        instructions: u64,
    },
    /// All places were taken for as long as it could wait.
    Overloaded,
}

impl Stopped {
    /// What a call's end owes to the machine.
    pub(crate) fn of(plugin: &Plugin, error: &PolicyError, instructions: u64) -> Option<Self> {
        match error {
            PolicyError::Overloaded => Some(Self::Overloaded),
            error if *error == out_of_time(plugin) => Some(Self::Time { instructions }),
            _ => None,
        }
    }

    /// How the recorded call that this one repeats was ended.
    pub(crate) fn recall(plugin: &Plugin, facts: &Facts) -> Option<Self> {
        let answer = facts.scope.journal()?.recall(&plugin.id, &name(plugin, facts))?;
        serde_json::from_value(answer).ok()
    }

    pub(crate) fn note(self, plugin: &Plugin, facts: &Facts) {
        let Some(journal) = facts.scope.journal() else { return };
        // Plain data, which JSON can always hold.
        if let Ok(answer) = serde_json::to_value(self) {
            journal.note(&plugin.id, name(plugin, facts), answer);
        }
    }
}

/// The end of a call that took longer than it may.
pub(crate) fn out_of_time(plugin: &Plugin) -> PolicyError {
    PolicyError::Limit { limit: Stop::Time { limit: plugin.powers.limits.time_max }.to_string() }
}

/// One of a request's calls of one component with its settings: the decision, or the judgement on one attempt's answer.
fn name(plugin: &Plugin, facts: &Facts) -> HostCall {
    let attempt = facts.answer.as_ref().map(|answer| answer.attempt);
    let settings = digest(&plugin.powers.settings);
    HostCall {
        function: Cow::Borrowed(FUNCTION),
        arguments: json!([plugin.digest.to_string(), settings, plugin.world.name(), attempt]),
    }
}
