//! What the gateway counts: requests by their end, attempts, tokens and times a target, canaries and shadows.
//!
//! Plain counters behind cheap clones, registered once and kept over configurations. No content and no key
//! ever becomes a label. What plugins use is counted in `sandbox`; the format is rendered by `server`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{BreakerState, TargetFacts, Usage};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::shadow::Comparison;

/// A target's id.
type Target = [(&'static str, String); 1];
/// An id and a word.
type Named = [(&'static str, String); 2];

fn named(id: (&'static str, &str), word: (&'static str, &str)) -> Named {
    [id, word].map(|(name, value)| (name, value.to_owned()))
}

/// The gateway's counters. Clones count into the same.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    requests: Family<Named, Counter>,
    attempts: Family<Named, Counter>,
    first_event: Family<Target, Histogram>,
    answer: Family<Target, Histogram>,
    tokens: Family<Named, Counter>,
    in_flight: Family<Target, Gauge>,
    queued: Family<Target, Gauge>,
    breaker: Family<Target, Gauge>,
    shadows: Family<Named, Counter>,
    canaries: Family<Named, Counter>,
    reviews: Family<Named, Counter>,
    hedges: Family<Named, Counter>,
}

/// From 1 ms, doubling, to some 9 minutes.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 20))
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            attempts: Family::default(),
            first_event: Family::new_with_constructor(times),
            answer: Family::new_with_constructor(times),
            tokens: Family::default(),
            in_flight: Family::default(),
            queued: Family::default(),
            breaker: Family::default(),
            shadows: Family::default(),
            canaries: Family::default(),
            reviews: Family::default(),
            hedges: Family::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Metrics {
    /// Makes the counters known under their names. Once a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Inner {
            requests,
            attempts,
            first_event,
            answer,
            tokens,
            in_flight,
            queued,
            breaker,
            shadows,
            canaries,
            reviews,
            hedges,
        } = &*self.0;
        registry.register("requests", "Requests by policy and how they ended", requests.clone());
        registry.register("attempts", "Attempts by target and result", attempts.clone());
        registry.register_with_unit(
            "attempt_first_event",
            "From the start of an attempt to the target's first event",
            Unit::Seconds,
            first_event.clone(),
        );
        registry.register_with_unit(
            "attempt_duration",
            "From the start of an attempt to its end",
            Unit::Seconds,
            answer.clone(),
        );
        registry.register("tokens", "Tokens that targets report, by kind", tokens.clone());
        registry.register("requests_in_flight", "Requests that a target is answering", in_flight.clone());
        registry.register("requests_queued", "Requests that wait in a model", queued.clone());
        registry.register(
            "breaker_state",
            "A target's circuit breaker: 0 closed, 1 half open, 2 open",
            breaker.clone(),
        );
        registry.register("shadow_decisions", "Decisions of shadow routers, compared", shadows.clone());
        registry.register(
            "canary_decisions",
            "Requests that fell to a canary, and whether it decided",
            canaries.clone(),
        );
        registry.register("reviews", "Reviewed answers by verdict", reviews.clone());
        registry.register(
            "hedges",
            "Attempts begun beside a late one, and those of them that answered first",
            hedges.clone(),
        );
    }

    /// Reads how the targets are doing now. Those that are gone are forgotten.
    pub(crate) fn observe(&self, targets: &[TargetFacts]) {
        let Inner { in_flight, queued, breaker, .. } = &*self.0;
        for family in [in_flight, queued, breaker] {
            family.clear();
        }
        for TargetFacts { target, health, .. } in targets {
            let labels = [("target", target.id.clone())];
            in_flight.get_or_create(&labels).set(health.in_flight.into());
            if let Some(waiting) = health.queued {
                queued.get_or_create(&labels).set(waiting.into());
            }
            let state = match health.breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            breaker.get_or_create(&labels).set(state);
        }
    }

    pub(crate) fn request(&self, policy: &str, outcome: &'static str) {
        self.0.requests.get_or_create(&named(("policy", policy), ("outcome", outcome))).inc();
    }

    pub(crate) fn first_event(&self, target: &str, after: Duration) {
        let labels = [("target", target.to_owned())];
        self.0.first_event.get_or_create(&labels).observe(after.as_secs_f64());
    }

    pub(crate) fn attempt(&self, target: &str, result: &'static str, after: Duration) {
        self.0.attempts.get_or_create(&named(("target", target), ("result", result))).inc();
        let labels = [("target", target.to_owned())];
        self.0.answer.get_or_create(&labels).observe(after.as_secs_f64());
    }

    pub(crate) fn usage(&self, target: &str, usage: &Usage) {
        let Usage { input, cache_read, cache_write, output, reasoning } = *usage;
        for (kind, count) in [
            ("input", input),
            ("cache_read", cache_read),
            ("cache_write", cache_write),
            ("output", output),
            ("reasoning", reasoning),
        ] {
            if count > 0 {
                self.0.tokens.get_or_create(&named(("target", target), ("kind", kind))).inc_by(count);
            }
        }
    }

    pub(crate) fn hedge(&self, target: &str, result: &'static str) {
        self.0.hedges.get_or_create(&named(("target", target), ("result", result))).inc();
    }

    pub(crate) fn shadow(&self, plugin: &str, comparison: Comparison) {
        self.0.shadows.get_or_create(&named(("plugin", plugin), ("comparison", comparison.name()))).inc();
    }

    pub(crate) fn review(&self, plugin: &str, verdict: &'static str) {
        self.0.reviews.get_or_create(&named(("plugin", plugin), ("verdict", verdict))).inc();
    }

    pub(crate) fn canary(&self, plugin: &str, decided: bool) {
        let decided = if decided { "yes" } else { "no" };
        self.0.canaries.get_or_create(&named(("plugin", plugin), ("decided", decided))).inc();
    }
}
