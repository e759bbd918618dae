//! What a router answers.

use std::time::Duration;

/// Targets in order, labels to add, and a reason.
#[derive(Clone, Debug, Default, PartialEq)]
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempt {
    /// The target's id.
    pub target: String,
    /// The limit of the whole attempt, where it is to be shorter than the operator's. Whole milliseconds.
    pub timeout: Option<Duration>,
    /// Whether [`crate::Reviewer::review`] judges the answer before the client sees it.
    pub review: bool,
    /// The time after which the next attempt is made beside this one, unless it has said its first event. Whole
    /// milliseconds. From a hedged attempt on none can be reviewed.
    pub hedge_after: Option<Duration>,
    /// The temperature in the place of the request's own, 0 to 2. The host sends nothing to a target that cannot honour
    /// this or one of the next four, and makes the next attempt.
    pub temperature: Option<f32>,
    /// The share of the most likely tokens that are kept, 0 to 1.
    pub top_p: Option<f32>,
    /// How many of the most likely tokens are kept; 0 keeps all.
    pub top_k: Option<u32>,
    /// What chance follows from.
    pub seed: Option<u64>,
    /// The most tokens of the answer, at least 1. Never more than the client asked for.
    pub max_tokens: Option<u32>,
}

impl Attempt {
    /// An attempt on this target, and nothing special about it.
    pub fn on(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// The same attempt with a limit on the whole of it.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The same attempt with the next one beside it when it is late.
    #[must_use]
    pub fn hedge_after(self, time: Duration) -> Self {
        Self { hedge_after: Some(time), ..self }
    }

    /// The same attempt with this temperature.
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        Self { temperature: Some(temperature), ..self }
    }

    /// The same attempt with an answer of at most so many tokens.
    #[must_use]
    pub fn max_tokens(self, tokens: u32) -> Self {
        Self { max_tokens: Some(tokens), ..self }
    }
}

impl From<&str> for Attempt {
    fn from(target: &str) -> Self {
        Self::on(target)
    }
}

impl From<&String> for Attempt {
    fn from(target: &String) -> Self {
        Self::on(target)
    }
}

impl From<String> for Attempt {
    fn from(target: String) -> Self {
        Self::on(target)
    }
}

impl Plan {
    /// A plan with its reason and no attempt yet.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// The same plan with one more attempt, made when those before it fail: a target's id, or an [`Attempt`].
    #[must_use]
    pub fn then(mut self, attempt: impl Into<Attempt>) -> Self {
        self.attempts.push(attempt.into());
        self
    }

    /// The same plan with one more attempt, whose answer is reviewed.
    #[must_use]
    pub fn then_reviewed(mut self, target: impl Into<String>) -> Self {
        self.attempts.push(Attempt { review: true, ..Attempt::on(target) });
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
