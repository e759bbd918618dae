//! What is counted of plugins: calls by their end, their time, the memory and host calls that they took.
//!
//! By plugin and world, over all versions that a reload brings. No text of a request or plugin becomes a label.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::grant::World;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: String,
    world: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    plugin: String,
    world: &'static str,
    end: &'static str,
}

/// The end of a call without an error.
pub(crate) const WELL: &str = "ok";

/// One call that is over.
pub(crate) struct Ended {
    /// [`WELL`], or the kind of its error.
    pub(crate) end: &'static str,
    pub(crate) took: Duration,
    /// Of it, waiting for whom it asked.
    pub(crate) waited: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) host_calls: u64,
    pub(crate) instructions: u64,
}

/// The counters of all plugins of a sandbox.
pub(crate) struct Metrics {
    calls: Family<EndLabels, Counter>,
    warm: Family<PluginLabels, Counter>,
    ahead: Family<PluginLabels, Counter>,
    times: Family<PluginLabels, Histogram>,
    memory: Family<PluginLabels, Gauge>,
    host_calls: Family<PluginLabels, Counter>,
    instructions: Family<PluginLabels, Counter>,
    waited: Family<PluginLabels, Counter<f64, AtomicU64>>,
}

/// From 1 µs, doubling, to some 8 s.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 2.0, 24))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            warm: Family::default(),
            ahead: Family::default(),
            times: Family::new_with_constructor(times),
            memory: Family::default(),
            host_calls: Family::default(),
            instructions: Family::default(),
            waited: Family::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("plugin_calls", "Calls of plugins by how they ended", self.calls.clone());
        registry.register("plugin_warm_calls", "Calls that a kept instance served", self.warm.clone());
        let help = "Calls that a fresh instance served which had been made ahead";
        registry.register("plugin_ahead_calls", help, self.ahead.clone());
        registry.register_with_unit(
            "plugin_call_duration",
            "From entering a plugin to its answer",
            Unit::Seconds,
            self.times.clone(),
        );
        registry.register_with_unit(
            "plugin_memory_peak",
            "The most memory that one call of the plugin had",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register("plugin_host_calls", "Calls of the host by plugins", self.host_calls.clone());
        registry.register(
            "plugin_instructions",
            "WebAssembly instructions that plugins ran",
            self.instructions.clone(),
        );
        registry.register_with_unit(
            "plugin_host_wait",
            "Time of calls that plugins waited for whom they asked",
            Unit::Seconds,
            self.waited.clone(),
        );
    }

    /// Those of one plugin.
    pub(crate) fn of(&self, plugin: &str, world: World) -> Counted {
        let labels = PluginLabels { plugin: plugin.to_owned(), world: world.name() };
        let well = EndLabels { plugin: plugin.to_owned(), world: world.name(), end: WELL };
        Counted {
            well: self.calls.get_or_create_owned(&well),
            calls: self.calls.clone(),
            warm: self.warm.get_or_create_owned(&labels),
            ahead: self.ahead.get_or_create_owned(&labels),
            times: self.times.get_or_create_owned(&labels),
            memory: self.memory.get_or_create_owned(&labels),
            host_calls: self.host_calls.get_or_create_owned(&labels),
            instructions: self.instructions.get_or_create_owned(&labels),
            waited: self.waited.get_or_create_owned(&labels),
            labels,
        }
    }
}

/// The counters of one plugin, found once: looking them up by their labels takes a good part of a microsecond a call.
pub(crate) struct Counted {
    labels: PluginLabels,
    /// Calls that ended well.
    well: Counter,
    calls: Family<EndLabels, Counter>,
    /// Calls that a kept instance served.
    pub(crate) warm: Counter,
    /// Calls that an instance served which had been made ahead.
    pub(crate) ahead: Counter,
    times: Histogram,
    memory: Gauge,
    host_calls: Counter,
    instructions: Counter,
    waited: Counter<f64, AtomicU64>,
}

impl Counted {
    pub(crate) fn record(&self, ended: &Ended) {
        if ended.end == WELL {
            self.well.inc();
        } else {
            let PluginLabels { plugin, world } = self.labels.clone();
            self.calls.get_or_create(&EndLabels { plugin, world, end: ended.end }).inc();
        }
        self.times.observe(ended.took.as_secs_f64());
        self.host_calls.inc_by(ended.host_calls);
        self.instructions.inc_by(ended.instructions);
        if !ended.waited.is_zero() {
            self.waited.inc_by(ended.waited.as_secs_f64());
        }
        let bytes = i64::try_from(ended.memory_bytes).unwrap_or(i64::MAX);
        // Two calls that end at once may lose the larger of two new peaks until the next one.
        if bytes > self.memory.get() {
            self.memory.set(bytes);
        }
    }
}
