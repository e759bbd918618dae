//! What a line of the request log says. The form is versioned: fields are added, never changed.

use std::collections::BTreeMap;

use lockgate_api::{
    ChatRequest, HostCall, KeyFacts, Label, Labels, Plan, PlannedAttempt, PolicyError, ReviewVerdict,
    Reviewed, TargetFacts, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of lines written now.
pub const VERSION: u32 = 1;

/// One request, from its arrival to the last byte of its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its id.
    pub request_id: String,
    /// The model that the client named.
    pub model: String,
    /// Who asked, where keys are configured.
    pub key: Option<KeyFacts>,
    /// A quarter of its text's bytes.
    pub estimated_tokens: u64,
    /// Messages of the conversation.
    pub messages: usize,
    /// Tools offered.
    pub tools: usize,
    /// What its router saw and decided; none where it did not come to that.
    pub routing: Option<Routing>,
    /// What became of it.
    pub end: End,
    /// What it said; none when labels withhold it.
    pub content: Option<Content>,
}

/// What a router saw beside the request, and what it decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// Labels before it.
    pub labels: Labels,
    /// The targets and how they were doing.
    pub catalog: Vec<TargetFacts>,
    /// Whose decision counted.
    pub policy: String,
    /// How that policy was configured.
    #[serde(flatten)]
    pub facts: PolicyFacts,
    /// The decision.
    pub decided: Decided,
    /// Its judgements of answers, in order.
    pub reviews: Vec<ReviewFacts>,
}

/// What the configuration says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFacts {
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Its grants, as they are written in the configuration.
    pub grants: Vec<String>,
}

/// A decision without the words that it was put in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// Targets in order.
    Plan {
        /// The attempts.
        attempts: Vec<PlannedAttempt>,
        /// Labels added.
        add_labels: Vec<Label>,
    },
    /// The request was refused.
    Refused,
    /// The policy failed.
    Failed {
        /// [`PolicyError::kind`].
        kind: String,
    },
}

impl Decided {
    /// What a router's answer comes to.
    pub fn of(plan: &Result<Plan, PolicyError>) -> Self {
        match plan {
            Ok(Plan { attempts, add_labels, .. }) => {
                Self::Plan { attempts: attempts.clone(), add_labels: add_labels.clone() }
            }
            Err(PolicyError::Refused { .. }) => Self::Refused,
            Err(error) => Self::Failed { kind: error.kind().to_owned() },
        }
    }
}

/// A judgement without the words of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewFacts {
    /// Whose answer.
    pub target: String,
    /// Whether it was accepted; none when the policy failed to say.
    pub accepted: Option<bool>,
    /// The answer's tokens, where the target told: an answer that was not accepted is paid for, too.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// What they cost, where the price is known.
    #[serde(default)]
    pub usd: Option<f64>,
}

impl ReviewFacts {
    pub(super) fn of(answer: &Reviewed, verdict: Option<&ReviewVerdict>, usage: Option<Usage>) -> Self {
        let accepted = verdict.map(|verdict| *verdict == ReviewVerdict::Accept);
        let usd = usage.zip(answer.target.price).map(|(usage, price)| super::cost(&usage, price));
        Self { target: answer.target.id.clone(), accepted, usage, usd }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// `answered`, `abandoned` by the client, `cut` in the middle, or the kind of its error.
    pub end: String,
    /// Who answered, or was asked last.
    pub target: Option<String>,
    /// How often a target was asked.
    pub attempts: u32,
    /// Every label in the end.
    pub labels: Labels,
    /// Tokens of the answer, where the target told.
    pub usage: Option<Usage>,
    /// What they cost, where the price is known. Answers that were not accepted come on top: [`Routing::reviews`].
    pub usd: Option<f64>,
    /// Targets that were asked beside the one that answered, and given up before they said anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// Milliseconds from the request to the answer's beginning.
    pub first_event_ms: Option<f64>,
    /// Milliseconds from the request to its end.
    pub elapsed_ms: f64,
}

/// An attempt whose tokens nobody told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abandoned {
    /// Who was asked.
    pub target: String,
    /// What the prompt costs there by its estimated tokens, where the price is known: it may be billed.
    pub usd: Option<f64>,
}

/// What labels may withhold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The request as the router saw it.
    pub request: ChatRequest,
    /// The reason of the plan or refusal.
    pub reason: Option<String>,
    /// What the policy asked and was told beyond the facts, in order.
    pub told: Vec<Told>,
    /// The answers that it judged, in order.
    pub reviewed: Vec<Reviewed>,
}

/// A host function's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// What was asked.
    pub call: HostCall,
    /// What was answered.
    pub answer: Value,
}
