//! Decodes that are launched as one: a graph for each number of rows and of parts that attention splits sequences into.
//!
//! A step that only decodes launches the same kernels with the same arguments each time, as long as its buffers are the
//! same and both numbers are: what differs lies in memory. So it is captured once and launched at one stroke from then
//! on. Numbers are rounded up, rows beyond eight and parts to powers of two, so that there are few graphs; what is added
//! computes nothing that anybody sees. Owns the graphs and their keys; `pass` captures and launches.

use std::collections::HashMap;

use lockgate_kernels::attention::Sequence;
use lockgate_kernels::cuda::driver::{DriverError, Graph};
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::products::BATCH_MAX;
use lockgate_kernels::cuda::split::Splitting;
use tracing::warn;

use super::plan::Extent;
use crate::processor::Batch;

/// What tells one captured decode from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Rows, those that are added included.
    pub(super) rows: usize,
    /// Parts of the sequence that has the most, or more.
    pub(super) parts: usize,
}

impl Key {
    /// The key of a batch that a graph can compute: single tokens of as many sequences, with logits wanted after each and
    /// no adapters. `room` is how many rows the buffers have room for.
    pub(super) fn of(batch: &Batch<'_>, extent: Extent, room: usize, splitting: Splitting) -> Option<Self> {
        let rows = batch.positions.len();
        let is_decode = batch.sequences.len() == rows
            && batch.wanted.iter().copied().eq(0..rows)
            && batch.states.is_empty()
            && batch.adapted.is_empty();
        let padded = if rows <= BATCH_MAX { rows } else { rows.next_power_of_two() };
        if !is_decode || padded > room.min(extent.rows).min(extent.wanted) {
            return None;
        }
        let parts_of = |sequence: &Sequence<'_>| splitting.parts(sequence.first_position + 1);
        let most = batch.sequences.iter().map(parts_of).max()?;
        let parts = most.next_power_of_two().min(splitting.parts_max(extent.context));
        Some(Self { rows: padded, parts })
    }
}

/// How a decode is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Kernel by kernel.
    Plainly,
    /// Kernel by kernel into a graph.
    Capturing,
    /// All at once.
    Launching(Graph),
}

/// The graphs of one [`super::State`], whose buffers they use.
pub(super) struct Graphs {
    device: Device,
    /// None for one that was computed plainly: its kernels are loaded, which they must be before they are captured.
    known: HashMap<Key, Option<Graph>>,
    given_up: bool,
}

impl Graphs {
    pub(super) fn new(device: &Device) -> Self {
        Self { device: device.clone(), known: HashMap::new(), given_up: false }
    }

    /// How the next decode of this key is computed.
    pub(super) fn way(&mut self, key: Key) -> Way {
        match self.known.get(&key) {
            _ if self.given_up => Way::Plainly,
            Some(Some(graph)) => Way::Launching(*graph),
            Some(None) => Way::Capturing,
            None => {
                self.known.insert(key, None);
                Way::Plainly
            }
        }
    }

    pub(super) fn keep(&mut self, key: Key, graph: Graph) {
        if let Some(earlier) = self.known.insert(key, Some(graph)).flatten() {
            self.device.driver().free_graph(earlier);
        }
    }

    /// Nothing is captured any more: a driver that cannot is slower, and no less right.
    pub(super) fn give_up(&mut self, problem: &DriverError) {
        warn!(%problem, "decodes cannot be captured; their kernels are launched one by one");
        self.given_up = true;
    }
}

impl Drop for Graphs {
    fn drop(&mut self) {
        self.known.values().flatten().for_each(|graph| self.device.driver().free_graph(*graph));
    }
}
