//! Which steps of a plan run at a moment: one after the other, and beside each other where the plan hedges.
//!
//! Pure: told the time and what became of a step, it says what to do next. Steps begin in the plan's order, each at
//! most once. One always runs; each that is late, which is one that has not said its first event when its hedge
//! time is over, wants one more beside it. A step that fails is followed by the next only where fewer run than that.
//! The first to say its first event wins, and nothing begins after it. Whether a step may begin at all (labels,
//! breaker, fields) and the end of the losers are the caller's.

use std::time::{Duration, Instant};

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Begin this step, if nothing is against it: tell [`Race::runs`] then.
    Begin {
        /// Its place in the plan.
        step: usize,
        /// Whether others run already.
        is_hedge: bool,
    },
    /// Wait until a step that runs says something, or until this moment.
    Wait(Option<Instant>),
    /// Nothing runs and nothing is left to begin, or one has won.
    Over,
}

/// The steps of one plan.
#[derive(Debug)]
pub struct Race {
    /// Of each step: how long it runs alone.
    hedges_after: Vec<Option<Duration>>,
    /// The first step that has not had its turn.
    next: usize,
    running: Vec<Runner>,
    is_won: bool,
}

#[derive(Debug)]
struct Runner {
    step: usize,
    late_at: Option<Instant>,
}

impl Race {
    /// A race of so many steps, each with the time after which it is late, if it ever is.
    pub fn of(hedges_after: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let hedges_after = hedges_after.into_iter().collect();
        Self { hedges_after, next: 0, running: Vec::new(), is_won: false }
    }

    /// What to do now. A step that is to begin is never named again.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if self.is_won {
            return Turn::Over;
        }
        let is_late = |runner: &&Runner| runner.late_at.is_some_and(|at| at <= now);
        let late = self.running.iter().filter(is_late).count();
        let is_left = self.next < self.hedges_after.len();
        if is_left && self.running.len() <= late {
            self.next += 1;
            return Turn::Begin { step: self.next - 1, is_hedge: !self.running.is_empty() };
        }
        if self.running.is_empty() {
            return Turn::Over;
        }
        let not_yet = self.running.iter().filter_map(|runner| runner.late_at).filter(|at| *at > now);
        Turn::Wait(if is_left { not_yet.min() } else { None })
    }

    /// The step has begun.
    pub fn runs(&mut self, step: usize, now: Instant) {
        let hedge_after = self.hedges_after.get(step).copied().flatten();
        let late_at = hedge_after.and_then(|after| now.checked_add(after));
        self.running.push(Runner { step, late_at });
    }

    /// The step has failed before its first event.
    pub fn failed(&mut self, step: usize) {
        self.running.retain(|runner| runner.step != step);
    }

    /// The step has said its first event: every other that runs has lost.
    pub fn won(&mut self) {
        self.is_won = true;
        self.running.clear();
    }
}

#[cfg(test)]
mod tests;
