//! What a plugin may use in one call, and the meter that stops it.
//!
//! Owns the numbers and the counting of what wasmtime grows. Does not own what a call counts itself (see `call`) nor
//! the pool's size (see `engine`).

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::stop::Stop;

/// A plugin's limits in one call. The defaults suit a policy; each can be set for a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its memories together.
    pub memory_bytes_max: usize,
    /// Entries of all its tables together.
    pub table_elements_max: usize,
    /// The plugin's own time, from entering it to its answer. Waiting for a free instance has the same time again.
    pub time_max: Duration,
    /// An adapter's own time in all calls of one generation.
    pub generation_time_max: Duration,
    /// What its asks of models and clouds may take together; it does not count as its own time.
    pub wait_max: Duration,
    /// Calls of the host's functions.
    pub host_calls_max: u64,
    /// Bytes that it hands to the host: ids, labels, reasons and log lines together.
    pub output_bytes_max: usize,
    /// Handles held at once: messages, plans, refusals.
    pub handles_max: usize,
    /// Log lines.
    pub log_lines_max: usize,
    /// Bytes of its log lines together.
    pub log_bytes_max: usize,
    /// Bytes that host calls hand to it.
    pub input_bytes_max: usize,
    /// Tokens, read and written, that its own asks may take.
    pub tokens_max: u64,
    /// What they may cost, in thousand-millionths of a USD.
    pub nano_usd_max: u64,
    /// Bytes of its state, for each tenant and set of labels. Not for one call but for good.
    pub state_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            time_max: Duration::from_millis(50),
            generation_time_max: Duration::from_secs(5),
            wait_max: Duration::from_secs(5),
            host_calls_max: 1_000,
            output_bytes_max: 256 << 10,
            handles_max: 1_000,
            log_lines_max: 32,
            log_bytes_max: 64 << 10,
            input_bytes_max: 64 << 20,
            tokens_max: 4096,
            nano_usd_max: 10_000_000,
            state_bytes_max: 1 << 20,
        }
    }
}

/// Instructions that stand for a nanosecond where fuel is the measure: what a slow machine runs in one.
const FUEL_PER_NANOSECOND: u64 = 1;

impl Limits {
    /// The fuel that stands for [`Limits::time_max`] where [`crate::Metering::Fuel`] is the measure: roughly one for
    /// each instruction.
    pub fn fuel_max(&self) -> u64 {
        let nanoseconds = u64::try_from(self.time_max.as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.saturating_mul(FUEL_PER_NANOSECOND)
    }
}

/// Memories that one instance may have. Two, since some toolchains add a small one for their adapter.
pub(crate) const MEMORIES_MAX: usize = 2;
/// Tables that one instance may have.
pub(crate) const TABLES_MAX: usize = 4;
/// Core instances that one component may be made of: the guest, and small ones that tie it to its imports.
pub(crate) const CORE_INSTANCES_MAX: usize = 16;

/// Sums what one call uses and refuses what is beyond the plugin's limits.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    /// The first limit that the guest ran into. A guest sees a failed growth as such and may go on, so this
    /// matters only when it dies of it.
    refused: Option<Stop>,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            table_elements: 0,
            table_elements_max: limits.table_elements_max,
            refused: None,
        }
    }

    /// For the next call into the same instance, whose memories and tables are as they are.
    pub(crate) fn again(self) -> Self {
        Self { refused: None, ..self }
    }

    /// What all memories have now. They never shrink, so it is also the most that they had.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The first growth that was refused.
    pub(crate) fn refused(&self) -> Option<&Stop> {
        self.refused.as_ref()
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused.get_or_insert(Stop::Memory { bytes_max: self.memory_bytes_max });
            return Ok(false);
        }
        // A growth beyond the module's own maximum is going to fail; nothing is used then.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.memory_bytes = total;
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            self.refused.get_or_insert(Stop::Table { elements_max: self.table_elements_max });
            return Ok(false);
        }
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.table_elements = total;
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::{Limits, Meter};
    use crate::stop::Stop;

    #[test]
    fn memories_are_summed() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut meter = Meter::new(&limits);
        let mut grow = |current, desired, maximum| {
            meter.memory_growing(current, desired, maximum).expect("the meter does not fail")
        };
        assert!(grow(0, 60, None));
        assert!(grow(0, 40, None));
        assert!(!grow(40, 41, None), "the second memory grows past what both may have");
        assert!(grow(40, 40, None));
        assert_eq!(meter.refused(), Some(&Stop::Memory { bytes_max: 100 }));
    }

    #[test]
    fn a_growth_that_fails_by_itself_uses_nothing() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut meter = Meter::new(&limits);
        assert!(meter.memory_growing(0, 90, Some(50)).expect("the meter does not fail"));
        assert!(meter.memory_growing(0, 50, Some(50)).expect("the meter does not fail"));
        assert_eq!(meter.refused(), None);
    }

    #[test]
    fn tables_are_summed() {
        let limits = Limits { table_elements_max: 10, ..Limits::default() };
        let mut meter = Meter::new(&limits);
        assert!(meter.table_growing(0, 6, None).expect("the meter does not fail"));
        assert!(!meter.table_growing(0, 5, None).expect("the meter does not fail"));
        assert_eq!(meter.refused(), Some(&Stop::Table { elements_max: 10 }));
    }
}
