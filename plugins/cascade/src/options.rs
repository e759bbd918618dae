//! The policy's settings. One that does not exist, or has no sense, refuses every request.

use lockgate_plugin::{Refusal, Settings};

/// What an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The lowest mean of the logarithms of the tokens' probabilities.
    pub(crate) likelihood_min: f64,
    /// The fewest characters.
    pub(crate) characters_min: usize,
    /// Further phrases that an answer must not hold in its beginning, in small letters.
    pub(crate) phrases: Vec<String>,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self { likelihood_min: -1.0, characters_min: 1, phrases: Vec::new() };
        for (key, value) in settings.all() {
            match key.as_str() {
                "likelihood_min" => match settings.number(&key)? {
                    Some(number) if number <= 0.0 => options.likelihood_min = number,
                    _ => {
                        return Err(Refusal::unusable_setting(
                            &key,
                            "the logarithm of a probability: a number up to 0, such as -1.0",
                        ));
                    }
                },
                "characters_min" => match value.trim().parse() {
                    Ok(characters) => options.characters_min = characters,
                    Err(_) => return Err(Refusal::unusable_setting(&key, "a whole number")),
                },
                "phrases" => {
                    let phrases = value.split('|').map(|phrase| phrase.trim().to_lowercase());
                    options.phrases = phrases.filter(|phrase| !phrase.is_empty()).collect();
                }
                _ => {
                    return Err(Refusal::unknown_setting(&key, "likelihood_min, characters_min, phrases"));
                }
            }
        }
        Ok(options)
    }
}
