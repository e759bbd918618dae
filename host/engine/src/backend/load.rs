//! From a model file to a [`LocalModel`]: tokenizer, template, memory, weights, threads.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lockgate_api::Sampling;
use lockgate_kernels::cpu::{Level, default_threads};
use lockgate_kernels::cuda::cards::{Cards, SystemCards};
use lockgate_kernels::pool::ThreadPool;
use tracing::warn;

use super::device::{DeviceError, Unplaced, place};
use super::prompts::Prompts;
use super::recommended::recommended;
use super::{CONTEXT_TOKENS_DEFAULT, Device, LocalModel, ModelOptions};
use crate::gguf::{Gguf, GgufError, MetadataError};
use crate::kv::{BLOCK_TOKENS, Cache};
use crate::model::{self, CardChoice, Compute, LoadOptions, Model, NoMemory, OnProgress};
use crate::runner::{ModelForward, Rescue, Runner, Spare};
use crate::scheduler::{Limits, SCORED_TOKENS_MAX, Scheduler};
use crate::template::{PromptTemplate, TemplateError, source_in};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// A model that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read or is damaged.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The weights cannot be loaded.
    #[error(transparent)]
    Model(#[from] model::LoadError),
    /// The tokenizer cannot be built.
    #[error("{file}: {problem}")]
    Tokenizer {
        /// The model file.
        file: String,
        /// What is wrong.
        problem: TokenizerError,
    },
    /// The chat template is no template.
    #[error("{file}: {problem}")]
    Template {
        /// The model file.
        file: String,
        /// What is wrong.
        problem: TemplateError,
    },
    /// The chat template is no text.
    #[error("{file}: {problem}")]
    Metadata {
        /// The model file.
        file: String,
        /// What is wrong.
        problem: MetadataError,
    },
    /// The device is not there, or of no use.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// More context was asked for than the model is made for.
    #[error(
        "{file}: a context of {wanted} tokens was asked for, but the model is made for at most {context_max}"
    )]
    Context {
        /// The model file.
        file: String,
        /// Tokens asked for.
        wanted: usize,
        /// Tokens of the model.
        context_max: usize,
    },
    /// There is no memory for the cache.
    #[error("no memory for the cache: {0}; choose a shorter context")]
    Memory(#[from] NoMemory),
    /// The system gives no thread.
    #[error("cannot start the model's threads: {0}")]
    Threads(#[from] std::io::Error),
}

impl LocalModel {
    /// Loads a model file and starts its threads. Takes as long as reading the file does; `on_progress` hears of it
    /// about every mebibyte, from several threads.
    ///
    /// # Errors
    /// [`LoadError`], with the file and what to do.
    pub fn load(path: &Path, options: &ModelOptions, on_progress: OnProgress<'_>) -> Result<Self, LoadError> {
        Self::from_gguf(&Arc::new(Gguf::open(path)?), options, on_progress)
    }

    /// As [`Self::load`], from a directory that was read already.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_gguf(
        gguf: &Arc<Gguf>,
        options: &ModelOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadError> {
        Self::from_gguf_with(gguf, options, &SystemCards, on_progress)
    }

    /// As [`Self::from_gguf`], on a machine with these cards.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_gguf_with(
        gguf: &Arc<Gguf>,
        options: &ModelOptions,
        cards: &dyn Cards,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, LoadError> {
        let (load_options, running_max) = memory(gguf, options)?;
        let file = || gguf.file().to_owned();
        let tokenizer = Tokenizer::from_metadata(gguf.metadata())
            .map_err(|problem| LoadError::Tokenizer { file: file(), problem })?;
        let tokenizer = Arc::new(tokenizer);
        let template = source_in(gguf.metadata(), false)
            .map_err(|problem| LoadError::Metadata { file: file(), problem })?
            .map(|source| PromptTemplate::new(source, Arc::clone(&tokenizer)).map(Arc::new))
            .transpose()
            .map_err(|problem| LoadError::Template { file: file(), problem })?;

        let pool = Arc::new(ThreadPool::new(options.threads.unwrap_or_else(default_threads)));
        let loading = Loading { gguf, options: &load_options, pool: &pool, on_progress };
        let (model, cache, spare) = loading.load(options, cards)?;
        let limits = Limits {
            waiting_max: options.waiting_max,
            running_max,
            step_tokens_max: load_options.step_tokens,
            blocks: cache.blocks(),
            block_tokens: BLOCK_TOKENS,
        };
        let id: Arc<str> = options.id.as_str().into();
        let prompts = Prompts {
            id: Arc::clone(&id),
            adapter: None,
            tokenizer: Arc::clone(&tokenizer),
            template,
            system: None,
            context_tokens: model.plan().context,
            sampling: first_of(&options.sampling, &recommended(gguf.metadata())),
        };
        let name = model.config().name.clone().unwrap_or_else(|| options.id.clone());
        let config = model.config().clone();
        let rescue = Rescue { model: options.id.clone(), spare, loss: options.loss.clone() };
        let forward = ModelForward::new(model, cache, Compute::new(pool, Level::detect()), rescue);
        let runner = Runner::start(id, forward, tokenizer, Scheduler::new(limits))?;
        Ok(Self::assemble(prompts, name, config, runner))
    }
}

/// What loading takes, wherever the model goes.
struct Loading<'a> {
    gguf: &'a Arc<Gguf>,
    options: &'a LoadOptions,
    pool: &'a Arc<ThreadPool>,
    on_progress: OnProgress<'a>,
}

