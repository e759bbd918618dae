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

pub use compute::{Compute, ForwardError, Input, Logits, Wanted};
pub use config::{Config, RopeConfig};
pub use error::{LoadError, LoadProblem};
pub use loader::{OnProgress, Progress};
pub use plan::MemoryPlan;
pub use random::{RandomSource, random_model};
pub use shapes::{Mix, Shape, ShapeError};

pub(crate) use loader::Loader;

use lockgate_kernels::memory::OutOfMemory;
use lockgate_kernels::pool::ThreadPool;

use crate::arch::{self, Network};
use crate::gguf::{Gguf, optional};
use crate::kv::{BLOCK_TOKENS, Cache};

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
    /// The most memory that the model may take in all.
    pub memory_bytes_max: Option<u64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { context: None, sequences: 1, step_tokens: 512, scored_tokens: 0, memory_bytes_max: None }
    }
}

/// A model in memory. It never changes: sequences live in a [`Cache`], work in a [`Compute`].
pub struct Model {
    config: Config,
    plan: MemoryPlan,
    network: Box<dyn Network>,
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
        Self::try_load(gguf, options, pool, on_progress)
            .map_err(|problem| LoadError { file: gguf.file().to_owned(), problem })
    }

    /// What loading would take, and the hyperparameters; reads no weights.
    ///
    /// # Errors
    /// As [`Self::load`], as far as the directory shows it.
    pub fn inspect(gguf: &Gguf, options: &LoadOptions) -> Result<(Config, MemoryPlan), LoadError> {
        Self::prepare(gguf, options)
            .map(|(_, config, plan)| (config, plan))
            .map_err(|problem| LoadError { file: gguf.file().to_owned(), problem })
    }

    fn prepare(
        gguf: &Gguf,
        options: &LoadOptions,
    ) -> Result<(&'static arch::Family, Config, MemoryPlan), LoadProblem> {
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
        let plan = MemoryPlan::make(gguf, &config, options)?;
        Ok((family, config, plan))
    }

    fn try_load(
        gguf: &Gguf,
        options: &LoadOptions,
        pool: &ThreadPool,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadProblem> {
        let (family, config, plan) = Self::prepare(gguf, options)?;
        let mut loader = Loader::new(gguf, &config, pool, on_progress);
        let network = (family.load)(&mut loader, plan.context)?;
        loader.finish()?;
        Ok(Self { config, plan, network })
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
    pub fn cache(&self) -> Result<Cache, OutOfMemory> {
        Cache::new(&plan::kv_layouts(&self.config), self.plan.cache_blocks)
    }

    /// A cache for one sequence of `tokens` tokens.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn cache_for(&self, tokens: usize) -> Result<Cache, OutOfMemory> {
        let blocks = u32::try_from(tokens.div_ceil(BLOCK_TOKENS)).unwrap_or(u32::MAX);
        Cache::new(&plan::kv_layouts(&self.config), blocks)
    }

    /// Bytes of weights that a pass over one token reads.
    #[must_use]
    pub fn bytes_per_token(&self) -> u64 {
        self.network.bytes_per_pass()
    }

    pub(crate) fn network(&self) -> &dyn Network {
        self.network.as_ref()
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
