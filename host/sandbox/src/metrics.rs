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

impl PluginLabels {
    fn of(plugin: &str, world: World) -> Self {
        Self { plugin: plugin.to_owned(), world: world.name() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    plugin: String,
    world: &'static str,
    end: &'static str,
}

/// One call that is over.
pub(crate) struct Ended {
    /// `ok`, or the kind of its error.
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

    /// A call is served by an instance that was kept.
    pub(crate) fn record_warm(&self, plugin: &str, world: World) {
        self.warm.get_or_create(&PluginLabels::of(plugin, world)).inc();
    }

    /// A call is served by an instance that was made ahead.
    pub(crate) fn record_ahead(&self, plugin: &str, world: World) {
        self.ahead.get_or_create(&PluginLabels::of(plugin, world)).inc();
    }

    pub(crate) fn record(&self, plugin: &str, world: World, ended: &Ended) {
        let world = world.name();
        let labels = EndLabels { plugin: plugin.to_owned(), world, end: ended.end };
        self.calls.get_or_create(&labels).inc();
        let labels = PluginLabels { plugin: labels.plugin, world };
        self.times.get_or_create(&labels).observe(ended.took.as_secs_f64());
        self.host_calls.get_or_create(&labels).inc_by(ended.host_calls);
        self.instructions.get_or_create(&labels).inc_by(ended.instructions);
        if !ended.waited.is_zero() {
            self.waited.get_or_create(&labels).inc_by(ended.waited.as_secs_f64());
        }
        let bytes = i64::try_from(ended.memory_bytes).unwrap_or(i64::MAX);
        let peak = self.memory.get_or_create(&labels);
        // Two calls that end at once may lose the larger of two new peaks until the next one.
        if bytes > peak.get() {
            peak.set(bytes);
        }
    }
}
