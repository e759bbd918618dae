//! A loaded model and its forward pass.
//!
//! Owns: hyperparameters ([`Config`]), the memory plan, loading ([`Model::load`]), random models for benchmarks and
//! tests ([`random_model`]), and the pass over a batch of sequences ([`Compute`]). Does not own: what a layer
//! computes (`arch`), the cache's blocks (`kv`), which sequences a pass serves (the scheduler), text.

mod compute;
mod config;
mod error;
mod loader;
mod logits;
mod plan;
mod random;
mod shapes;

#[cfg(test)]
mod tests;

pub use crate::processor::cuda::{CardChoice, CardPlan, GpuLayers};
pub use compute::{Compute, ForwardError, Input, Logits, Wanted};
pub use config::{Config, RopeConfig};
pub use error::{LoadError, LoadProblem, NoMemory};
pub use loader::{OnProgress, Progress};
pub use lockgate_kernels::attention::KvFormat;
pub use plan::MemoryPlan;
pub use random::{RandomSource, random_model, random_model_made_there};
pub use shapes::{Mix, Shape, ShapeError};

pub(crate) use loader::{Loader, StoredMatrix, format_of};

use loader::Source;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::pool::ThreadPool;

use crate::arch::{self, Network};
use crate::gguf::{Gguf, optional};
use crate::kv::{BLOCK_TOKENS, Cache};
use crate::processor::cpu::Cpu;
use crate::processor::cuda::{Cuda, Extent, State, kv_shape};

/// How a model is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Tokens of the longest sequence. `None`: as many as the model is made for, fewer where memory is short.
    pub context: Option<usize>,
    /// Sequences of that length that the cache should have room for.
    pub sequences: usize,
    /// The most tokens of one forward pass, for the memory plan.
    pub step_tokens: usize,
    /// The most tokens of one forward pass whose logits are wanted, beyond one a sequence; for the memory plan.
    pub scored_tokens: usize,
    /// The most sequences of one forward pass, for a card's buffers.
    pub batch: usize,
    /// How the cache stores keys and values.
    pub kv: KvFormat,
    /// The most memory that the model may take in all.
    pub memory_bytes_max: Option<u64>,
}

impl LoadOptions {
    /// How large passes on a card may be.
    fn extent(&self, context: usize) -> Extent {
        let rows = self.step_tokens.max(1);
        Extent { rows, wanted: self.scored_tokens.saturating_add(self.batch).clamp(1, rows), context }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            context: None,
            sequences: 1,
            step_tokens: 512,
            scored_tokens: 0,
            batch: 64,
            kv: KvFormat::F16,
            memory_bytes_max: None,
        }
    }
}

/// A model in memory. It never changes: sequences live in a [`Cache`], work in a [`Compute`].
pub struct Model {
    config: Config,
    plan: MemoryPlan,
    /// The first layers, unless all are on a card.
    here: Option<Box<dyn Network<Cpu>>>,
    /// The other layers.
    card: Option<OnCard>,
}

