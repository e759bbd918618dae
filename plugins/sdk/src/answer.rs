//! What a router answers.

use std::time::Duration;

/// Targets in order, labels to add, and a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The targets to try, first to last. The host refuses a plan with none, with more than 16, or with
    /// one twice.
    pub attempts: Vec<Attempt>,
    /// Labels to put on the request, for good.
    pub labels: Vec<String>,
    /// Why, for people; at most 4096 bytes.
    pub reason: String,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The target's id.
    pub target: String,
    /// The limit of the whole attempt, where it is to be shorter than the operator's. Whole milliseconds.
    pub timeout: Option<Duration>,
    /// Whether [`crate::Reviewer::review`] judges the answer before the client sees it.
    pub review: bool,
}

impl Plan {
    /// A plan with its reason and no attempt yet.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// The same plan with one more attempt, made when those before it fail.
    #[must_use]
    pub fn then(mut self, target: impl Into<String>) -> Self {
        self.attempts.push(Attempt { target: target.into(), timeout: None, review: false });
        self
    }

    /// The same plan with one more attempt, whose answer is reviewed.
    #[must_use]
    pub fn then_reviewed(mut self, target: impl Into<String>) -> Self {
        self.attempts.push(Attempt { target: target.into(), timeout: None, review: true });
        self
    }

    /// The same plan with a label on the request.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// The targets' ids in order.
    pub fn targets(&self) -> Vec<&str> {
        self.attempts.iter().map(|attempt| attempt.target.as_str()).collect()
    }
}

/// The decision that a request must not be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for the client; at most 4096 bytes. Quote nothing of the request.
    pub reason: String,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// Refuses a setting that makes no sense: a plugin whose operator meant something else must not act. `expected`
    /// goes on from "must be".
    pub fn unusable_setting(key: &str, expected: &str) -> Self {
        Self::new(format!("the plugin's setting `{key}` must be {expected}"))
    }

    /// Refuses a setting that does not exist. `known` names those that do.
    pub fn unknown_setting(key: &str, known: &str) -> Self {
        Self::new(format!("the plugin has no setting `{key}`: it has {known}"))
    }
}
