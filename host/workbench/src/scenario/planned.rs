//! What a scenario expects of one attempt of a plan beyond its target.

use std::time::Duration;

use lockgate_api::{Overrides, PlannedAttempt};

use super::expect::quoted;

/// An attempt as it must be in the plan. Whatever is left out may be anything.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLike {
    /// On which target.
    pub target: String,
    /// The limit of the whole attempt.
    pub timeout: Option<Duration>,
    /// How long it runs alone.
    pub hedge_after: Option<Duration>,
    /// Whether its answer is judged.
    pub review: Option<bool>,
    /// Sampling parameters in the place of the request's own.
    pub sampling: Overrides,
}

impl PlannedLike {
    /// Whether this attempt is like it.
    pub fn holds(&self, attempt: &PlannedAttempt) -> bool {
        fn agrees<T: PartialEq>(wanted: Option<T>, is: Option<T>) -> bool {
            wanted.is_none() || wanted == is
        }
        let (wanted, is) = (&self.sampling, &attempt.sampling);
        self.target == attempt.target
            && agrees(self.timeout, attempt.timeout)
            && agrees(self.hedge_after, attempt.hedge_after)
            && agrees(self.review, Some(attempt.review))
            && agrees(wanted.temperature, is.temperature)
            && agrees(wanted.top_p, is.top_p)
            && agrees(wanted.top_k, is.top_k)
            && agrees(wanted.seed, is.seed)
            && agrees(wanted.max_tokens, is.max_tokens)
    }

    /// All that a plan says of an attempt.
    pub fn of(attempt: &PlannedAttempt) -> Self {
        Self {
            target: attempt.target.clone(),
            timeout: attempt.timeout,
            hedge_after: attempt.hedge_after,
            review: attempt.review.then_some(true),
            sampling: attempt.sampling,
        }
    }

    /// As in the file.
    pub fn to_toml(&self) -> String {
        let Overrides { temperature, top_p, top_k, seed, max_tokens } = self.sampling;
        let milliseconds = |time: Option<Duration>| time.map(|time| time.as_millis().to_string());
        let fields = [
            ("target", Some(quoted(&self.target))),
            ("timeout_ms", milliseconds(self.timeout)),
            ("hedge_after_ms", milliseconds(self.hedge_after)),
            ("review", self.review.map(|review| review.to_string())),
            ("temperature", temperature.map(|value| value.to_string())),
            ("top_p", top_p.map(|value| value.to_string())),
            ("top_k", top_k.map(|value| value.to_string())),
            ("seed", seed.map(|value| value.to_string())),
            ("max_tokens", max_tokens.map(|value| value.to_string())),
        ];
        let stated = fields.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
        format!("{{ {} }}", stated.collect::<Vec<_>>().join(", "))
    }
}

/// Several, as in the file.
pub(super) fn list(planned: &[PlannedLike]) -> String {
    let each: Vec<String> = planned.iter().map(PlannedLike::to_toml).collect();
    format!("[{}]", each.join(", "))
}
