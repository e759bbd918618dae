//! What a model takes on a card, computed from its directory before a byte of it is read, and how many of its layers
//! go there.

use std::ops::Range;

use lockgate_kernels::attention::KvFormat;
use lockgate_kernels::cuda::attention::{GROUP_MAX, HEAD_DIMS};
use lockgate_kernels::cuda::cards::OpenCard;
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::memory::Device;

use super::buffers::Buffers;
use super::format_there;
use super::ruler::measure;
use super::state::kv_shape;
use crate::gguf::{Gguf, TensorInfo};
use crate::model::{Config, LoadProblem, format_of};

/// How many of a model's layers a card computes: the last ones, since logits come from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GpuLayers {
    /// As many as fit.
    #[default]
    Auto,
    /// This many, or all where the model has fewer.
    Count(usize),
}

/// A card that a model may be put on.
#[derive(Clone, Debug)]
pub struct CardChoice {
    /// The open card.
    pub device: Device,
    /// Memory that is free on it, in bytes.
    pub free_bytes: u64,
    /// How many layers it should compute.
    pub layers: GpuLayers,
}

impl CardChoice {
    /// An open card, and how many layers it should compute.
    #[must_use]
    pub fn of(card: &OpenCard, layers: GpuLayers) -> Self {
        Self { device: card.device.clone(), free_bytes: card.free_bytes, layers }
    }
}

/// What a model takes on a card, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardPlan {
    /// The model's last layers that are computed there, at least one.
    pub layers: usize,
    /// Weights in planes.
    pub weights_bytes: u64,
    /// The KV cache of those layers. All of it is taken at once.
    pub cache_bytes: u64,
    /// Buffers of a forward pass, and the table of angles.
    pub working_bytes: u64,
}

impl CardPlan {
    /// Everything together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.cache_bytes).saturating_add(self.working_bytes)
    }
}

/// The largest pass that a card has buffers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Tokens.
    pub(crate) rows: usize,
    /// Those from which something is wanted.
    pub(crate) wanted: usize,
    /// Tokens of the longest sequence.
    pub(crate) context: usize,
}

/// What is to be loaded, as far as it matters for a card's memory.
pub(crate) struct CardLoad<'a> {
    pub(crate) gguf: &'a Gguf,
    pub(crate) config: &'a Config,
    pub(crate) extent: Extent,
    /// How the cache stores keys and values.
    pub(crate) kv: KvFormat,
    /// Blocks of the cache that are needed, and that are wanted.
    pub(crate) blocks: Range<u32>,
}

/// Of a card's free memory, what is left to others: a twentieth, within these bounds.
const RESERVE_BYTES: Range<u64> = 64 << 20..1 << 30;

