//! Reviews: a router that planned an attempt judges its answer before the client sees any of it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::FinishReason;
use crate::labels::Labels;
use crate::policy::{KeyFacts, TargetFacts};
use crate::request::ChatRequest;
use crate::scope::Scope;
use crate::target::Target;

/// Everything that a review sees.
#[derive(Clone, Debug)]
pub struct ReviewInput {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// The request.
    pub request: Arc<ChatRequest>,
    /// Labels in force; they do not change any more.
    pub labels: Arc<Labels>,
    /// The targets as the plan was made from.
    pub catalog: Arc<[TargetFacts]>,
    /// Who asks, where keys are configured.
    pub key: Option<KeyFacts>,
    /// What the request's plugins share.
    pub scope: Arc<Scope>,
    /// The answer.
    pub answer: Arc<Reviewed>,
}

/// A whole answer to be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Who gave it.
    pub target: Arc<Target>,
    /// Its attempt's place in the plan, from 0.
    pub attempt: u32,
    /// Attempts that could still be made.
    pub attempts_left: u32,
    /// By choice, as many as the request asks for.
    pub choices: Vec<ReviewedChoice>,
    /// Tokens generated, where the target tells.
    pub output_tokens: Option<u64>,
    /// The mean of the natural logarithms of the tokens' probabilities, where the target gives them.
    pub mean_log_probability: Option<f64>,
    /// The lowest of them.
    pub lowest_log_probability: Option<f64>,
    /// From the start of the attempt to its end.
    pub elapsed: Duration,
}

/// One choice of an answer to be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewedChoice {
    /// Its text, without reasoning.
    pub text: String,
    /// Name and arguments of each tool call.
    pub tool_calls: Vec<(String, String)>,
    /// Why it ended.
    pub finish: Option<FinishReason>,
}

/// What becomes of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewVerdict {
    /// The client gets it.
    Accept,
    /// The plan's next attempt is made.
    Next {
        /// Why, for the operator. Counts as payload.
        reason: String,
    },
}