/// A model's last layers, on a card.
struct OnCard {
    device: Device,
    extent: Extent,
    network: Box<dyn Network<Cuda>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Model");
        debug.field("config", &self.config).field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Model {
    /// Loads the model of `gguf`, reading and repacking on all threads of `pool`. Nothing of the weights is read
    /// before the memory plan has been found to fit.
    ///
    /// # Errors
    /// The architecture is unknown, the file is damaged or at odds with itself, or memory does not suffice.
    pub fn load(
        gguf: &Gguf,
        options: &LoadOptions,
        pool: &ThreadPool,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadError> {
        Self::load_on(gguf, options, None, pool, on_progress)
    }

    /// As [`Self::load`], with as many of the last layers on a card as the choice says.
    ///
    /// # Errors
    /// As [`Self::load`]; and the card has no kernels for the model, or not enough memory, or fails.
    pub fn load_on(
        gguf: &Gguf,
        options: &LoadOptions,
        card: Option<&CardChoice>,
        pool: &ThreadPool,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadError> {
        Self::try_load(gguf, options, card, pool, on_progress)
            .map_err(|problem| LoadError { file: gguf.file().to_owned(), problem })
    }

    /// What loading would take, and the hyperparameters; reads no weights.
    ///
    /// # Errors
    /// As [`Self::load`], as far as the directory shows it.
    pub fn inspect(gguf: &Gguf, options: &LoadOptions) -> Result<(Config, MemoryPlan), LoadError> {
        Self::inspect_on(gguf, options, None)
    }

    /// What [`Self::load_on`] would take.
    ///
    /// # Errors
    /// As [`Self::load_on`], as far as the directory shows it.
    pub fn inspect_on(
        gguf: &Gguf,
        options: &LoadOptions,
        card: Option<&CardChoice>,
    ) -> Result<(Config, MemoryPlan), LoadError> {
        Self::prepare(gguf, options, card)
            .map(|(_, config, plan)| (config, plan))
            .map_err(|problem| LoadError { file: gguf.file().to_owned(), problem })
    }

    fn prepare(
        gguf: &Gguf,
        options: &LoadOptions,
        card: Option<&CardChoice>,
    ) -> Result<(arch::Family, Config, MemoryPlan), LoadProblem> {
        let architecture = gguf.metadata().string("general.architecture")?;
        refuse_adapter(gguf)?;
        let family = arch::find(architecture)?;
        refuse_split(gguf)?;
        let embedding = loader::find(gguf, "token_embd.weight")?;
        // Beyond 32 bits there are no token ids.
        let vocabulary = u32::try_from(embedding.rows()).map_err(|_| LoadProblem::Hyperparameter {
            key: "token_embd.weight".to_owned(),
            found: format!("of {} rows", embedding.rows()),
            expected: "of fewer than 4294967296".to_owned(),
        })?;
        let config = Config::read(gguf.metadata(), architecture, vocabulary as usize)?;
        let plan = MemoryPlan::make(gguf, &config, options, card)?;
        Ok((family, config, plan))
    }

    fn try_load(
        gguf: &Gguf,
        options: &LoadOptions,
        choice: Option<&CardChoice>,
        pool: &ThreadPool,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadProblem> {
        let (family, config, plan) = Self::prepare(gguf, options, choice)?;
        let source = Source::new(gguf, &config, pool, on_progress);
        let first = plan.layers_here(&config);
        let here = match first {
            0 => None,
            _ => Some(family.load(&Loader::<Cpu>::new(&source, &(), 0..first), plan.context)?),
        };
        let card = match choice {
            Some(CardChoice { device, .. }) if first < config.layers => {
                let loader = Loader::<Cuda>::new(&source, device, first..config.layers);
                let network = family.load(&loader, plan.context)?;
                Some(OnCard { device: device.clone(), extent: options.extent(plan.context), network })
            }
            _ => None,
        };
        source.finish()?;
        Ok(Self { config, plan, here, card })
    }

    /// The hyperparameters.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it takes, and the context that it was loaded for.
    #[must_use]
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// A cache of the planned size.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn cache(&self) -> Result<Cache, NoMemory> {
        self.cache_of(self.plan.cache_blocks)
    }

    /// A cache for one sequence of `tokens` tokens.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn cache_for(&self, tokens: usize) -> Result<Cache, NoMemory> {
        self.cache_of(u32::try_from(tokens.div_ceil(BLOCK_TOKENS)).unwrap_or(u32::MAX))
    }

    fn cache_of(&self, blocks: u32) -> Result<Cache, NoMemory> {
        let mut layouts = plan::kv_layouts(&self.config, self.plan.kv);
        layouts.truncate(self.plan.layers_here(&self.config));
        let first = layouts.len();
        let there = self.card.as_ref().map(|OnCard { device, extent, .. }| {
            let shape = kv_shape(&self.config, self.plan.kv);
            State::new(device, &self.config, shape, first, blocks, *extent)
        });
        Ok(Cache::new(&layouts, blocks)?.with_card(there.transpose()?))
    }

    /// Bytes of weights that a pass over one token reads.
    #[must_use]
    pub fn bytes_per_token(&self) -> u64 {
        let here = self.here.as_ref().map_or(0, |network| network.bytes_per_pass());
        here + self.card.as_ref().map_or(0, |card| card.network.bytes_per_pass())
    }

    /// The first layers, unless all are on a card.
    pub(crate) fn here(&self) -> Option<&dyn Network<Cpu>> {
        self.here.as_deref()
    }

    /// The layers on a card.
    pub(crate) fn card(&self) -> Option<&dyn Network<Cuda>> {
        self.card.as_ref().map(|card| card.network.as_ref())
    }
}

fn refuse_adapter(gguf: &Gguf) -> Result<(), LoadProblem> {
    match optional(gguf.metadata().string("general.type"))? {
        Some("adapter") => Err(LoadProblem::Unsupported {
            what: "an adapter in the place of a model".to_owned(),
            instead: "name its base model, and the adapter as one of it ([[adapter]] or --adapter)",
        }),
        _ => Ok(()),
    }
}

fn refuse_split(gguf: &Gguf) -> Result<(), LoadProblem> {
    match optional(gguf.metadata().u32("split.count"))? {
        None | Some(0 | 1) => Ok(()),
        Some(count) => Err(LoadProblem::Unsupported {
            what: format!("a model split into {count} files"),
            instead: "merge them into one, for example with `llama-gguf-split --merge`",
        }),
    }
}
