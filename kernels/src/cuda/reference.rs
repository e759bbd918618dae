//! What each kernel of `kernels/cuda` computes, as naive code that sums in f64: the measure of them all. Slow and obvious.

/// `gemv`: row-major `weights` of `cols` columns times one row of inputs. Returns each output with the sum of its
/// products' magnitudes, which bounds what rounding may do to it.
#[must_use]
pub fn gemv(weights: &[f32], x: &[f32]) -> Vec<(f64, f64)> {
    let row = |weights: &[f32]| {
        let products = weights.iter().zip(x).map(|(&weight, &x)| f64::from(weight) * f64::from(x));
        products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()))
    };
    weights.chunks(x.len()).map(row).collect()
}

/// `silu(gate) · up`.
#[must_use]
pub fn swiglu(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

/// `rms_norm`: one row.
#[must_use]
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let factor = 1.0 / (squares / x.len() as f64 + f64::from(epsilon)).sqrt();
    x.iter().zip(weight).map(|(&x, &weight)| f64::from(x) * factor * f64::from(weight)).collect()
}

/// How attention weighs what it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighing {
    /// What scores are multiplied by.
    pub scale: f64,
    /// The limit of scores; 0 is none.
    pub cap: f64,
    /// Tokens that a row sees, its own included; 0 is all.
    pub window: usize,
}

/// `attention`: one head of the row at the position of the last of `keys` and `values`.
#[must_use]
pub fn attention(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], weighing: Weighing) -> Vec<f64> {
    let Weighing { scale, cap, window } = weighing;
    let first = if window == 0 { 0 } else { keys.len().saturating_sub(window) };
    let score = |key: &Vec<f32>| {
        let dot: f64 = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
        if cap > 0.0 { cap * (dot * scale / cap).tanh() } else { dot * scale }
    };
    let scores: Vec<f64> = keys[first..].iter().map(score).collect();
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..query.len())
        .map(|d| {
            let weighed = weights.iter().zip(&values[first..]);
            weighed.map(|(weight, value)| weight * f64::from(value[d])).sum::<f64>() / sum
        })
        .collect()
}

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// What logits are divided by; 0 takes the greatest.
    pub temperature: f64,
    /// The most likely tokens that are kept.
    pub top_k: usize,
    /// The mass that is kept, of what top-k left.
    pub top_p: f64,
    /// The least share of the greatest weight.
    pub min_p: f64,
}

/// `sample`: the tokens that may be drawn, in the order of the draw, with their weights, which sum to 1. Empty where
/// every logit is impossible.
#[must_use]
pub fn choices(logits: &[f32], drawing: Drawing) -> Vec<(usize, f64)> {
    // Adding zero makes the two zeros one.
    let usable =
        |logit: f32| f64::from(if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) }) + 0.0;
    let mut all: Vec<(usize, f64)> = logits.iter().map(|&logit| usable(logit)).enumerate().collect();
    all.retain(|(_, logit)| *logit > f64::NEG_INFINITY);
    let vocabulary_order = drawing.top_k >= logits.len() && drawing.top_p >= 1.0 && drawing.temperature > 0.0;
    all.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    let Some(&(_, best)) = all.first() else { return all };
    if drawing.temperature == 0.0 {
        return vec![(all[0].0, 1.0)];
    }
    all.truncate(drawing.top_k);
    for choice in &mut all {
        choice.1 = ((choice.1 - best) / drawing.temperature).exp();
    }
    if drawing.top_p < 1.0 {
        let total: f64 = all.iter().map(|choice| choice.1).sum();
        let mut mass = 0.0;
        let enough = all.iter().position(|choice| {
            mass += choice.1;
            mass >= drawing.top_p * total
        });
        all.truncate(enough.map_or(all.len(), |last| last + 1));
    }
    all.retain(|choice| choice.1 >= drawing.min_p);
    if vocabulary_order {
        all.sort_by_key(|choice| choice.0);
    }
    let total: f64 = all.iter().map(|choice| choice.1).sum();
    all.iter_mut().for_each(|choice| choice.1 /= total);
    all
}

/// `log_probability`: the natural logarithm of a token's probability.
#[must_use]
pub fn log_probability(logits: &[f32], token: usize) -> f64 {
    let usable = |logit: f32| f64::from(logit.min(f32::MAX));
    let all = logits.iter().filter(|logit| !logit.is_nan()).map(|&logit| usable(logit));
    let best = all.clone().fold(f64::NEG_INFINITY, f64::max);
    usable(logits[token]) - best - all.map(|logit| (logit - best).exp()).sum::<f64>().ln()
}

/// `adjust_logits`: biases, then, of tokens that were seen, how often each was generated, with the repetition, presence and
/// frequency penalties.
#[must_use]
pub fn adjust(
    logits: &[f32],
    biases: &[(usize, f32)],
    seen: &[(usize, u32)],
    penalties: [f64; 3],
) -> Vec<f64> {
    let usable = |logit: f32| if logit.is_nan() { f64::NEG_INFINITY } else { f64::from(logit.min(f32::MAX)) };
    let mut all: Vec<f64> = logits.iter().map(|&logit| usable(logit)).collect();
    for &(token, bias) in biases {
        all[token] = (all[token] + f64::from(bias)).min(f64::from(f32::MAX));
    }
    let [repetition, presence, frequency] = penalties;
    for &(token, times) in seen {
        let logit = all[token];
        let repeated = if logit > 0.0 { logit / repetition } else { logit * repetition };
        let present = if times > 0 { presence } else { 0.0 };
        all[token] = (repeated - present - frequency * f64::from(times)).min(f64::from(f32::MAX));
    }
    all
}