impl Loading<'_> {
    /// Loads the model where it belongs. Where the operator left that open, a card that fails is told and the processor
    /// takes the model, now or later: the last part is what does that.
    fn load(
        &self,
        options: &ModelOptions,
        cards: &dyn Cards,
    ) -> Result<(Model, Cache, Option<Spare>), LoadError> {
        let card = match place(self.gguf, options, self.options, cards, self.pool) {
            Ok(card) => card,
            Err(Unplaced::Device(error)) => return Err(error.into()),
            Err(Unplaced::Model(error)) => return Err(error.into()),
        };
        let open = options.device == Device::Auto && card.is_some();
        let (model, cache) = match self.load_on(card.as_ref()) {
            Err(error) if open => {
                warn!(model = options.id, %error, "the card failed; computes on the processor");
                return self.load_on(None).map(|(model, cache)| (model, cache, None));
            }
            loaded => loaded?,
        };
        let spare = open.then(|| self.spare(cache.blocks()));
        Ok((model, cache, spare))
    }

    fn load_on(&self, card: Option<&CardChoice>) -> Result<(Model, Cache), LoadError> {
        let model = Model::load_on(self.gguf, self.options, card, self.pool, self.on_progress)?;
        let cache = model.cache()?;
        Ok((model, cache))
    }

    /// Loads the model on the processor, with a cache of as many blocks.
    fn spare(&self, blocks: usize) -> Spare {
        let (gguf, options, pool) = (Arc::clone(self.gguf), self.options.clone(), Arc::clone(self.pool));
        Box::new(move || {
            let model = Model::load(&gguf, &options, &pool, &|_| {}).map_err(|error| error.to_string())?;
            let cache = model.cache_for(blocks.saturating_mul(BLOCK_TOKENS));
            let cache = cache.map_err(|error| error.to_string())?;
            Ok((model, cache))
        })
    }
}

/// Context, cache and batch for this model: the cache holds at least one whole context, more as far as the options'
/// memory goes.
fn memory(gguf: &Gguf, options: &ModelOptions) -> Result<(LoadOptions, usize), LoadError> {
    let running_max = options.running_max.get();
    // Prefill must move beside a full set of decodes.
    let step_tokens = options.step_tokens_max.get().max(running_max + 1);
    let one = LoadOptions {
        step_tokens,
        scored_tokens: SCORED_TOKENS_MAX,
        batch: running_max,
        kv: options.kv,
        memory_bytes_max: options.memory_bytes_max,
        ..LoadOptions::default()
    };
    // Whether it fits is asked once it is known where it goes.
    let unlimited = LoadOptions { memory_bytes_max: None, ..one.clone() };
    let (config, _) = Model::inspect(gguf, &LoadOptions { context: Some(1), ..unlimited.clone() })?;
    let context = match options.context_tokens.map(NonZeroUsize::get) {
        Some(wanted) if wanted > config.context => {
            let (file, context_max) = (gguf.file().to_owned(), config.context);
            return Err(LoadError::Context { file, wanted, context_max });
        }
        Some(wanted) => wanted,
        None => config.context.min(CONTEXT_TOKENS_DEFAULT),
    };
    let one = LoadOptions { context: Some(context), ..one };
    let (_, plan) = Model::inspect(gguf, &LoadOptions { context: Some(context), ..unlimited })?;
    let affordable = options.cache_bytes_max / plan.cache_bytes.max(1);
    let sequences = usize::try_from(affordable).unwrap_or(running_max).clamp(1, running_max);
    Ok((LoadOptions { sequences, ..one }, running_max))
}

/// What the first says, and where it says nothing, the second.
pub(super) fn first_of(first: &Sampling, second: &Sampling) -> Sampling {
    Sampling {
        temperature: first.temperature.or(second.temperature),
        top_k: first.top_k.or(second.top_k),
        top_p: first.top_p.or(second.top_p),
        min_p: first.min_p.or(second.min_p),
        repetition_penalty: first.repetition_penalty.or(second.repetition_penalty),
        presence_penalty: first.presence_penalty.or(second.presence_penalty),
        frequency_penalty: first.frequency_penalty.or(second.frequency_penalty),
        ..Sampling::default()
    }
}
