//! The policy's settings. One that does not exist, or has no sense, refuses every request.

use std::time::Duration;

use lockgate_plugin::{Refusal, Settings};

/// What is kept on one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sticky {
    /// Nothing.
    None,
    /// A conversation, by its beginning.
    Conversation,
    /// A key's requests.
    Key,
    /// A tenant's requests.
    Tenant,
}

/// How targets are ranked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) sticky: Sticky,
    /// How much slower than the fastest a target may be and still be stayed with.
    pub(crate) slack: f64,
    /// From which share of failures on a target is unhealthy.
    pub(crate) errors_max: f64,
    /// How long a target may say nothing before the next one is asked beside it.
    pub(crate) hedge_after: Option<Duration>,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options =
            Self { sticky: Sticky::Conversation, slack: 2.0, errors_max: 0.5, hedge_after: None };
        for (key, value) in settings.all() {
            match key.as_str() {
                "sticky" => {
                    options.sticky = match value.as_str() {
                        "none" => Sticky::None,
                        "conversation" => Sticky::Conversation,
                        "key" => Sticky::Key,
                        "tenant" => Sticky::Tenant,
                        _ => {
                            return Err(Refusal::unusable_setting(&key, "none, conversation, key or tenant"));
                        }
                    }
                }
                "slack" => match settings.number(&key)? {
                    Some(slack) if slack >= 1.0 => options.slack = slack,
                    _ => return Err(Refusal::unusable_setting(&key, "a number from 1 on, such as 2")),
                },
                "hedge_after_ms" => match settings.number(&key)? {
                    Some(time) if (1.0..=600_000.0).contains(&time) => {
                        options.hedge_after = Some(Duration::from_millis(time as u64));
                    }
                    _ => return Err(Refusal::unusable_setting(&key, "milliseconds, 1 to 600000")),
                },
                "errors_max" => match settings.number(&key)? {
                    Some(share) if share > 0.0 && share <= 1.0 => options.errors_max = share,
                    _ => {
                        return Err(Refusal::unusable_setting(
                            &key,
                            "a share above 0 and up to 1, such as 0.5",
                        ));
                    }
                },
                _ => {
                    return Err(Refusal::unknown_setting(&key, "sticky, slack, errors_max, hedge_after_ms"));
                }
            }
        }
        Ok(options)
    }
}
