//! Why an adapter cannot be used. Every message names the file, the setting or tensor, and what to do.

use std::io;

use lockgate_kernels::matmul::PackError;

use super::safetensors::SafetensorsProblem;
use crate::gguf::{GgufError, MetadataError, Problem};

/// An adapter that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct AdapterError {
    /// The file, as it was named by the caller.
    pub file: String,
    /// What is wrong with it.
    pub problem: AdapterProblem,
}

/// The ways in which an adapter is refused.
#[derive(Debug, thiserror::Error)]
pub enum AdapterProblem {
    /// The system refused to open or read a file.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// The path holds no adapter of a known kind.
    #[error("{0}")]
    NoAdapter(&'static str),
    /// The GGUF file is damaged.
    #[error("{0}")]
    Gguf(Problem),
    /// A metadata key of the GGUF file is missing or of another type.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The safetensors file is damaged.
    #[error("{0}")]
    Safetensors(#[from] SafetensorsProblem),
    /// `adapter_config.json` is no JSON object.
    #[error("not a PEFT configuration: {0}")]
    Json(String),
    /// A setting that would change the answer and is not computed, or that makes no sense.
    #[error("`{key}` is {found}: {instead}")]
    Setting {
        /// The key in `adapter_config.json` or in the GGUF file's metadata.
        key: String,
        /// Its value, shortened.
        found: String,
        /// What to do.
        instead: String,
    },
    /// The adapter was made for another architecture.
    #[error(
        "the adapter is for the architecture `{found}`, the model's is `{model}`; use its own base model"
    )]
    Architecture {
        /// What the file says.
        found: String,
        /// The model's.
        model: String,
    },
    /// A tensor that means something that is not computed.
    #[error("tensor `{tensor}` {why}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What it is, and what to do.
        why: String,
    },
    /// One half of a pair without the other.
    #[error("tensor `{tensor}` is there without its other half `{other}`; the file is incomplete")]
    Half {
        /// The half that is there.
        tensor: String,
        /// The half that is not.
        other: String,
    },
    /// A tensor of another shape than the model has room for.
    #[error(
        "tensor `{tensor}` has {} but the model needs {}; use the adapter's own base model",
        shape(*found), shape(*expected)
    )]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// Its rows and columns.
        found: [u64; 2],
        /// What the model and the pair's other half give.
        expected: [u64; 2],
    },
    /// A rank that is not what the configuration says, or beyond the limit.
    #[error("tensor `{tensor}` has rank {found}, but {expected}")]
    Rank {
        /// The tensor's name.
        tensor: String,
        /// Its rank.
        found: u64,
        /// What it should be, and what to do.
        expected: String,
    },
    /// A number that is not finite.
    #[error("tensor `{tensor}` holds {found} at element {element}; the file is damaged or training diverged")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// Which element.
        element: usize,
        /// Its value.
        found: f32,
    },
    /// No weights at all.
    #[error("the file holds no low-rank weights; save the adapter again")]
    Empty,
    /// A matrix could not be made.
    #[error("tensor `{tensor}`: {reason}")]
    Pack {
        /// The tensor's name.
        tensor: String,
        /// Why.
        reason: PackError,
    },
}

fn shape([rows, columns]: [u64; 2]) -> String {
    format!("{rows} rows of {columns}")
}

impl From<GgufError> for AdapterProblem {
    fn from(error: GgufError) -> Self {
        // The file's name comes back with the `AdapterError` around this.
        Self::Gguf(error.problem)
    }
}
