//! Model files of random weights that exist only as a rule: a directory in memory, and data made when it is read.
//!
//! They go through the same reader and loader as files on disk, so that what benchmarks and tests compute is what
//! the product computes. The same seed gives the same bytes, whatever the order and size of reads. Weights are of
//! the size that keeps activations near one. The bytes of a matrix are the kernels' rule
//! ([`RandomWeights`]), which a card can follow as well ([`random_model_made_there`]).

use std::io;

use lockgate_kernels::formats::Format;
use lockgate_kernels::random::{Random, RandomWeights, scramble};

use super::loader::computed;
use super::shapes::{Mix, Role, Shape, ShapeError};
use crate::gguf::{Gguf, GgufWriter, Limits, Metadata, ReadAt, TensorType};

/// A random model of this shape, stored in this mix of formats. The keys of `extra` (a tokenizer, say) are added to
/// its metadata or replace what is there.
///
/// # Errors
/// The shape is none that a model file may have.
pub fn random_model(shape: &Shape, mix: Mix, seed: u64, extra: &Metadata) -> Result<Gguf, ShapeError> {
    open(RandomSource::new(shape, mix, seed, extra), shape)
}

/// The same model, of which a card makes its matrices itself: nothing of them is made here and sent there, so that a
/// large one is ready in seconds. For benchmarks: what a file's weights pass through on their way is left out.
///
/// # Errors
/// As [`random_model`].
pub fn random_model_made_there(
    shape: &Shape,
    mix: Mix,
    seed: u64,
    extra: &Metadata,
) -> Result<Gguf, ShapeError> {
    open(RandomSource { made_there: true, ..RandomSource::new(shape, mix, seed, extra) }, shape)
}

fn open(source: RandomSource, shape: &Shape) -> Result<Gguf, ShapeError> {
    let name = format!("random {} model", shape.architecture);
    Ok(Gguf::read(Box::new(source), name, &Limits::default())?)
}

/// The bytes of such a model's file, for writing it out.
#[derive(Debug)]
pub struct RandomSource {
    directory: Vec<u8>,
    pieces: Vec<Piece>,
    file_bytes: u64,
    /// Whether rules are told, beside the bytes that they stand for.
    made_there: bool,
}

/// The data of one tensor.
#[derive(Debug)]
struct Piece {
    start: u64,
    end: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Given(Vec<u8>),
    Random(Format, RandomWeights),
}

impl RandomSource {
    /// The file of a random model.
    #[must_use]
    pub fn new(shape: &Shape, mix: Mix, seed: u64, extra: &Metadata) -> Self {
        let mut writer = GgufWriter::new();
        let mut metadata = hyperparameters(shape);
        for (key, value) in extra.iter() {
            metadata.insert(key, value.clone());
        }
        for (key, value) in metadata.iter() {
            writer.metadata(key, value.clone());
        }
        let mut contents = Vec::new();
        for (number, tensor) in tensors(shape, mix).into_iter().enumerate() {
            let seed = scramble(seed ^ scramble(number as u64));
            let tensor_type = tensor.tensor_type;
            writer.tensor_without_data(tensor.name, &tensor.dimensions, tensor_type);
            contents.push(match tensor.values {
                Values::Weights => {
                    // Sums of as many products as there are inputs come out near one.
                    let deviation = 1.0 / (tensor.dimensions[0] as f32).sqrt();
                    match computed(tensor_type) {
                        Some(format) => Content::Random(format, RandomWeights { deviation, seed }),
                        // No mix names a type that nothing computes with.
                        None => Content::Given(Vec::new()),
                    }
                }
                Values::Near(mean) => {
                    let mut random = Random::new(seed);
                    let value = |_| mean + 0.2 * random.symmetric();
                    Content::Given((0..tensor.dimensions[0]).map(value).flat_map(f32::to_le_bytes).collect())
                }
                Values::RopeFactors(factors) => {
                    Content::Given(factors.into_iter().flat_map(f32::to_le_bytes).collect())
                }
            });
        }
        let directory = writer.directory();
        let ends = directory.offsets.iter().skip(1).copied().chain([directory.file_bytes]);
        let places = directory.offsets.iter().copied().zip(ends);
        let pieces =
            places.zip(contents).map(|((start, end), content)| Piece { start, end, content }).collect();
        Self { directory: directory.bytes, pieces, file_bytes: directory.file_bytes, made_there: false }
    }
}

impl ReadAt for RandomSource {
    fn size_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.file_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buffer.is_empty() {
            let (content_end, content) = match self.pieces.partition_point(|piece| piece.start <= offset) {
                0 => (self.directory.len() as u64, None),
                after => (self.pieces[after - 1].end, Some(&self.pieces[after - 1])),
            };
            let count = (content_end - offset).min(buffer.len() as u64) as usize;
            let (now, later) = buffer.split_at_mut(count);
            match content {
                None => now.copy_from_slice(&self.directory[offset as usize..][..count]),
                Some(piece) => piece.content.read(now, offset - piece.start),
            }
            (buffer, offset) = (later, offset + count as u64);
        }
        Ok(())
    }

    fn rule_at(&self, offset: u64) -> Option<RandomWeights> {
        let piece = self.pieces.binary_search_by_key(&offset, |piece| piece.start).ok()?;
        match self.pieces[piece].content {
            Content::Random(_, weights) if self.made_there => Some(weights),
            _ => None,
        }
    }
}

