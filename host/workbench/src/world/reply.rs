//! How the simulated world answers: rules, of which the first that matches is it.

use std::time::Duration;

use lockgate_api::FinishReason;

use super::Kind;

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Whom it answers for; for every target where there is none.
    pub target: Option<String>,
    /// A part of the prompt that it is for; for every prompt where there is none.
    pub when: Option<String>,
    /// How often it answers in one scenario; always where nothing is said.
    pub times: Option<u32>,
    /// How long the answer takes to begin; all of it comes at once then.
    pub after: Duration,
    /// What it says.
    pub answer: Answer,
}

/// What a rule says to each kind of question. A failure stands for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text of an answer.
    pub text: Option<String>,
    /// The model's reasoning before it.
    pub reasoning: Option<String>,
    /// Names and arguments of the tools that it calls.
    pub tool_calls: Vec<(String, String)>,
    /// Why it ends; because it is done, or calls tools, where nothing is said.
    pub finish: Option<FinishReason>,
    /// The mean of its tokens' log-probabilities.
    pub logprob: Option<f32>,
    /// It fails.
    pub error: Option<Failing>,
    /// The probabilities of continuations, in the order in which they are asked about.
    pub choose: Option<Vec<f64>>,
    /// Where a text lies in an embedding space.
    pub embed: Option<Vec<f32>>,
}

/// How a target fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It never answers, so that the attempt's own timer ends it; or, after a time that the rule names, says that
    /// somebody behind it did not.
    Timeout,
    /// It has too much to do.
    Overloaded,
    /// It is not there.
    Unavailable,
    /// The prompt does not fit.
    Context,
    /// The connection breaks after so many tokens of the answer.
    CutAfter(u32),
}

impl Reply {
    /// Whether it answers this question to a target by one of its names.
    pub(crate) fn is_for(&self, names: [&str; 2], kind: Kind, prompt: &str) -> bool {
        let answers = match kind {
            Kind::Answer => {
                self.answer.text.is_some()
                    || self.answer.reasoning.is_some()
                    || !self.answer.tool_calls.is_empty()
            }
            Kind::Choose => self.answer.choose.is_some(),
            Kind::Embed => self.answer.embed.is_some(),
            Kind::Count => false,
        };
        self.target.as_deref().is_none_or(|id| names.contains(&id))
            && (answers || self.answer.error.is_some())
            && self.when.as_deref().is_none_or(|part| prompt.contains(part))
    }
}
