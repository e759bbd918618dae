//! Attention as its definition says, in f64, over keys and values as the cache keeps them.

use half::f16;

use super::KvFormat;

/// What a cache keeps of one head of a key or value.
pub(super) fn kept(format: KvFormat, head: &[f32]) -> Vec<f64> {
    match format {
        KvFormat::F16 => head.iter().map(|&number| f16::from_f32(number).to_f64()).collect(),
        KvFormat::Q8_0 => head.chunks(32).flat_map(eight_bits).collect(),
    }
}

/// The nearest multiples of a half-precision scale of which the greatest is 127, or all that it makes of no number.
fn eight_bits(group: &[f32]) -> Vec<f64> {
    let scale = match group.iter().any(|number| number.is_nan()) {
        true => f16::NAN,
        false => f16::from_f32(group.iter().fold(0.0_f32, |most, number| most.max(number.abs())) / 127.0),
    };
    let multiple = |number: &f32| match scale.to_f32() {
        scale if scale > 0.0 => (number * (1.0 / scale)).clamp(-127.0, 127.0).round_ties_even(),
        _ => 0.0,
    };
    // Infinity times nothing is no number either.
    group.iter().map(|number| f64::from(multiple(number) as i8) * scale.to_f64()).collect()
}

/// One head of one row: `query` against `keys` and `values`, each `[tokens][head_dim]`, all of which the row sees.
pub(super) fn attend_row(query: &[f32], keys: &[&[f64]], values: &[&[f64]], scale: f64) -> Vec<f64> {
    let dot = |key: &[f64]| query.iter().zip(key).map(|(&q, &k)| f64::from(q) * k).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| dot(key) * scale).collect();
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..query.len())
        .map(|d| weights.iter().zip(values).map(|(weight, value)| weight * value[d]).sum::<f64>() / sum)
        .collect()
}
