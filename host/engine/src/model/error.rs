//! Why a model cannot be loaded. Every message names the file, the key or tensor, and what to do.

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::formats::Format;
use lockgate_kernels::matmul::PackError;
use lockgate_kernels::memory::OutOfMemory;

use crate::gguf::{GgufError, MetadataError, Problem};

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct LoadError {
    /// The model file, as it was named by the caller.
    pub file: String,
    /// What is wrong with it, or with the request to load it.
    pub problem: LoadProblem,
}

/// The ways in which a model is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// The file itself is damaged or cannot be read.
    #[error("{0}")]
    File(Problem),
    /// A metadata key is missing or of another type.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The architecture is not built.
    #[error("architecture `{found}` is not supported; this version runs {}", known.join(", "))]
    Architecture {
        /// The architecture that the file names.
        found: String,
        /// Those that are.
        known: Vec<&'static str>,
    },
    /// The model needs something that is not built.
    #[error("{what} is not supported; {instead}")]
    Unsupported {
        /// What the model needs.
        what: String,
        /// What to do.
        instead: &'static str,
    },
    /// A hyperparameter out of range or at odds with another.
    #[error("key `{key}` is {found}, but it must be {expected}; the file is damaged or of another kind")]
    Hyperparameter {
        /// The metadata key.
        key: String,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// A tensor of another shape than the hyperparameters give.
    #[error(
        "tensor `{tensor}` has the dimensions {found:?}, but the model needs {expected:?}; the file is damaged"
    )]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// Its dimensions, fastest first.
        found: Vec<u64>,
        /// What the hyperparameters give.
        expected: Vec<u64>,
    },
    /// A storage type that there are no kernels for.
    #[error(
        "tensor `{tensor}` is stored as {found}, which is not supported; choose a file with {}",
        formats(known)
    )]
    Format {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        found: &'static str,
        /// Those that are.
        known: &'static [Format],
    },
    /// A number in a small tensor that is not finite.
    #[error("tensor `{tensor}` holds {found} at element {element}; the file is damaged")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// Which element.
        element: usize,
        /// Its value.
        found: f32,
    },
    /// A tensor that the architecture does not use: the file means something else than what would be computed.
    #[error(
        "tensor `{tensor}` does not belong to architecture `{architecture}`; the model would be computed wrongly"
    )]
    UnexpectedTensor {
        /// The tensor's name.
        tensor: String,
        /// The architecture that the file names.
        architecture: String,
    },
    /// Weights and cache do not fit.
    #[error(
        "the model needs {} MiB ({} weights, {} cache, {} working memory), over the limit of {} MiB; \
         choose a smaller quantization or a shorter context",
        mib(plan.total_bytes()), mib(plan.weights_bytes), mib(plan.cache_bytes), mib(plan.working_bytes), mib(*limit_bytes)
    )]
    Memory {
        /// What it needs.
        plan: super::MemoryPlan,
        /// What it may use.
        limit_bytes: u64,
    },
    /// Weights and cache do not fit on the card.
    #[error(
        "{} of {all} layers need {} MiB on the card ({} weights, {} cache, {} working memory), where {} MiB are free \
         and {} of them are left to others; choose fewer layers (gpu_layers), a smaller quantization or a shorter context",
        plan.layers, mib(plan.total_bytes()), mib(plan.weights_bytes), mib(plan.cache_bytes),
        mib(plan.working_bytes), mib(*free_bytes), mib(*reserve_bytes)
    )]
    CardMemory {
        /// What they need.
        plan: super::CardPlan,
        /// What is free.
        free_bytes: u64,
        /// What of it is left to others.
        reserve_bytes: u64,
        /// The model's layers.
        all: usize,
    },
    /// The card failed.
    #[error("{0}")]
    Device(DriverError),
    /// The system is out of memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A matrix could not be made.
    #[error("tensor `{tensor}`: {reason}")]
    Pack {
        /// The tensor's name.
        tensor: String,
        /// Why.
        reason: PackError,
    },
}

impl From<GgufError> for LoadProblem {
    fn from(error: GgufError) -> Self {
        // The file's name comes back with the `LoadError` around this.
        Self::File(error.problem)
    }
}

/// Memory for a model's cache that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMemory {
    /// Of this machine.
    #[error(transparent)]
    Here(#[from] OutOfMemory),
    /// Of the card.
    #[error(transparent)]
    Card(#[from] DriverError),
}

fn formats(known: &[Format]) -> String {
    known.iter().map(|format| format.name().to_uppercase()).collect::<Vec<_>>().join(", ")
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
