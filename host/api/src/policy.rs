//! Policies: what they are told, what they answer, how they fail.
//!
//! `sandbox` implements [`Router`] with WebAssembly components; `gateway` calls it and executes the
//! [`Plan`]. The gateway trusts no plan: labels are checked again after it.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::labels::{Label, Labels};
use crate::request::ChatRequest;
use crate::review::{ReviewInput, ReviewVerdict};
use crate::sampling::Overrides;
use crate::scope::Scope;
use crate::target::{Health, Target};

/// Decides where a request goes.
pub trait Router: Send + Sync {
    /// The plugin's id, for headers and logs.
    fn id(&self) -> &str;

    /// The targets to try. Dropping the future at any time is safe.
    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>>;

    /// What becomes of the answer to an attempt that the plan wants reviewed. Dropping the future at any time is
    /// safe.
    fn review(&self, _input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        let problem = "it wants an answer reviewed, and its policy has no review".to_owned();
        Box::pin(std::future::ready(Err(PolicyError::InvalidPlan { problem })))
    }
}

/// Everything that a router sees, fixed before it runs, so that its decision can be repeated.
#[derive(Clone, Debug)]
pub struct RouteInput {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// The request.
    pub request: Arc<ChatRequest>,
    /// Labels in force before routing.
    pub labels: Arc<Labels>,
    /// Every target of the configuration with its health, in configuration order.
    pub catalog: Arc<[TargetFacts]>,
    /// Who asks, where keys are configured.
    pub key: Option<KeyFacts>,
    /// What the request's plugins share. A router whose plan will not be used gets a [`Scope::shadow`].
    pub scope: Arc<Scope>,
}

/// A target and how it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// The target.
    pub target: Arc<Target>,
    /// Its health when the request came in.
    pub health: Health,
    /// Whether the request's labels permit it now.
    pub permitted: bool,
    /// Ids of the targets that are this model with one of its adapters; [`crate::Backend::adapter_targets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<String>,
}

/// The caller's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// The key's name.
    pub name: Arc<str>,
    /// Its tenant.
    pub tenant: Arc<str>,
}

/// Where to send a request, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Targets to try, first to last; at least one.
    pub attempts: Vec<PlannedAttempt>,
    /// Labels to add before anything is sent.
    pub add_labels: Vec<Label>,
    /// Why, for people. Counts as payload: it may quote the request.
    pub reason: String,
}

impl Plan {
    /// The first thing about its attempts that makes no sense whatever targets there are, in words.
    pub fn problem(&self) -> Option<String> {
        let mut attempts = self.attempts.iter().enumerate();
        attempts.find_map(|(number, attempt)| {
            let problem = attempt.problem().map(|problem| format!("attempt {number} has {problem}"));
            // An answer is judged whole, and whoever said its first event first has won by then.
            let hedged = || self.attempts[..=number].iter().position(|attempt| attempt.hedge_after.is_some());
            problem.or_else(|| {
                let hedged = attempt.review.then(hedged).flatten()?;
                Some(format!(
                    "attempt {number} has a review, and attempt {hedged} a hedge: none from a hedged one on is reviewed"
                ))
            })
        })
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedAttempt {
    /// The target's id.
    pub target: String,
    /// The whole attempt's limit, where the plan sets a shorter one than the host.
    pub timeout: Option<Duration>,
    /// Whether the router judges the answer before the client sees it.
    pub review: bool,
    /// Without a first event after this time the next attempt is made beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after: Option<Duration>,
    /// Sampling parameters in the place of the request's own.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub sampling: Overrides,
}

impl PlannedAttempt {
    /// An attempt on this target, and nothing special about it.
    pub fn on(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            timeout: None,
            review: false,
            hedge_after: None,
            sampling: Overrides::default(),
        }
    }

    fn problem(&self) -> Option<String> {
        let is_zero = |time: Option<Duration>| time.is_some_and(|time| time.is_zero());
        if is_zero(self.timeout) {
            return Some("a timeout of 0 ms".to_owned());
        }
        if is_zero(self.hedge_after) {
            return Some("a hedge after 0 ms".to_owned());
        }
        self.sampling.problem()
    }
}

/// How a plugin fails, whatever its world. The kinds are kept apart: they are counted, logged and answered differently.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// It decided that the request must not be answered. Not a failure of the plugin.
    #[error("refused: {reason}")]
    Refused {
        /// Why, in its own words. Counts as payload.
        reason: String,
    },
    /// It ran into a trap or panicked.
    #[error("the plugin trapped: {message}")]
    Trap {
        /// The trap, and the guest's own message where it left one.
        message: String,
    },
    /// It used up one of its limits.
    #[error("the plugin exceeded its limit: {limit}")]
    Limit {
        /// Which, and how much it was.
        limit: String,
    },
    /// It tried what it was not granted.
    #[error("denied: {what}")]
    Denied {
        /// What, and the line that would grant it.
        what: String,
    },
    /// Its plan makes no sense.
    #[error("invalid plan: {problem}")]
    InvalidPlan {
        /// What is wrong with it.
        problem: String,
    },
    /// A preprocessor's changes or a guard's verdict make no sense.
    #[error("invalid answer: {problem}")]
    InvalidAnswer {
        /// What is wrong with it.
        problem: String,
    },
    /// No instance became free within the time allowed.
    #[error("too many plugin calls at once")]
    Overloaded,
    /// A fault of the host.
    #[error("host fault: {message}")]
    Host {
        /// What happened.
        message: String,
    },
}

impl PolicyError {
    /// A short stable word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Trap { .. } => "trap",
            Self::Limit { .. } => "limit",
            Self::Denied { .. } => "denied",
            Self::InvalidPlan { .. } => "invalid_plan",
            Self::InvalidAnswer { .. } => "invalid_answer",
            Self::Overloaded => "overloaded",
            Self::Host { .. } => "host",
        }
    }
}