impl CardLoad<'_> {
    /// Chooses how many layers go to the card, and how many blocks the cache has there.
    ///
    /// # Errors
    /// The card has no kernels for the model, or the layers that were asked for, or a single one, do not fit.
    pub(crate) fn plan(&self, choice: &CardChoice) -> Result<(CardPlan, u32), LoadProblem> {
        self.check()?;
        let all = self.config.layers;
        let layers = match choice.layers {
            GpuLayers::Auto => 1..=all,
            GpuLayers::Count(count) => count.clamp(1, all)..=count.clamp(1, all),
        };
        let free_bytes = choice.free_bytes;
        let reserve_bytes = (free_bytes / 20).clamp(RESERVE_BYTES.start, RESERVE_BYTES.end);
        let budget = free_bytes.saturating_sub(reserve_bytes);
        let working_bytes = self.working_bytes(choice.device.multiprocessors())?;
        let mut least = None;
        for layers in layers.rev() {
            let block_bytes = self.block_bytes(layers)?;
            let weights_bytes = self.weights_bytes(all - layers..all)?;
            let plan = |blocks: u32| CardPlan {
                layers,
                weights_bytes,
                cache_bytes: block_bytes.saturating_mul(u64::from(blocks)),
                working_bytes,
            };
            let smallest = plan(self.blocks.start);
            if smallest.total_bytes() <= budget {
                let more = (budget - smallest.total_bytes()) / block_bytes.max(1);
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                let blocks = self.blocks.start.saturating_add(more).min(self.blocks.end);
                return Ok((plan(blocks), blocks));
            }
            least = Some(smallest);
        }
        match least {
            Some(plan) => Err(LoadProblem::CardMemory { plan, free_bytes, reserve_bytes, all }),
            None => Err(unsupported("a model without layers".to_owned())),
        }
    }

    /// Refuses what there are no kernels for.
    fn check(&self) -> Result<(), LoadProblem> {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        if !HEAD_DIMS.contains(&head_dim) {
            return Err(unsupported(format!("attention with heads of {head_dim} on a card")));
        }
        if heads / kv_heads > GROUP_MAX {
            let shared = heads / kv_heads;
            return Err(unsupported(format!("attention with {shared} heads that share one on a card")));
        }
        Ok(())
    }

    /// Keys and values of one block in the last `layers` layers.
    fn block_bytes(&self, layers: usize) -> Result<u64, LoadProblem> {
        let page = kv_shape(self.config, self.kv).page_bytes();
        let page = page.ok_or_else(|| unsupported("attention with such heads on a card".to_owned()))?;
        Ok(2 * page as u64 * layers as u64)
    }

    fn working_bytes(&self, multiprocessors: usize) -> Result<u64, LoadProblem> {
        let buffers = measure(|device| {
            let device = device.clone().with_multiprocessors(multiprocessors);
            Buffers::new(&device, self.config, self.extent)
        })?;
        let angles = self.extent.context as u64 * self.config.rope.dimensions as u64;
        Ok(buffers + angles * size_of::<f32>() as u64)
    }

    fn weights_bytes(&self, layers: Range<usize>) -> Result<u64, LoadProblem> {
        let there =
            self.gguf.tensors().filter(|tensor| is_there(self.gguf, tensor, &layers, self.config.layers));
        there.map(bytes).try_fold(0, |sum: u64, bytes| Ok(sum.saturating_add(bytes?)))
    }
}

fn unsupported(what: String) -> LoadProblem {
    LoadProblem::Unsupported { what, instead: "compute it on the processor (device = \"cpu\")" }
}

/// Whether a tensor is needed where these layers of a model of `all` are computed.
pub(crate) fn is_there(gguf: &Gguf, tensor: &TensorInfo, layers: &Range<usize>, all: usize) -> bool {
    let (begins, ends) = (layers.start == 0, layers.end == all && !layers.is_empty());
    let of_layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    match (of_layer, tensor.name.as_str()) {
        (Some(layer), _) => layers.contains(&layer),
        (None, "token_embd.weight") => {
            begins && !layers.is_empty() || ends && gguf.tensor("output.weight").is_none()
        }
        (None, "output.weight" | "output_norm.weight") => ends,
        (None, _) => !layers.is_empty(),
    }
}

fn bytes(tensor: &TensorInfo) -> Result<u64, LoadProblem> {
    // Allocations are rounded up.
    const GRAIN: u64 = 256;
    if tensor.rows() == 1 {
        return Ok(tensor.elements().saturating_mul(size_of::<f32>() as u64).saturating_add(GRAIN));
    }
    let columns = tensor.elements() / tensor.rows().max(1);
    let (rows, columns) = (tensor.rows() as usize, columns as usize);
    let bytes = format_there(format_of(tensor)?).bytes(rows, columns);
    let bytes = bytes.ok_or_else(|| {
        unsupported(format!("tensor `{}` of {rows} rows of {columns} on a card", tensor.name))
    })?;
    Ok(bytes as u64 + GRAIN)
}

impl From<DriverError> for LoadProblem {
    fn from(error: DriverError) -> Self {
        Self::Device(error)
    }
}
