//! Rotary positions: the frequencies that a model's metadata asks for.

use lockgate_kernels::rope::Pairing;

use crate::model::{LoadProblem, Loader, RopeConfig};
use crate::processor::{Processor, Rotation};

/// The rotation of a model for `positions` positions. Frequencies are `base^(−2i/d)`, divided by the linear factor and
/// by element i of `factors` where the model has them (Llama 3's scaling comes as such a list).
pub(crate) fn rotation(
    rope: &RopeConfig,
    pairing: Pairing,
    factors: Option<&[f32]>,
    positions: usize,
) -> Rotation {
    let frequencies = (0..rope.dimensions / 2)
        .map(|pair| {
            let exponent = -2.0 * pair as f64 / rope.dimensions as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            f64::from(rope.base).powf(exponent) / (factor * f64::from(rope.linear_factor))
        })
        .collect();
    Rotation { pairing, frequencies, positions }
}

/// The model's own list of frequency divisors, if it has one: a positive number for each pair.
pub(crate) fn factors<P: Processor>(loader: &Loader<'_, P>) -> Result<Option<Vec<f32>>, LoadProblem> {
    const NAME: &str = "rope_freqs.weight";
    let pairs = loader.config().rope.dimensions / 2;
    let factors = loader.optional_numbers(NAME, pairs)?;
    match factors.iter().flatten().find(|factor| **factor <= 0.0) {
        None => Ok(factors),
        Some(factor) => Err(LoadProblem::Hyperparameter {
            key: NAME.to_owned(),
            found: factor.to_string(),
            expected: "positive".to_owned(),
        }),
    }
}
