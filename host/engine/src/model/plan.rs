//! How much memory a model will take, computed from its directory before a byte of it is read.

use lockgate_kernels::attention::{KvFormat, KvLayout};

use super::config::Config;
use super::error::LoadProblem;
use super::{LoadOptions, loader};
use crate::gguf::Gguf;
use crate::kv::{Capacity, block_bytes};
use crate::processor::cuda::{CardChoice, CardLoad, CardPlan, is_there};

/// What a loaded model takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights in the layout that the kernels read.
    pub weights_bytes: u64,
    /// The KV cache when it is full.
    pub cache_bytes: u64,
    /// Buffers of a forward pass.
    pub working_bytes: u64,
    /// Blocks of the KV cache.
    pub cache_blocks: u32,
    /// How the cache stores keys and values.
    pub kv: KvFormat,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// What it takes on a card, beside the above, which is in this machine's memory.
    pub card: Option<CardPlan>,
}

impl MemoryPlan {
    /// Everything in this machine's memory together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.cache_bytes).saturating_add(self.working_bytes)
    }

    /// Layers that are computed here and not on a card: the first ones.
    pub(crate) fn layers_here(&self, config: &Config) -> usize {
        config.layers - self.card.map_or(0, |card| card.layers)
    }

    pub(super) fn make(
        gguf: &Gguf,
        config: &Config,
        options: &LoadOptions,
        choice: Option<&CardChoice>,
    ) -> Result<Self, LoadProblem> {
        let context = match options.context {
            Some(context) if context == 0 || context > config.context => {
                return Err(LoadProblem::Unsupported {
                    what: format!("a context of {context} tokens where the model has {}", config.context),
                    instead: "choose at most what the model has, and at least 1",
                });
            }
            Some(context) => context,
            None => config.context,
        };
        let kv = options.kv;
        if !kv.takes(config.head_dim) {
            return Err(LoadProblem::Unsupported {
                what: format!(
                    "a cache in 8 bits for heads of {}, which are no multiple of 32",
                    config.head_dim
                ),
                instead: "leave it in half precision (kv = \"f16\")",
            });
        }
        let wanted = Capacity { context, sequences: options.sequences, memory_bytes_max: None };
        let one = Capacity { sequences: 1, ..wanted };
        let (card, blocks_max) = match choice {
            None => (None, u32::MAX),
            Some(choice) => {
                let blocks = |capacity: Capacity| capacity.blocks(&[]).unwrap_or(u32::MAX);
                let extent = options.extent(context);
                let load = CardLoad { gguf, config, extent, kv, blocks: blocks(one)..blocks(wanted) };
                let (card, blocks) = load.plan(choice)?;
                (Some(card), blocks)
            }
        };
        let here = 0..config.layers - card.map_or(0, |card| card.layers);
        let mut layouts = kv_layouts(config, kv);
        layouts.truncate(here.len());
        let needed = gguf.tensors().filter(|tensor| is_there(gguf, tensor, &here, config.layers));
        let weights_bytes = needed.map(loader::packed_bytes).fold(0, u64::saturating_add);
        let working_bytes = working_bytes(config, context, options);
        let fixed = weights_bytes.saturating_add(working_bytes);
        let memory_bytes_max = options.memory_bytes_max.map(|limit| limit.saturating_sub(fixed));
        let plan = |context: usize, cache_blocks: u32| {
            let cache_blocks = cache_blocks.min(blocks_max);
            let cache_bytes = u64::from(cache_blocks).saturating_mul(block_bytes(&layouts));
            Self { weights_bytes, cache_bytes, working_bytes, cache_blocks, kv, context, card }
        };
        let capacity = Capacity { memory_bytes_max, ..wanted };
        match (capacity.blocks(&layouts), options.memory_bytes_max) {
            (Ok(blocks), None) => Ok(plan(context, blocks)),
            (Ok(blocks), Some(limit)) if fixed <= limit => Ok(plan(context, blocks)),
            // Nobody asked for that much context: give what there is room for, if it is of any use.
            (Err(affordable), _) if options.context.is_none() && affordable >= CONTEXT_USEFUL => {
                let capacity = Capacity { context: affordable, ..capacity };
                let blocks = capacity.blocks(&layouts).unwrap_or_default();
                Ok(plan(affordable, blocks))
            }
            (Ok(_) | Err(_), limit) => {
                let context = if options.context.is_none() { context.min(CONTEXT_USEFUL) } else { context };
                let one = Capacity { context, ..one };
                let plan = plan(context, one.blocks(&layouts).unwrap_or(u32::MAX));
                Err(LoadProblem::Memory { plan, limit_bytes: limit.unwrap_or(u64::MAX) })
            }
        }
    }
}

/// The shortest context, in tokens, that a model is loaded with where memory is short and nobody asked for one.
const CONTEXT_USEFUL: usize = 2_048;

/// The shape of each layer's keys and values.
pub(crate) fn kv_layouts(config: &Config, format: KvFormat) -> Vec<KvLayout> {
    vec![KvLayout { kv_heads: config.kv_heads, head_dim: config.head_dim, format }; config.layers]
}

/// An estimate from above of the buffers of a forward pass and the tables beside it.
fn working_bytes(config: &Config, context: usize, options: &LoadOptions) -> u64 {
    let size = |elements: usize| elements as u64 * size_of::<f32>() as u64;
    let heads = config.heads + 2 * config.kv_heads;
    // Residual, norm and projection; queries, keys, values and attention; gate and up; and the quantized inputs of
    // a product, which take about as much again as its widest input. An adapter has inputs and a product of its own.
    // States that are wanted are copied.
    let widest = config.hidden.max(config.heads * config.head_dim).max(config.feed_forward);
    let row =
        5 * config.hidden + (heads + config.heads) * config.head_dim + 4 * config.feed_forward + 3 * widest;
    let rows = size(row).saturating_mul(options.step_tokens as u64);
    let logits = size(config.vocabulary).saturating_mul((options.sequences + options.scored_tokens) as u64);
    // Cosines and sines, in the pairing that takes more.
    let rope = size(2 * config.rope.dimensions).saturating_mul(context as u64);
    rows.saturating_add(logits).saturating_add(rope)
}
