//! What a question is about: by its words where they are clear, else by its meaning.

use std::collections::BTreeSet;

use lockgate_plugin::inference;

use crate::options::{Intent, Options};

/// Shorter words are in every question.
const WORD_CHARS_MIN: usize = 4;

/// An intent and how it was found.
pub(crate) struct Found<'a> {
    pub(crate) intent: &'a Intent,
    how: &'static str,
}

impl Found<'_> {
    /// In words, for people.
    pub(crate) fn reason(&self) -> String {
        format!("intent {}, by its {}", self.intent.name, self.how)
    }
}

/// The intent of a question, where it is clear.
///
/// # Errors
/// Why the model, which had to be asked, did not say.
pub(crate) fn find<'a>(question: &str, options: &'a Options) -> Result<Option<Found<'a>>, String> {
    let intents = &options.intents;
    if intents.is_empty() || question.trim().is_empty() {
        return Ok(None);
    }
    if let Some(place) = leader(&by_words(question, intents), options.words_lead) {
        return Ok(Some(Found { intent: &intents[place], how: "words" }));
    }
    let place = leader(&by_meaning(question, options)?, options.meaning_lead);
    Ok(place.map(|place| Found { intent: &intents[place], how: "meaning" }))
}

/// The place of the greatest score, where it leads by so much. There are at least two.
fn leader(scores: &[f64], lead: f64) -> Option<usize> {
    let (place, best) = scores.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let others = scores.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, score)| *score);
    let second = others.fold(f64::NEG_INFINITY, f64::max);
    (best > second && best - second >= lead).then_some(place)
}

/// Which share of the question's words each intent's examples have.
fn by_words(question: &str, intents: &[Intent]) -> Vec<f64> {
    let asked = words(question);
    let share = |intent: &Intent| {
        let known: BTreeSet<String> = intent.examples.iter().flat_map(|example| words(example)).collect();
        asked.intersection(&known).count() as f64 / asked.len().max(1) as f64
    };
    intents.iter().map(share).collect()
}

fn words(text: &str) -> BTreeSet<String> {
    let long = |word: &&str| word.chars().count() >= WORD_CHARS_MIN;
    text.split(|c: char| !c.is_alphanumeric()).filter(long).map(str::to_lowercase).collect()
}

/// How near each intent's nearest example is to the question, as a cosine.
fn by_meaning(question: &str, options: &Options) -> Result<Vec<f64>, String> {
    let mut texts = vec![question];
    texts.extend(options.intents.iter().flat_map(|intent| intent.examples.iter().map(String::as_str)));
    let vectors = inference::embed(&options.model, &texts).map_err(|error| error.to_string())?;
    let (question, mut examples) = match vectors.split_first() {
        Some(found) if vectors.len() == texts.len() => found,
        _ => return Err("it made other vectors than were asked for".to_owned()),
    };
    let mut scores = Vec::with_capacity(options.intents.len());
    for intent in &options.intents {
        let (mine, rest) = examples.split_at(intent.examples.len());
        examples = rest;
        scores.push(mine.iter().map(|example| cosine(question, example)).fold(-1.0, f64::max));
    }
    Ok(scores)
}

/// Of vectors of length 1.
fn cosine(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}
