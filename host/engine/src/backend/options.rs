//! What may be chosen when a model is loaded.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use lockgate_api::Sampling;

use crate::model::{GpuLayers, KvFormat};
use crate::runner::Loss;

/// Where a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first card that can be used, or else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA device by its number.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

/// A device that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown device `{0}`: use auto, cpu or cuda:NUMBER")]
pub struct UnknownDevice(pub String);

impl FromStr for Device {
    type Err = UnknownDevice;

    /// `cuda` alone is the first CUDA device.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(other.chars().take(64).collect())),
        }
    }
}

/// How a model is loaded and served.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// The target's id: how requests, permits, events and messages name the model.
    pub id: String,
    /// Where it computes.
    pub device: Device,
    /// How many of the last layers a card computes, where one is used.
    pub gpu_layers: GpuLayers,
    /// A folder of built kernels, in the place of those that are built in.
    pub kernels: Option<PathBuf>,
    /// Threads of a forward pass; `None` for as many as the machine and its limits suggest.
    pub threads: Option<NonZeroUsize>,
    /// Tokens of prompt and answer together; `None` for the model's own limit, at most [`CONTEXT_TOKENS_DEFAULT`].
    /// More than the model's own limit is refused.
    pub context_tokens: Option<NonZeroUsize>,
    /// How the cache stores keys and values.
    pub kv: KvFormat,
    /// Memory for keys and values of all answers; one whole context fits in any case. It is touched only as it
    /// fills.
    pub cache_bytes_max: u64,
    /// Memory that weights, cache and buffers may take together; a model that needs more is refused before it is
    /// read.
    pub memory_bytes_max: Option<u64>,
    /// Answers computed at once. Fewer run where the cache cannot hold as many.
    pub running_max: NonZeroUsize,
    /// Answers that may wait beyond those; more are refused as an overload.
    pub waiting_max: usize,
    /// Tokens of one forward pass. Larger is faster for long prompts and takes more working memory.
    pub step_tokens_max: NonZeroUsize,
    /// Sampling parameters for requests that leave them open, ahead of the model file's own recommendation and of
    /// OpenAI's defaults. Only what the request, this and the file all leave open is OpenAI's.
    pub sampling: Sampling,
    /// Told when the one device is lost that `device` allows: the model answers nothing from then on.
    pub loss: Loss,
}

/// The context where neither the options nor a smaller model say otherwise, in tokens.
pub const CONTEXT_TOKENS_DEFAULT: usize = 8192;

impl ModelOptions {
    /// The defaults for a model of this id: 16 answers at once, 64 waiting, 2 GiB of cache, 512 tokens a pass.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            device: Device::Auto,
            gpu_layers: GpuLayers::Auto,
            kernels: None,
            threads: None,
            context_tokens: None,
            kv: KvFormat::F16,
            cache_bytes_max: 2 << 30,
            memory_bytes_max: None,
            running_max: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            waiting_max: 64,
            step_tokens_max: NonZeroUsize::new(512).unwrap_or(NonZeroUsize::MIN),
            sampling: Sampling::default(),
            loss: Loss::default(),
        }
    }
}
