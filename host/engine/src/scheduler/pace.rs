//! Two running estimates. [`Pace`]: how many prompt tokens may join a step that also decodes, namely as many as
//! keep the step near a wanted length by the cost of recent steps; it changes when tokens are computed, never what
//! they are. [`Departures`]: when a full queue is worth asking again. The runner measures and passes times in.

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

/// How often a sequence leaves while others wait, which is how often the queue has a place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departures {
    last: Option<Duration>,
    seconds_between: Option<f64>,
}

impl Departures {
    /// Notes that a sequence left at `now` (since any fixed moment), and returns when to ask again: 1 to 60
    /// seconds. Times when nobody waits say nothing about a full queue.
    pub fn leave(&mut self, now: Duration, others_wait: bool) -> Duration {
        if let Some(last) = self.last.replace(now)
            && others_wait
        {
            let between = now.saturating_sub(last).as_secs_f64();
            let mean = self.seconds_between.unwrap_or(between);
            self.seconds_between = Some(mean + NEWEST * (between - mean));
        }
        Duration::from_secs_f64(self.seconds_between.unwrap_or(1.0).ceil().clamp(1.0, 60.0))
    }
}
