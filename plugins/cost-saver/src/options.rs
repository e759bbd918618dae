//! The policy's settings. One that does not exist, or has no sense, refuses every request.

use lockgate_plugin::{Locality, Refusal, Settings};

/// What targets can do and may cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The operator's word on single targets: id and level.
    levels: Vec<(String, u8)>,
    /// The most that one request may cost, by estimate.
    pub(crate) usd_max: Option<f64>,
    /// Tokens of an answer whose client sets no limit.
    pub(crate) answer_tokens: f64,
    /// Tokens of a prompt that is hard by its length alone.
    pub(crate) tokens_hard: u32,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self { levels: Vec::new(), usd_max: None, answer_tokens: 500.0, tokens_hard: 2000 };
        for (key, value) in settings.all() {
            match key.as_str() {
                "levels" => {
                    options.levels = levels(&value).ok_or_else(|| {
                        Refusal::unusable_setting(
                            &key,
                            "targets and levels from 1 to 3, such as `small=1, claude=3`",
                        )
                    })?;
                }
                "usd_max" => match settings.number(&key)? {
                    Some(usd) if usd >= 0.0 => options.usd_max = Some(usd),
                    _ => return Err(Refusal::unusable_setting(&key, "USD for one request, not negative")),
                },
                "answer_tokens" => match settings.number(&key)? {
                    Some(tokens) if tokens >= 1.0 => options.answer_tokens = tokens,
                    _ => return Err(Refusal::unusable_setting(&key, "a number of tokens, at least 1")),
                },
                "tokens_hard" => match value.trim().parse() {
                    Ok(tokens) if tokens > 0 => options.tokens_hard = tokens,
                    _ => return Err(Refusal::unusable_setting(&key, "a whole number from 1 on")),
                },
                _ => {
                    return Err(Refusal::unknown_setting(
                        &key,
                        "levels, usd_max, answer_tokens, tokens_hard",
                    ));
                }
            }
        }
        Ok(options)
    }

    /// How hard the work may be that a target does: the operator's word, else by its place.
    pub(crate) fn level(&self, id: &str, locality: &Locality) -> u8 {
        let named = self.levels.iter().find(|(target, _)| target == id);
        named.map_or_else(
            || match locality {
                Locality::Local => 1,
                Locality::Lan => 2,
                Locality::Cloud | Locality::Other(_) => 3,
            },
            |(_, level)| *level,
        )
    }
}

fn levels(text: &str) -> Option<Vec<(String, u8)>> {
    let entry = |entry: &str| {
        let (id, level) = entry.rsplit_once('=')?;
        let level = level.trim().parse().ok().filter(|level| (1..=3).contains(level))?;
        Some((id.trim().to_owned(), level))
    };
    text.split(',').map(entry).collect()
}
