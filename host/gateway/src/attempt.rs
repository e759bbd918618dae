//! The state machine of one attempt: its timers, and whether what arrives is a whole answer.
//!
//! Pure: told the time and what happened, it says what that means. The attempt is committed to by its
//! first event, whatever that is, so that a model that thinks before it speaks is not cut off. After
//! every choice has finished nothing can spoil the answer any more: only its usage may still come.
//! Retry and failover are the caller's.

use std::time::{Duration, Instant};

use lockgate_api::{BackendError, ErrorKind, Event, TimeoutKind, Timeouts, Usage};

use crate::health::Measurement;

/// Tool calls that one choice may make.
const TOOL_CALLS_MAX: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Sent; nothing has come.
    Waiting,
    /// The first event has come.
    Answering,
    /// Every choice has finished; the usage may come.
    Finished,
    /// The usage has come.
    Complete,
}

#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    finished: bool,
    tool_calls: u32,
}

/// What a moment means for the attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// The answer is whole.
    Complete,
    /// The attempt has failed.
    Failed(BackendError),
}

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    timeouts: Timeouts,
    started: Instant,
    /// Since when nothing has come, while somebody is reading. A client that reads slowly is not the
    /// target's silence.
    silent_since: Option<Instant>,
    phase: Phase,
    choices: Vec<Choice>,
    unfinished: usize,
    first_token: Option<Instant>,
    usage: Option<Usage>,
}

impl Attempt {
    /// An attempt that is sent now. `choices` is the number of answers asked for.
    pub fn begin(now: Instant, timeouts: Timeouts, choices: u32) -> Self {
        Self {
            timeouts,
            started: now,
            silent_since: None,
            phase: Phase::Waiting,
            choices: vec![Choice::default(); choices as usize],
            unfinished: choices as usize,
            first_token: None,
            usage: None,
        }
    }

    /// Whether an event has come.
    pub fn committed(&self) -> bool {
        self.phase != Phase::Waiting
    }

    /// When [`Attempt::on_timer`] must be asked next, unless an event comes first.
    pub fn deadline(&self) -> Instant {
        let total = self.started + self.timeouts.total;
        let silence = match self.phase {
            Phase::Waiting => self.first_event_deadline(),
            _ => self.silent_since.map_or(total, |since| since + self.timeouts.idle),
        };
        silence.min(total)
    }

    /// Nothing has come so far, and the reader is waiting.
    pub fn on_silence(&mut self, now: Instant) {
        if self.committed() {
            self.silent_since.get_or_insert(now);
        }
    }

    /// Something arrived.
    pub fn on_event(&mut self, now: Instant, event: &Event) -> Verdict {
        self.silent_since = None;
        if let Some(error) = self.out_of_time(now) {
            return self.end_with(error);
        }
        if let Err(problem) = self.follow(now, event) {
            let message = format!("its answer does not follow the protocol: {problem}");
            return self.end_with(BackendError::new(ErrorKind::Upstream, message).dispatched());
        }
        if self.phase == Phase::Complete { Verdict::Complete } else { Verdict::Continue }
    }

    /// The target reported an error.
    pub fn on_error(&mut self, error: BackendError) -> Verdict {
        self.end_with(error)
    }

    /// The stream ended.
    pub fn on_end(&mut self) -> Verdict {
        let message = if self.committed() {
            "the answer ended before it was finished"
        } else {
            "the answer ended before it began"
        };
        self.end_with(BackendError::new(ErrorKind::Cut, message).dispatched())
    }

    /// The time given by [`Attempt::deadline`] may have come.
    pub fn on_timer(&mut self, now: Instant) -> Verdict {
        if let Some(error) = self.out_of_time(now) {
            return self.end_with(error);
        }
        let silence = match (self.phase, self.silent_since) {
            (Phase::Waiting, _) if now >= self.first_event_deadline() => {
                let limit = self.timeouts.connect + self.timeouts.first_event;
                Some(timed_out(TimeoutKind::FirstEvent, "no answer began within", limit))
            }
            (Phase::Waiting, _) | (_, None) => None,
            (_, Some(since)) if now >= since + self.timeouts.idle => {
                Some(timed_out(TimeoutKind::Idle, "the answer stopped for", self.timeouts.idle))
            }
            (_, Some(_)) => None,
        };
        silence.map_or(Verdict::Continue, |error| self.end_with(error))
    }

