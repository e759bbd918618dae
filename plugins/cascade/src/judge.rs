//! What is not good enough about an answer. Says what kind of fault it is and never quotes.

use lockgate_plugin::{Finish, Outcome, Request, Want};
use serde::de::IgnoredAny;

use crate::options::Options;

/// Bytes of an answer that are looked at for its beginning.
const BEGINNING_BYTES: u32 = 400;
/// Bytes of an answer, or of a call's arguments, that are read as JSON.
const JSON_BYTES_MAX: u32 = 4 << 20;

/// With which a model begins that does not answer.
const REFUSALS: &[&str] = &[
    "as an ai",
    "das kann ich nicht",
    "i am not able to",
    "i am unable to",
    "i can not",
    "i can't",
    "i cannot",
    "i do not have access",
    "i do not know",
    "i don't have access",
    "i don't know",
    "i'm not able to",
    "i'm not sure",
    "i'm sorry",
    "i'm unable to",
    "ich kann das nicht",
    "ich kann dir nicht",
    "ich kann ihnen nicht",
    "ich weiß es nicht",
    "je ne peux pas",
    "je suis désolé",
    "lo siento",
    "no puedo",
    "sorry, but",
    "unfortunately, i",
];

/// The first fault of the answer, if it has one.
pub(crate) fn fault(request: &impl Request, outcome: &impl Outcome, options: &Options) -> Option<String> {
    let wants_json = request.wants().contains(&Want::Json);
    let of_choices =
        (0..outcome.choices()).find_map(|choice| of_choice(outcome, choice, wants_json, options));
    of_choices.or_else(|| {
        let likelihood = outcome.mean_log_probability()?;
        (likelihood < options.likelihood_min).then(|| {
            format!(
                "unsure: a mean log-probability of {likelihood:.2} is below {:.2}",
                options.likelihood_min
            )
        })
    })
}

fn of_choice(outcome: &impl Outcome, choice: u32, wants_json: bool, options: &Options) -> Option<String> {
    if outcome.finish(choice) == Some(Finish::ContentFilter) {
        return Some("withheld by the target".to_owned());
    }
    let tools = outcome.tools(choice);
    for call in 0..tools.len() as u32 {
        if !is_json(&outcome.arguments(choice, call, JSON_BYTES_MAX)) {
            return Some("a tool call whose arguments are not JSON".to_owned());
        }
    }
    if !tools.is_empty() {
        return None;
    }
    let beginning = outcome.text(choice, BEGINNING_BYTES);
    let trimmed = beginning.trim();
    if trimmed.chars().count() < options.characters_min {
        return Some(format!("shorter than {} characters", options.characters_min));
    }
    if wants_json {
        let cut = outcome.finish(choice) == Some(Finish::Length);
        return (!cut && !is_json(&outcome.text(choice, JSON_BYTES_MAX)))
            .then(|| "not the JSON that was asked for".to_owned());
    }
    let lower = trimmed.to_lowercase().replace('’', "'");
    let refuses = REFUSALS.iter().any(|phrase| lower.starts_with(phrase))
        || options.phrases.iter().any(|phrase| lower.contains(phrase));
    refuses.then(|| "it begins like a refusal".to_owned())
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
