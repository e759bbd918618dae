//! One target's circuit breaker, as a pure state machine that is told the time.
//!
//! Closed until [`BreakerPolicy::failures_to_open`] attempts in a row have failed; then open: nothing is
//! sent. After a while one request at a time goes through as a probe. A probe's first event closes the
//! breaker on probation: the next failure opens it again, for twice as long, until an answer has been
//! whole. Which errors count is not decided here (see [`crate::health`]).

use std::time::{Duration, Instant};

use lockgate_api::BreakerState;

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures_to_open: u32,
    /// How long it stays open the first time.
    pub open_first: Duration,
    /// The longest that it stays open at a time.
    pub open_most: Duration,
}

impl Default for BreakerPolicy {
    /// Five failures; 5 s, doubling to at most 60 s.
    fn default() -> Self {
        Self { failures_to_open: 5, open_first: Duration::from_secs(5), open_most: Duration::from_secs(60) }
    }
}

/// How long a caller is told to wait while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// Leave to send one request. Give it back to the breaker with what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    probe: bool,
}

/// A target's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// Failures in a row while closed.
    failures: u32,
    /// How often it has opened since the last whole answer.
    openings: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed, failures: 0, openings: 0 }
    }

    /// Goes on from this state, as if it had just come to it.
    pub fn assume(&mut self, state: BreakerState, now: Instant) {
        let (state, openings) = match state {
            BreakerState::Closed => (State::Closed, 0),
            BreakerState::HalfOpen => (State::HalfOpen { probing: false }, 1),
            BreakerState::Open => (State::Open { until: now + self.policy.open_first }, 1),
        };
        *self = Self { policy: self.policy, state, failures: 0, openings };
    }

    /// What a policy sees.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Leave to send a request now.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        match self.state {
            State::Closed => Ok(Pass { probe: false }),
            State::Open { until } if now < until => Err(until - now),
            State::HalfOpen { probing: true } => Err(PROBE_WAIT),
            State::Open { .. } | State::HalfOpen { probing: false } => {
                self.state = State::HalfOpen { probing: true };
                Ok(Pass { probe: true })
            }
        }
    }

    /// The target has shown that it works: its first event, or a refusal that concerns the request.
    pub fn alive(&mut self, pass: Pass) {
        if pass.probe && matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Closed;
            self.failures = self.policy.failures_to_open.saturating_sub(1);
        }
    }

    /// The answer was whole.
    pub fn succeeded(&mut self, pass: Pass) {
        self.alive(pass);
        // An answer that began before the breaker opened says nothing about the target now.
        if self.state == State::Closed {
            self.failures = 0;
            self.openings = 0;
        }
    }

    /// The target failed.
    pub fn failed(&mut self, pass: Pass, now: Instant) {
        match self.state {
            State::Closed => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.policy.failures_to_open {
                    self.open(now);
                }
            }
            State::HalfOpen { .. } if pass.probe => self.open(now),
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// The request was given up by its client, which says nothing about the target.
    pub fn abandoned(&mut self, pass: Pass) {
        if pass.probe && matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::HalfOpen { probing: false };
        }
    }

    fn open(&mut self, now: Instant) {
        let doublings = self.openings.min(16);
        let wait = self.policy.open_first.saturating_mul(1 << doublings).min(self.policy.open_most);
        self.state = State::Open { until: now.checked_add(wait).unwrap_or(now) };
        self.openings = self.openings.saturating_add(1);
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests;
