//! Why a request has no answer. `server` maps each kind to a status; the messages here are what the
//! client reads.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{BackendError, ErrorKind, PolicyError, Target};
use thiserror::Error;

use crate::gateway::Outcome;

/// A request without an answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How far it came.
    pub outcome: Outcome,
    /// What stopped it.
    pub error: GatewayError,
}

/// A step of the plan that did not answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedAttempt {
    /// The target.
    pub target: Arc<Target>,
    /// What happened.
    pub error: BackendError,
    /// Whether the target was asked at all; otherwise its breaker or [`lockgate_api::Backend::accepts`]
    /// spoke against it.
    pub tried: bool,
}

/// What stopped a request.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GatewayError {
    /// No target has that id.
    #[error("the model `{model}` does not exist: use `auto` or one of {known}")]
    UnknownModel {
        /// What the client asked for.
        model: String,
        /// What there is, for people.
        known: String,
    },
    /// Clients may not choose here.
    #[error("this server chooses the model itself: use `auto` instead of `{model}`")]
    NamedRefused {
        /// What the client asked for.
        model: String,
    },
    /// Nothing is configured.
    #[error("no model and no target is configured")]
    NoTarget,
    /// The labels leave no target, or the only ones left pass requests on.
    #[error("{message}")]
    Locality {
        /// Which labels stand against which targets.
        message: String,
    },
    /// The policy decided against the request.
    #[error("the policy `{policy}` refused the request: {reason}")]
    PolicyRefused {
        /// Its id.
        policy: Arc<str>,
        /// In its own words. Counts as payload.
        reason: String,
    },
    /// The policy failed. Its own message stays in the log: it may tell of the policy's inside.
    #[error("the policy `{policy}` failed ({}) and its configuration refuses the request then", error.kind())]
    PolicyFailed {
        /// Its id.
        policy: Arc<str>,
        /// How.
        error: PolicyError,
    },
    /// Too many requests at once.
    #[error("too many requests at once: try again in {} s", retry_after.as_secs().max(1))]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// No step of the plan answered. Never empty.
    #[error("{}", describe(.0))]
    Exhausted(Vec<FailedAttempt>),
    /// The target of a request for embeddings made none. No other is tried in its place. The error names it.
    #[error("{}", .0.error)]
    NotEmbedded(Box<FailedAttempt>),
}

impl GatewayError {
    /// A short stable word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::NamedRefused { .. } => "named_refused",
            Self::NoTarget => "no_target",
            Self::Locality { .. } => "locality_forbidden",
            Self::PolicyRefused { .. } => "policy_refused",
            Self::PolicyFailed { .. } => "policy_failed",
            Self::Overloaded { .. } => "overloaded",
            Self::Exhausted(_) => "exhausted",
            Self::NotEmbedded(_) => "not_embedded",
        }
    }

    /// For [`GatewayError::Exhausted`]: the failure that stands for all. The last target that was asked
    /// (one that only turned out to pass requests on stands back), else the last closed off by its
    /// breaker, else the last that cannot honour the request.
    pub fn deciding(attempts: &[FailedAttempt]) -> Option<&FailedAttempt> {
        let last = |wanted: fn(&FailedAttempt) -> bool| attempts.iter().rev().find(|failed| wanted(failed));
        last(|failed| failed.tried && failed.error.kind != ErrorKind::Locality)
            .or_else(|| last(|failed| failed.tried))
            .or_else(|| last(|failed| !matches!(failed.error.kind, ErrorKind::Unsupported { .. })))
            .or_else(|| attempts.last())
    }
}

fn describe(attempts: &[FailedAttempt]) -> String {
    if let [only] = attempts {
        return sentence(only);
    }
    let mut text = "no target answered: ".to_owned();
    for (index, failed) in attempts.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{}", sentence(failed));
    }
    text
}

fn sentence(failed: &FailedAttempt) -> String {
    let FailedAttempt { target, error, .. } = failed;
    let names = |name: &str| error.message.contains(&format!("`{name}`"));
    let begins = |word: &str| error.message.starts_with(&format!("{word} `{}`", target.id));
    match &error.kind {
        // Whoever says it all is not introduced.
        ErrorKind::Unsupported { field } if names(&target.id) && names(field) => error.message.clone(),
        ErrorKind::Unsupported { field } => {
            format!("target `{}` cannot honour `{field}`: {error}", target.id)
        }
        // Both counts, whatever the target's own words are.
        ErrorKind::ContextExceeded { prompt_tokens, context_tokens } => format!(
            "target `{}`: the prompt of {prompt_tokens} tokens and its answer do not fit the context of \
             {context_tokens} tokens",
            target.id
        ),
        _ if begins("target") || begins("model") => error.message.clone(),
        _ => format!("target `{}`: {error}", target.id),
    }
}

#[cfg(test)]
mod tests;
