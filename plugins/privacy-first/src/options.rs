//! The policy's settings. One that does not exist, or has no sense, refuses every request: a policy whose
//! operator meant something else must not decide.

use lockgate_plugin::{Refusal, Settings};

/// What a picture in a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// It is personal, since nobody has looked at it.
    Personal,
    /// It means nothing.
    Ignore,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// From which difficulty on work is hard, 0 to 1.
    pub(crate) threshold: f64,
    /// Tokens of a prompt that is hard by its length alone.
    pub(crate) tokens_hard: f64,
    pub(crate) pictures: Pictures,
}

impl Options {
    pub(crate) fn read(settings: &dyn Settings) -> Result<Self, Refusal> {
        let mut options = Self { threshold: 0.7, tokens_hard: 2000.0, pictures: Pictures::Personal };
        for (key, value) in settings.all() {
            match key.as_str() {
                "threshold" => options.threshold = number(&key, &value, 0.0..=1.0)?,
                "tokens_hard" => options.tokens_hard = number(&key, &value, 1.0..=1e9)?,
                "pictures" => {
                    options.pictures = match value.as_str() {
                        "personal" => Pictures::Personal,
                        "ignore" => Pictures::Ignore,
                        _ => return Err(unusable(&key, "personal or ignore")),
                    }
                }
                _ => {
                    return Err(Refusal::new(format!(
                        "the routing policy has no setting `{key}`: it has threshold, tokens_hard, pictures"
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn number(key: &str, value: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, Refusal> {
    match value.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(unusable(key, &format!("a number from {} to {}", range.start(), range.end()))),
    }
}

fn unusable(key: &str, expected: &str) -> Refusal {
    Refusal::new(format!("the routing policy's setting `{key}` must be {expected}"))
}
