//! What a model's last layers remember on a card, and the buffers that its passes are computed in.

use std::sync::Arc;

use lockgate_kernels::cuda::attention::{DeviceKv, KvFormat, KvShape};
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::lora::DeviceAdapters;
use lockgate_kernels::cuda::memory::Device;

use super::adapters;
use super::buffers::Buffers;
use super::graphs::Graphs;
use super::plan::Extent;
use crate::adapter::Adapter;
use crate::model::Config;

/// The part of a cache that is on a card, and what passes there need beside it.
pub(crate) struct State {
    pub(super) device: Device,
    pub(super) first_layer: usize,
    /// Freed before the buffers that they use.
    pub(super) graphs: Graphs,
    pub(super) layers: Vec<DeviceKv>,
    pub(super) buffers: Buffers,
    pub(super) extent: Extent,
    pub(super) vocabulary: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("State");
        debug.field("first_layer", &self.first_layer).field("extent", &self.extent).finish_non_exhaustive()
    }
}

/// The shape of a layer's pages.
pub(crate) fn kv_shape(config: &Config, format: KvFormat) -> KvShape {
    KvShape { kv_heads: config.kv_heads, head_dim: config.head_dim, format }
}

impl State {
    /// Pages of this shape for the layers from `first_layer` on, and buffers for passes of this extent.
    ///
    /// # Errors
    /// There is no memory, or no kernel takes the heads' size.
    pub(crate) fn new(
        device: &Device,
        config: &Config,
        shape: KvShape,
        first_layer: usize,
        blocks: u32,
        extent: Extent,
    ) -> Result<Self, DriverError> {
        let layer = |_| DeviceKv::new(device, shape, blocks as usize);
        Ok(Self {
            device: device.clone(),
            first_layer,
            graphs: Graphs::new(device),
            layers: (first_layer..config.layers).map(layer).collect::<Result<_, _>>()?,
            buffers: Buffers::new(device, config, extent)?,
            extent,
            vocabulary: config.vocabulary,
        })
    }

    /// How many layers it is of.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// How large its passes may be.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// Makes the pages `to` what the pages `from` are, as many of them, in every layer: at one stroke those that lie side
    /// by side.
    pub(crate) fn copy_pages(&mut self, from: &[u32], to: &[u32]) -> Result<(), DriverError> {
        let pairs: Vec<(u32, u32)> = from.iter().copied().zip(to.iter().copied()).collect();
        for run in pairs.chunk_by(|(from, to), next| *next == (from + 1, to + 1)) {
            let (from, to) = run[0];
            for layer in &mut self.layers {
                // A page takes memory, so that there are fewer than 2³².
                layer.copy_pages(&self.device, from, to, run.len() as u32)?;
            }
        }
        Ok(())
    }

    /// The adapter's copy on the card, which is made the first time.
    pub(crate) fn prepare(&self, adapter: &Adapter) -> Result<Arc<DeviceAdapters>, DriverError> {
        adapters::prepare(&self.device, adapter, self.first_layer)
    }
}
