//! The shapes of published models and the mixes of formats that published files of them are stored in, for
//! benchmarks and tests on random weights.
//!
//! The dimensions are those of the models' own configurations; a mix follows the rule by which `llama-quantize`
//! chooses a format for each matrix, so that a benchmark moves the same bytes.

use crate::arch;
use crate::gguf::{GgufError, TensorType};

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of `Config`")]
pub struct Shape {
    pub architecture: &'static str,
    pub layers: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocabulary: usize,
    pub context: usize,
    pub norm_epsilon: f32,
    pub rope_base: f32,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Llama 3's scaling of the rope frequencies: the factor of the lowest ones.
    pub rope_factor: Option<f32>,
}

/// A shape or mix that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// No such name.
    #[error("there is no {what} `{name}`; known are {known}")]
    Unknown {
        /// `shape` or `quantization`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The shape is known but its architecture is not built.
    #[error(
        "shape `{name}` needs the architecture `{architecture}`, which is not supported; this version runs {known}"
    )]
    NotBuilt {
        /// The shape.
        name: String,
        /// Its architecture.
        architecture: &'static str,
        /// The architectures that there are.
        known: String,
    },
    /// A shape that no model file may have: a row that does not fit a format, or a size beyond the limits.
    #[error(transparent)]
    Unreadable(#[from] GgufError),
}

const LLAMA_3_2_1B: Shape = Shape {
    architecture: "llama",
    layers: 16,
    hidden: 2_048,
    feed_forward: 8_192,
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
    vocabulary: 128_256,
    context: 131_072,
    norm_epsilon: 1e-5,
    rope_base: 500_000.0,
    tied: true,
    rope_factor: Some(32.0),
};

const LLAMA_3_1_8B: Shape = Shape {
    layers: 32,
    hidden: 4_096,
    feed_forward: 14_336,
    head_dim: 128,
    tied: false,
    rope_factor: Some(8.0),
    ..LLAMA_3_2_1B
};

const MISTRAL_7B_V0_3: Shape =
    Shape { vocabulary: 32_768, context: 32_768, rope_base: 1e6, rope_factor: None, ..LLAMA_3_1_8B };

const QWEN_2_5_7B: Shape = Shape {
    architecture: "qwen2",
    layers: 28,
    hidden: 3_584,
    feed_forward: 18_944,
    heads: 28,
    kv_heads: 4,
    head_dim: 128,
    vocabulary: 152_064,
    context: 32_768,
    norm_epsilon: 1e-6,
    rope_base: 1e6,
    tied: false,
    rope_factor: None,
};

/// Every known name, with its shape, or with the architecture that it waits for.
const SHAPES: [(&str, Result<&Shape, &str>); 6] = [
    ("llama-3.2-1b", Ok(&LLAMA_3_2_1B)),
    ("llama-3.1-8b", Ok(&LLAMA_3_1_8B)),
    ("qwen3-0.6b", Err("qwen3")),
    ("qwen2.5-7b", Ok(&QWEN_2_5_7B)),
    ("mistral-7b-v0.3", Ok(&MISTRAL_7B_V0_3)),
    ("phi-3.5-mini", Err("phi3")),
];

impl Shape {
    /// The shape of a published model.
    ///
    /// # Errors
    /// There is no such name, or its architecture is not built yet.
    pub fn named(name: &str) -> Result<Self, ShapeError> {
        match SHAPES.iter().find(|(known, _)| *known == name) {
            Some((_, Ok(shape))) => Ok((*shape).clone()),
            Some((_, Err(architecture))) => Err(ShapeError::NotBuilt {
                name: name.to_owned(),
                architecture,
                known: arch::known().join(", "),
            }),
            None => Err(ShapeError::Unknown {
                what: "shape",
                name: name.to_owned(),
                known: SHAPES.map(|(known, _)| known).join(", "),
            }),
        }
    }
}

/// What a matrix is for, as far as mixes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The embedding of an untied model.
    Embedding,
    /// The output matrix, or the embedding that also serves as one.
    Output,
    /// The values or the second feed-forward matrix of a layer, which lose most by coarse storage.
    Sensitive { layer: usize },
    /// Any other.
    Plain,
}

/// A mix of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    plain: TensorType,
    /// The format of the output matrix, where it differs.
    output: TensorType,
    /// The format of sensitive matrices in the layers that get more bits.
    more_bits: TensorType,
}

use TensorType::{BF16, F16, F32, MXFP4, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};

const MIXES: [(&str, Mix); 14] = [
    ("f32", Mix::pure(F32)),
    ("f16", Mix::pure(F16)),
    ("bf16", Mix::pure(BF16)),
    ("q8_0", Mix::pure(Q8_0)),
    ("q6_k", Mix::pure(Q6_K)),
    ("q5_k_m", Mix { plain: Q5_K, output: Q6_K, more_bits: Q6_K }),
    ("q4_k_m", Mix { plain: Q4_K, output: Q6_K, more_bits: Q6_K }),
    ("q4_0", Mix { plain: Q4_0, output: Q6_K, more_bits: Q4_0 }),
    ("q4_1", Mix { plain: Q4_1, output: Q6_K, more_bits: Q4_1 }),
    ("q5_0", Mix { plain: Q5_0, output: Q6_K, more_bits: Q5_0 }),
    ("q5_1", Mix { plain: Q5_1, output: Q6_K, more_bits: Q5_1 }),
    ("mxfp4", Mix::pure(MXFP4)),
    ("q4_k", Mix::pure(Q4_K)),
    ("q5_k", Mix::pure(Q5_K)),
];

impl Mix {
    /// Every matrix in one format.
    #[must_use]
    pub const fn pure(format: TensorType) -> Self {
        Self { plain: format, output: format, more_bits: format }
    }

    /// The mix of that name, in either case.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, ShapeError> {
        let found = MIXES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, mix)| *mix).ok_or_else(|| ShapeError::Unknown {
            what: "quantization",
            name: name.to_owned(),
            known: MIXES.map(|(known, _)| known).join(", "),
        })
    }

    /// The format of a matrix of `columns` inputs in a model of `layers` layers.
    pub(super) fn format(self, role: Role, columns: usize, layers: usize) -> TensorType {
        let format = match role {
            Role::Output => self.output,
            Role::Sensitive { layer } if gets_more_bits(layer, layers) => self.more_bits,
            Role::Embedding | Role::Sensitive { .. } | Role::Plain => self.plain,
        };
        if (columns as u64).is_multiple_of(format.block_elements()) {
            return format;
        }
        // What files really hold for models whose rows are no multiple of 256.
        match format {
            Q4_K => Q5_0,
            Q5_K => Q5_1,
            Q6_K => Q8_0,
            other => other,
        }
    }
}

/// The first and last eighth of the layers, and every third in between.
fn gets_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}
