//! How hard the work is: cheap signs, and near the threshold the word of a model.

use lockgate_difficulty::Difficulty;
use lockgate_plugin::{Likelihood, Prompt, Request, Role, Want, inference};

use crate::options::Options;

/// What the model may say, as an answer would begin.
const WORDS: [&str; 2] = ["simple", "hard"];

const INSTRUCTION: &str = "You sort requests by the work that they take. A simple request is answered in a few sentences \
                           by anybody. A hard request takes an expert, several steps or much text. Answer with one word: \
                           simple or hard.";

/// A judgement and why.
pub(crate) struct Judged {
    pub(crate) is_hard: bool,
    /// For people.
    pub(crate) reason: String,
}

pub(crate) fn judge(request: &impl Request, wants: &[Want], question: &str, options: &Options) -> Judged {
    let cheap = Difficulty::of(request, wants, options.tokens_hard);
    let is_hard = cheap.score >= options.threshold;
    let reason = cheap.reason(options.threshold);
    if cheap.score.abs_diff(options.threshold) > options.margin || question.trim().is_empty() {
        return Judged { is_hard, reason };
    }
    match ask(question, options) {
        Ok(lead) if lead.abs() >= options.certainty => {
            let word = if lead > 0.0 { "hard" } else { "simple" };
            Judged {
                is_hard: lead > 0.0,
                reason: format!("{word} work, says {}; by its signs {reason}", options.model),
            }
        }
        Ok(_) => Judged { is_hard, reason: format!("{reason}; {} is unsure", options.model) },
        Err(why) => Judged { is_hard, reason: format!("{reason}; {} did not say: {why}", options.model) },
    }
}

/// By how many nats a token the model holds "hard" likelier than "simple", beyond what it would without a question.
fn ask(question: &str, options: &Options) -> Result<f64, String> {
    let lead = |text: &str| {
        let prompt = Prompt::new()
            .add(Role::System, INSTRUCTION)
            .add(Role::User, &format!("Request: {text}\n\nIs this request simple or hard?"));
        let found = inference::choose(&options.model, &prompt, &WORDS).map_err(|error| error.to_string())?;
        match found.as_slice() {
            [simple, hard] => Ok(mean(hard) - mean(simple)),
            _ => Err("it answered something else".to_owned()),
        }
    };
    // A small model has a favourite word whatever it is asked; what counts is how the question moves it.
    Ok(lead(question)? - lead("…")?)
}

fn mean(likelihood: &Likelihood) -> f64 {
    likelihood.log_probability / f64::from(likelihood.tokens.max(1))
}