impl Content {
    /// Fills `target` from byte `start` of the data on; beyond the data there is padding.
    fn read(&self, target: &mut [u8], start: u64) {
        match self {
            Self::Given(bytes) => {
                let given = bytes.get(start as usize..).unwrap_or_default();
                let count = given.len().min(target.len());
                target[..count].copy_from_slice(&given[..count]);
                target[count..].fill(0);
            }
            Self::Random(format, weights) => weights.read(*format, start, target),
        }
    }
}

struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    tensor_type: TensorType,
    values: Values,
}

enum Values {
    Weights,
    /// Around this mean.
    Near(f32),
    RopeFactors(Vec<f32>),
}

fn hyperparameters(shape: &Shape) -> Metadata {
    let mut metadata = Metadata::new();
    let key = |name: &str| format!("{}.{name}", shape.architecture);
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    metadata.insert("general.architecture", shape.architecture);
    metadata.insert("general.name", format!("random {}", shape.architecture));
    metadata.insert(key("block_count"), size(shape.layers));
    metadata.insert(key("context_length"), size(shape.context));
    metadata.insert(key("embedding_length"), size(shape.hidden));
    metadata.insert(key("feed_forward_length"), size(shape.feed_forward));
    metadata.insert(key("attention.head_count"), size(shape.heads));
    metadata.insert(key("attention.head_count_kv"), size(shape.kv_heads));
    metadata.insert(key("attention.key_length"), size(shape.head_dim));
    metadata.insert(key("attention.value_length"), size(shape.head_dim));
    metadata.insert(key("attention.layer_norm_rms_epsilon"), shape.norm_epsilon);
    metadata.insert(key("rope.dimension_count"), size(shape.head_dim));
    metadata.insert(key("rope.freq_base"), shape.rope_base);
    metadata.insert(key("vocab_size"), size(shape.vocabulary));
    metadata
}

fn tensors(shape: &Shape, mix: Mix) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    let mut matrix = |name: String, rows: usize, columns: usize, role: Role| {
        let tensor_type = mix.format(role, columns, shape.layers);
        let dimensions = vec![columns as u64, rows as u64];
        tensors.push(Tensor { name, dimensions, tensor_type, values: Values::Weights });
    };
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let embedding = if shape.tied { Role::Output } else { Role::Embedding };
    matrix("token_embd.weight".to_owned(), shape.vocabulary, shape.hidden, embedding);
    if !shape.tied {
        matrix("output.weight".to_owned(), shape.vocabulary, shape.hidden, Role::Output);
    }
    for layer in 0..shape.layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let sensitive = Role::Sensitive { layer };
        matrix(name("attn_q"), queries, shape.hidden, Role::Plain);
        matrix(name("attn_k"), keys, shape.hidden, Role::Plain);
        matrix(name("attn_v"), keys, shape.hidden, sensitive);
        matrix(name("attn_output"), shape.hidden, queries, Role::Plain);
        matrix(name("ffn_gate"), shape.feed_forward, shape.hidden, Role::Plain);
        matrix(name("ffn_up"), shape.feed_forward, shape.hidden, Role::Plain);
        matrix(name("ffn_down"), shape.hidden, shape.feed_forward, sensitive);
    }
    let mut vector = |name: String, length: usize, values: Values| {
        let dimensions = vec![length as u64];
        tensors.push(Tensor { name, dimensions, tensor_type: TensorType::F32, values });
    };
    vector("output_norm.weight".to_owned(), shape.hidden, Values::Near(1.0));
    for layer in 0..shape.layers {
        vector(format!("blk.{layer}.attn_norm.weight"), shape.hidden, Values::Near(1.0));
        vector(format!("blk.{layer}.ffn_norm.weight"), shape.hidden, Values::Near(1.0));
        if shape.architecture == "qwen2" {
            for (part, length) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                vector(format!("blk.{layer}.{part}.bias"), length, Values::Near(0.0));
            }
        }
    }
    if let Some(factor) = shape.rope_factor {
        let factors = llama3_rope_factors(shape.head_dim, shape.rope_base, factor);
        vector("rope_freqs.weight".to_owned(), factors.len(), Values::RopeFactors(factors));
    }
    tensors
}

/// By what Llama 3 divides each rope frequency: nothing for short waves, `factor` for waves longer than the context
/// that it was first trained with, and a ramp in between.
fn llama3_rope_factors(head_dim: usize, base: f32, factor: f32) -> Vec<f32> {
    const CONTEXT: f32 = 8_192.0;
    const LOW: f32 = 1.0;
    const HIGH: f32 = 4.0;
    (0..head_dim / 2)
        .map(|pair| {
            let wave = std::f32::consts::TAU * base.powf(2.0 * pair as f32 / head_dim as f32);
            let ramp = ((CONTEXT / wave - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            1.0 / ((1.0 - ramp) / factor + ramp)
        })
        .collect()
}
