//! The policy's settings. One that does not exist, or has no sense, refuses every request: a policy whose operator meant
//! something else must not decide.

use lockgate_plugin::{Refusal, Settings};

/// The most examples of all intents together: with the question they are one embedding.
const EXAMPLES_MAX: usize = 64;

/// A kind of request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intent {
    pub(crate) name: String,
    /// Requests of this kind, at least one.
    pub(crate) examples: Vec<String>,
    /// What answers them; `auto` leaves that to the difficulty.
    pub(crate) target: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The model on this machine that is asked.
    pub(crate) model: String,
    /// From which difficulty on work is hard, in hundredths.
    pub(crate) threshold: u32,
    /// How far from the threshold the cheap difficulty must be to be believed, in hundredths.
    pub(crate) margin: u32,
    /// How much likelier "hard" must be than "simple", in nats, to be believed; the other way round likewise.
    pub(crate) certainty: f64,
    /// By how much an intent's words must lead, as a share of the question's words, 0 to 1.
    pub(crate) words_lead: f64,
    /// By how much an intent's nearness must lead, as a difference of cosines.
    pub(crate) meaning_lead: f64,
    /// Tokens of a prompt that is hard by its length alone.
    pub(crate) tokens_hard: u32,
    pub(crate) intents: Vec<Intent>,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self {
            model: String::new(),
            threshold: 70,
            margin: 30,
            certainty: 0.2,
            words_lead: 0.2,
            meaning_lead: 0.03,
            tokens_hard: 2000,
            intents: Vec::new(),
        };
        let mut targets = Vec::new();
        for (key, value) in settings.all() {
            let value = value.trim();
            match key.as_str() {
                "model" => options.model = value.to_owned(),
                "threshold" => options.threshold = hundredths(&key, value)?,
                "margin" => options.margin = hundredths(&key, value)?,
                "certainty" => options.certainty = number(&key, value, 100.0)?,
                "words_lead" => options.words_lead = number(&key, value, 1.0)?,
                "meaning_lead" => options.meaning_lead = number(&key, value, 2.0)?,
                "tokens_hard" => {
                    options.tokens_hard = match value.parse() {
                        Ok(tokens) if tokens > 0 => tokens,
                        _ => return Err(Refusal::unusable_setting(&key, "a whole number from 1 on")),
                    }
                }
                _ => match key.split_once('.') {
                    Some(("intent", name)) if !name.is_empty() => {
                        options.intents.push(intent(&key, name, value)?);
                    }
                    Some(("target", name)) if !name.is_empty() => {
                        targets.push((name.to_owned(), value.to_owned()));
                    }
                    _ => return Err(Refusal::unknown_setting(&key, KNOWN)),
                },
            }
        }
        if options.model.is_empty() {
            return Err(Refusal::new(
                "the semantic router needs the setting `model`: the id of a model on this machine, with the grant \
                 `inference:MODEL`",
            ));
        }
        for (name, target) in targets {
            match options.intents.iter_mut().find(|intent| intent.name == name) {
                Some(intent) if !target.is_empty() => intent.target = target,
                _ => {
                    return Err(Refusal::unusable_setting(
                        &format!("target.{name}"),
                        "the target of an intent that has examples",
                    ));
                }
            }
        }
        if let Some(without) = options.intents.iter().find(|intent| intent.target.is_empty()) {
            return Err(Refusal::unusable_setting(
                &format!("target.{}", without.name),
                "the id of a target for that intent",
            ));
        }
        if options.intents.len() == 1 {
            return Err(Refusal::new(
                "the semantic router compares intents: give a second one, such as `intent.other` with `target.other = \
                 \"auto\"`, or none",
            ));
        }
        if options.intents.iter().map(|intent| intent.examples.len()).sum::<usize>() > EXAMPLES_MAX {
            let problem = format!("the semantic router compares at most {EXAMPLES_MAX} examples in all");
            return Err(Refusal::new(problem));
        }
        Ok(options)
    }
}

fn intent(key: &str, name: &str, value: &str) -> Result<Intent, Refusal> {
    let examples: Vec<String> =
        value.split('|').map(str::trim).filter(|example| !example.is_empty()).map(str::to_owned).collect();
    if examples.is_empty() {
        return Err(Refusal::unusable_setting(key, "examples, separated by `|`"));
    }
    Ok(Intent { name: name.to_owned(), examples, target: String::new() })
}

fn number(key: &str, value: &str, most: f64) -> Result<f64, Refusal> {
    let number = value.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| Refusal::unusable_setting(key, &format!("a number from 0 to {most}")))
}

fn hundredths(key: &str, value: &str) -> Result<u32, Refusal> {
    number(key, value, 1.0).map(|number| (number * 100.0).round() as u32)
}

/// Settings that there are.
const KNOWN: &str =
    "model, threshold, margin, certainty, words_lead, meaning_lead, tokens_hard, intent.NAME and target.NAME";
