//! How a target is doing: requests in flight, a bounded window of recent attempts, its breaker.
//!
//! [`Window`] is pure; [`Monitor`] puts it behind a lock, and a [`Flight`] is one request's hold on it,
//! which reports even when it is only dropped. Being busy (rate limits, overload) counts as an error of
//! the attempt but does not open the breaker: a full queue is not a broken target.
//!
//! Embeddings have a breaker of their own and are no part of the figures, which are of answers: a server may answer
//! well and embed nothing, and who asks for the one must not close the other to everybody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_api::{BackendError, ErrorKind, Health};

use crate::breaker::{Breaker, BreakerPolicy, Pass};

/// Attempts remembered a target.
const SAMPLES_MAX: usize = 64;
/// How long an attempt is remembered.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(600);

/// What one attempt showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measurement {
    /// From the start to the first text, reasoning or tool call.
    pub first_token: Option<Duration>,
    /// Tokens a second from there to the end.
    pub tokens_per_second: Option<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    failed: bool,
    measured: Measurement,
}

/// The recent attempts of one target and what they amount to.
#[derive(Debug, Default)]
pub struct Window {
    samples: VecDeque<Sample>,
    /// What the samples amounted to when they were last described.
    figures: Figures,
    /// Whether samples have come or gone since.
    stale: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    first_token: Option<Duration>,
    first_token_p90: Option<Duration>,
    tokens_per_second: Option<f32>,
    tokens_per_second_p10: Option<f32>,
    error_rate: Option<f32>,
}

impl Window {
    /// Remembers an attempt that ended now.
    pub fn record(&mut self, now: Instant, failed: bool, measured: Measurement) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at: now, failed, measured });
        self.stale = true;
    }

    /// Fills the figures of `health` in.
    pub fn describe(&mut self, now: Instant, health: &mut Health) {
        while self.samples.front().is_some_and(|oldest| now.duration_since(oldest.at) > SAMPLE_AGE_MAX) {
            self.samples.pop_front();
            self.stale = true;
        }
        if self.stale {
            self.figures = self.compute();
            self.stale = false;
        }
        health.first_token_median = self.figures.first_token;
        health.first_token_p90 = self.figures.first_token_p90;
        health.tokens_per_second_median = self.figures.tokens_per_second;
        health.tokens_per_second_p10 = self.figures.tokens_per_second_p10;
        health.error_rate = self.figures.error_rate;
    }

    fn compute(&self) -> Figures {
        if self.samples.is_empty() {
            return Figures::default();
        }
        let failed = self.samples.iter().filter(|sample| sample.failed).count();
        let mut first: Vec<_> =
            self.samples.iter().filter_map(|sample| sample.measured.first_token).collect();
        let mut speed: Vec<_> =
            self.samples.iter().filter_map(|sample| sample.measured.tokens_per_second).collect();
        Figures {
            first_token: quantile(&mut first, 50, Duration::cmp),
            first_token_p90: quantile(&mut first, 90, Duration::cmp),
            tokens_per_second: quantile(&mut speed, 50, f32::total_cmp),
            tokens_per_second_p10: quantile(&mut speed, 10, f32::total_cmp),
            error_rate: Some(failed as f32 / self.samples.len() as f32),
        }
    }
}

/// The value that so many percent of all do not exceed; of two that would do, the lower.
fn quantile<T: Copy>(values: &mut [T], percent: usize, order: fn(&T, &T) -> std::cmp::Ordering) -> Option<T> {
    let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(place, order).1)
}

/// A target's health, shared by everybody who sends to it.
#[derive(Debug)]
pub struct Monitor {
    in_flight: AtomicU32,
    inner: Mutex<Inner>,
}

/// What a request wants of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Answer,
    Embeddings,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    embedding_breaker: Breaker,
    window: Window,
    /// What holds as long as nothing else has been seen.
    assumed: Health,
}

impl Inner {
    fn breaker(&mut self, asked: Asked) -> &mut Breaker {
        match asked {
            Asked::Answer => &mut self.breaker,
            Asked::Embeddings => &mut self.embedding_breaker,
        }
    }

    fn record(&mut self, asked: Asked, now: Instant, failed: bool, measured: Measurement) {
        if asked == Asked::Answer {
            self.window.record(now, failed, measured);
        }
    }
}

