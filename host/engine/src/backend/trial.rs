//! Whether a card computes what the processor does, before it is trusted with a model: small random models of the same
//! weight formats and heads, on both, and choices (`choices`).
//!
//! A card that is broken, or a kernel that is wrong on it, would otherwise answer nonsense. Takes some dozens of
//! milliseconds on a card. Owns what is compared and how closely; whether a model then goes to the card is decided by
//! whoever loads it.

mod choices;

use std::sync::Arc;

use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::pool::ThreadPool;

use crate::gguf::{Gguf, Metadata, TensorType};
use crate::model::{
    CardChoice, Compute, Config, GpuLayers, Input, KvFormat, LoadOptions, Mix, Model, Shape, Wanted,
    random_model,
};

/// Rows of a prompt: more than the products of few rows take, and no whole tile of those of many.
const PROMPT_TOKENS: u32 = 20;
/// Single tokens after it.
const SINGLE_TOKENS: u32 = 2;
const VOCABULARY: u32 = 96;
/// How far a row of logits may be from the processor's, as a part of its length. Rounding makes some hundredths, on either
/// side; a wrong kernel makes about as much as there is.
const DISTANCE_MAX: f64 = 0.15;

/// Has the card compute small models like the one in `gguf`.
///
/// # Errors
/// It fails, or computes something else than the processor.
pub(super) fn try_card(
    gguf: &Gguf,
    config: &Config,
    kv: KvFormat,
    card: &CardChoice,
    pool: &Arc<ThreadPool>,
) -> Result<(), DriverError> {
    let mut formats: Vec<TensorType> = Vec::new();
    for tensor in gguf.tensors().filter(|tensor| tensor.dimensions.len() > 1) {
        if !formats.contains(&tensor.tensor_type) {
            formats.push(tensor.tensor_type);
        }
    }
    for format in formats {
        let failed = |problem: String| DriverError::failed(format!("trial of {}", format.name()), problem);
        let farthest = farthest(config, format, kv, card, pool).map_err(failed)?;
        // NaN is not near.
        let is_near = farthest <= DISTANCE_MAX;
        if !is_near {
            let problem = "the card computes something else than the processor: its logits are off by";
            return Err(failed(format!("{problem} {farthest:.3} of their length")));
        }
    }
    choices::try_card(&card.device)
}

/// How far the farthest row of logits is from the processor's, in a small model of one format.
fn farthest(
    config: &Config,
    format: TensorType,
    kv: KvFormat,
    card: &CardChoice,
    pool: &Arc<ThreadPool>,
) -> Result<f64, String> {
    let small = random_model(&shape(config), Mix::pure(format), 1, &Metadata::new());
    let small = small.map_err(|error| error.to_string())?;
    let card = CardChoice { layers: GpuLayers::Auto, ..card.clone() };
    let expected = logits(&small, kv, None, pool)?;
    let found = logits(&small, kv, Some(&card), pool)?;
    let distances = found.iter().zip(&expected).map(|(found, expected)| distance(found, expected));
    // Unlike `f64::max` this keeps NaN.
    let farther = |farthest: f64, distance: f64| match farthest.is_nan() || distance <= farthest {
        true => farthest,
        false => distance,
    };
    Ok(distances.fold(0.0, farther))
}

/// One layer, with heads as the model has them and rows that are whole blocks of every format.
fn shape(config: &Config) -> Shape {
    let group = config.heads / config.kv_heads.max(1);
    let kv_heads = (1..=16).find(|kv_heads| (group * kv_heads * config.head_dim).is_multiple_of(256));
    let kv_heads = kv_heads.unwrap_or(1);
    Shape {
        architecture: "llama",
        layers: 1,
        hidden: 256,
        feed_forward: 256,
        heads: group * kv_heads,
        kv_heads,
        head_dim: config.head_dim,
        vocabulary: VOCABULARY as usize,
        context: 64,
        norm_epsilon: config.norm_epsilon,
        rope_base: 10_000.0,
        tied: true,
        rope_factor: None,
    }
}

/// Logits after every token of a prompt, and of single tokens behind it.
fn logits(
    gguf: &Gguf,
    kv: KvFormat,
    card: Option<&CardChoice>,
    pool: &Arc<ThreadPool>,
) -> Result<Vec<Vec<f32>>, String> {
    let options = LoadOptions {
        context: Some(64),
        step_tokens: PROMPT_TOKENS as usize,
        scored_tokens: PROMPT_TOKENS as usize,
        batch: 1,
        kv,
        ..LoadOptions::default()
    };
    let model = Model::load_on(gguf, &options, card, pool, &|_| {}).map_err(|error| error.to_string())?;
    let mut cache = model.cache().map_err(|error| error.to_string())?;
    let mut compute = Compute::new(Arc::clone(pool), Level::detect());
    let mut sequence = cache.sequence();
    let token = |number: u32| number * 31 % VOCABULARY;
    let prompt: Vec<u32> = (0..PROMPT_TOKENS).map(token).collect();
    let single = (PROMPT_TOKENS..PROMPT_TOKENS + SINGLE_TOKENS).map(|number| vec![token(number)]);
    let mut rows = Vec::new();
    for tokens in std::iter::once(prompt).chain(single) {
        let mut input = [Input { sequence: &mut sequence, tokens: &tokens, wanted: Wanted::All }];
        let logits =
            compute.forward(&model, &mut cache, &mut input, &|| false).map_err(|error| error.to_string())?;
        rows.extend(logits.rows().map(<[f32]>::to_vec));
    }
    Ok(rows)
}

/// The length of the difference, as a part of the expected length.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>();
    let difference =
        squares(&mut found.iter().zip(expected).map(|(found, expected)| f64::from(found - expected)));
    let length = squares(&mut expected.iter().map(|expected| f64::from(*expected)));
    (difference / length).sqrt()
}

#[cfg(test)]
mod tests;
