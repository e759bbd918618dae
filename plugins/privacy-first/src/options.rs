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

/// Numbers are whole: the tables behind floating-point text would be most of the component's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// From which difficulty on work is hard, in hundredths.
    pub(crate) threshold: u32,
    /// Tokens of a prompt that is hard by its length alone.
    pub(crate) tokens_hard: u32,
    pub(crate) pictures: Pictures,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self { threshold: 70, tokens_hard: 2000, pictures: Pictures::Personal };
        for (key, value) in settings.all() {
            match key.as_str() {
                "threshold" => {
                    options.threshold = hundredths(&value).ok_or_else(|| {
                        Refusal::unusable_setting(&key, "a number from 0 to 1, such as 0.7")
                    })?;
                }
                "tokens_hard" => {
                    options.tokens_hard = match value.trim().parse() {
                        Ok(tokens) if tokens > 0 => tokens,
                        _ => return Err(Refusal::unusable_setting(&key, "a whole number from 1 on")),
                    }
                }
                "pictures" => {
                    options.pictures = match value.as_str() {
                        "personal" => Pictures::Personal,
                        "ignore" => Pictures::Ignore,
                        _ => return Err(Refusal::unusable_setting(&key, "personal or ignore")),
                    }
                }
                _ => {
                    return Err(Refusal::unknown_setting(&key, "threshold, tokens_hard, pictures"));
                }
            }
        }
        Ok(options)
    }
}

/// A decimal number from 0 to 1; digits beyond the second are dropped.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let digit = |place: usize| part.as_bytes().get(place).map_or(0, |digit| u32::from(digit - b'0'));
    let hundredths = whole.parse::<u32>().ok()?.checked_mul(100)? + digit(0) * 10 + digit(1);
    (hundredths <= 100).then_some(hundredths)
}