impl Monitor {
    /// A target of which nothing is known yet.
    pub fn new(policy: BreakerPolicy) -> Arc<Self> {
        let inner = Inner {
            breaker: Breaker::new(policy),
            embedding_breaker: Breaker::new(policy),
            window: Window::default(),
            assumed: Health::default(),
        };
        Arc::new(Self { in_flight: AtomicU32::new(0), inner: Mutex::new(inner) })
    }

    /// What a policy is told; `queued` is the backend's own knowledge.
    pub fn health(&self, now: Instant, queued: Option<u32>) -> Health {
        let mut health =
            Health { in_flight: self.in_flight.load(Ordering::Relaxed), queued, ..Health::default() };
        let mut inner = self.lock();
        health.breaker = inner.breaker.state(now);
        inner.window.describe(now, &mut health);
        let assumed = inner.assumed;
        Health {
            breaker: health.breaker,
            in_flight: health.in_flight.saturating_add(assumed.in_flight),
            queued: health.queued.or(assumed.queued),
            first_token_median: health.first_token_median.or(assumed.first_token_median),
            first_token_p90: health.first_token_p90.or(assumed.first_token_p90),
            tokens_per_second_median: health.tokens_per_second_median.or(assumed.tokens_per_second_median),
            tokens_per_second_p10: health.tokens_per_second_p10.or(assumed.tokens_per_second_p10),
            error_rate: health.error_rate.or(assumed.error_rate),
        }
    }

    /// Takes this for the target's health until it has shown its own; requests in flight are beside the real ones.
    pub fn assume(&self, now: Instant, health: Health) {
        let mut inner = self.lock();
        inner.breaker.assume(health.breaker, now);
        inner.assumed = health;
    }

    /// Leave to send one request for an answer.
    ///
    /// # Errors
    /// How long to wait, when the breaker is open.
    pub fn begin(self: &Arc<Self>, now: Instant) -> Result<Flight, Duration> {
        self.begin_with(Asked::Answer, now)
    }

    /// Leave to send one request for embeddings.
    ///
    /// # Errors
    /// How long to wait, when their breaker is open.
    pub fn begin_embedding(self: &Arc<Self>, now: Instant) -> Result<Flight, Duration> {
        self.begin_with(Asked::Embeddings, now)
    }

    fn begin_with(self: &Arc<Self>, asked: Asked, now: Instant) -> Result<Flight, Duration> {
        let pass = self.lock().breaker(asked).admit(now)?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Flight { monitor: Arc::clone(self), asked, pass, over: false })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a few assignments; a panic between them leaves figures, never broken memory.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that a target is answering. Dropping it without a report means that it was abandoned.
#[derive(Debug)]
pub struct Flight {
    monitor: Arc<Monitor>,
    asked: Asked,
    pass: Pass,
    over: bool,
}

impl Flight {
    /// The first event has come.
    pub fn answering(&self) {
        self.monitor.lock().breaker(self.asked).alive(self.pass);
    }

    /// The answer was whole.
    pub fn succeeded(mut self, now: Instant, measured: Measurement) {
        self.over = true;
        let mut inner = self.monitor.lock();
        inner.breaker(self.asked).succeeded(self.pass);
        inner.record(self.asked, now, false, measured);
    }

    /// The attempt failed.
    pub fn failed(mut self, now: Instant, error: &BackendError, measured: Measurement) {
        self.over = true;
        let mut inner = self.monitor.lock();
        let breaker = inner.breaker(self.asked);
        if !error.counts_against_target() {
            // It answered, if only to say that the request is wrong; a cancelled one says nothing.
            match error.kind {
                ErrorKind::Cancelled
                | ErrorKind::Guard
                | ErrorKind::Adapter
                | ErrorKind::Internal
                | ErrorKind::Locality => {
                    breaker.abandoned(self.pass);
                }
                _ => breaker.alive(self.pass),
            }
            return;
        }
        match error.kind {
            ErrorKind::RateLimited | ErrorKind::Overloaded => breaker.alive(self.pass),
            _ => breaker.failed(self.pass, now),
        }
        inner.record(self.asked, now, true, measured);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.monitor.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.over {
            self.monitor.lock().breaker(self.asked).abandoned(self.pass);
        }
    }
}

#[cfg(test)]
mod tests;