    /// What the attempt showed of the target, if it ended now.
    pub fn measurement(&self, now: Instant) -> Measurement {
        let speed = |first: Instant, usage: Usage| {
            let tokens = usage.completion_total().checked_sub(1)?;
            let seconds = now.duration_since(first).as_secs_f32();
            // An answer delivered in one piece says nothing about speed.
            (tokens > 0 && seconds > 0.001).then(|| tokens as f32 / seconds)
        };
        Measurement {
            first_token: self.first_token.map(|first| first - self.started),
            tokens_per_second: self
                .first_token
                .zip(self.usage)
                .and_then(|(first, usage)| speed(first, usage)),
        }
    }

    /// The backend's own connect timer runs inside the first part of this.
    fn first_event_deadline(&self) -> Instant {
        self.started + self.timeouts.connect + self.timeouts.first_event
    }

    fn out_of_time(&self, now: Instant) -> Option<BackendError> {
        let Timeouts { total, .. } = self.timeouts;
        (now >= self.started + total)
            .then(|| timed_out(TimeoutKind::Total, "the answer was not finished within", total))
    }

    /// An end that is not the last event: harmless once every choice has finished.
    fn end_with(&mut self, error: BackendError) -> Verdict {
        match self.phase {
            Phase::Finished | Phase::Complete => Verdict::Complete,
            Phase::Waiting | Phase::Answering => Verdict::Failed(error),
        }
    }

    /// Checks an event against the protocol in `lockgate_api::event` and advances.
    fn follow(&mut self, now: Instant, event: &Event) -> Result<(), &'static str> {
        match (self.phase, event) {
            (Phase::Waiting, Event::Start { .. }) => {
                self.phase = Phase::Answering;
                return Ok(());
            }
            (Phase::Waiting, _) => return Err("it does not begin with a start"),
            (_, Event::Start { .. }) => return Err("it starts twice"),
            (Phase::Finished, Event::Usage(usage)) => {
                self.usage = Some(*usage);
                self.phase = Phase::Complete;
                return Ok(());
            }
            (_, Event::Usage(_)) => return Err("its usage comes before its end"),
            (Phase::Finished | Phase::Complete, _) => return Err("it goes on after its end"),
            (Phase::Answering, _) => {}
        }
        let (Event::Text { choice, .. }
        | Event::Reasoning { choice, .. }
        | Event::ToolCall { choice, .. }
        | Event::Finish { choice, .. }) = event
        else {
            return Ok(());
        };
        let state = self.choices.get_mut(*choice as usize).ok_or("it has more choices than asked for")?;
        if state.finished {
            return Err("a choice goes on after its end");
        }
        match event {
            Event::Finish { .. } => {
                state.finished = true;
                self.unfinished -= 1;
                if self.unfinished == 0 {
                    self.phase = Phase::Finished;
                }
                return Ok(());
            }
            Event::ToolCall { index, .. } if *index == state.tool_calls => {
                state.tool_calls += 1;
                if state.tool_calls > TOOL_CALLS_MAX {
                    return Err("it calls more tools than anybody has");
                }
            }
            Event::ToolCall { index, .. } if *index > state.tool_calls => {
                return Err("its tool calls are not numbered in order");
            }
            _ => {}
        }
        self.first_token.get_or_insert(now);
        Ok(())
    }
}

fn timed_out(kind: TimeoutKind, what: &str, limit: Duration) -> BackendError {
    let message = format!("{what} {:.1} s", limit.as_secs_f64());
    BackendError::new(ErrorKind::Timeout(kind), message).dispatched()
}

#[cfg(test)]
mod tests;
