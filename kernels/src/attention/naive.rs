//! Attention as its definition says, in f64, over keys and values that were rounded to F16 and nothing else.

use half::f16;

/// One head of one row: `query` against `keys` and `values`, each `[tokens][head_dim]`, all of which the row sees.
pub(super) fn attend_row(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f64) -> Vec<f64> {
    let half = |value: f32| f16::from_f32(value).to_f64();
    let dot = |key: &[f32]| query.iter().zip(key).map(|(&q, &k)| f64::from(q) * half(k)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| dot(key) * scale).collect();
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..query.len())
        .map(|d| weights.iter().zip(values).map(|(weight, value)| weight * half(value[d])).sum::<f64>() / sum)
        .collect()
}
