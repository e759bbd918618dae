//! How many prompt tokens may join a step that also decodes: as many as keep the step near a wanted length, by
//! the cost of recent steps. Owns the estimate; the runner measures and passes durations in. The choice changes
//! when tokens are computed, never what they are.

use std::time::Duration;

/// The wanted length of a step that decodes while a prompt is computed.
const STEP: Duration = Duration::from_millis(100);

/// The least prompt tokens beside decodes: below, a pass over the weights is spent on too little.
const TOKENS_MIN: usize = 16;

/// The guess before anything was measured.
const TOKENS_FIRST: usize = 64;

/// Weight of the newest step in the running mean.
const NEWEST: f64 = 0.3;

/// A running estimate of what a token costs in steps that compute prompts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    seconds_per_token: Option<f64>,
}

impl Pace {
    /// Notes a step of `tokens` tokens that took `elapsed`. Steps below 16 tokens say little about prompts and
    /// are passed over.
    pub fn observe(&mut self, tokens: usize, elapsed: Duration) {
        if tokens < TOKENS_MIN {
            return;
        }
        let cost = elapsed.as_secs_f64() / tokens as f64;
        self.seconds_per_token = Some(match self.seconds_per_token {
            Some(mean) => mean + NEWEST * (cost - mean),
            None => cost,
        });
    }

    /// Prompt tokens that may join the next step that decodes.
    pub fn prefill_tokens_max(&self) -> usize {
        match self.seconds_per_token {
            // A float too large for the integer becomes its maximum.
            Some(cost) => ((STEP.as_secs_f64() / cost.max(1e-9)) as usize).max(TOKENS_MIN),
            None => TOKENS_FIRST,
        }
    }
}
