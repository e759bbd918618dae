//! What a request's plugins were told beyond its facts, so that a decision can be repeated elsewhere.
//!
//! Facts ([`crate::RouteInput`]) are fixed before a plugin runs. Everything else that can differ between two runs
//! passes one place in `sandbox`, which notes it here or takes it from here: state, the clock, random numbers and
//! the answers of models. `gateway` keeps journals for its request log, `workbench` plays them back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of a host function whose answer does not follow from the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCall {
    /// Interface and function: `state.get`.
    pub function: Cow<'static, str>,
    /// Its arguments in order. Counts as payload, as the answer does.
    pub arguments: Value,
}

/// Keeps what plugins were told, or tells it again.
pub trait Journal: Send + Sync {
    /// What was answered when the request was recorded. `None`: nothing is known, ask for real.
    fn recall(&self, plugin: &str, call: &HostCall) -> Option<Value>;

    /// Takes down what was really answered.
    fn note(&self, plugin: &str, call: HostCall, answer: Value);
}
