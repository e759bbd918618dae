//! Exponentials and sums over a whole vocabulary: written so that the compiler vectorises them, and from plain
//! IEEE operations alone, so that every machine computes the same bits.

/// e^x for x ≤ 0, to a few units in the last place; 0 below −87, where the result leaves the normal range, and for
/// NaN. A positive x counts as 0.
#[inline]
fn exp_nonpositive(x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to an integer, which the sum's low bits hold.
    const ROUND: f32 = 12_582_912.0;
    // The natural logarithm of 2 in two parts; the first is short, so that its products are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let clamped = if clamped < 0.0 { clamped } else { 0.0 };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = (clamped - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // The Taylor series of e^rest for |rest| ≤ ln(2)/2; the first term left out is below 2⁻²⁵.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let power = f32::from_bits(exponent.wrapping_shl(23));
    if x > -87.0 { sum * power } else { 0.0 }
}

/// Replaces every logit by e^((logit − best) · scale), a NaN by 0; none may exceed `best`.
pub(super) fn weigh(values: &mut [f32], best: f32, scale: f32) {
    weights(values.iter_mut(), best, scale);
}

/// As [`weigh`], for values that lie apart.
pub(super) fn weights<'a>(values: impl Iterator<Item = &'a mut f32>, best: f32, scale: f32) {
    for value in values {
        *value = exp_nonpositive((*value - best) * scale);
    }
}

/// The sum, in an order that depends on the length alone.
pub(super) fn sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&value| f64::from(value)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value);
        }
    }
    lanes.into_iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_a_few_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - exact).abs() / exact);
        }
        assert!(worst < 3.0e-7, "relative error {worst:e}");
    }

    #[test]
    fn the_ends_are_exact() {
        for x in [0.0, -0.0, 1.0, f32::INFINITY] {
            assert_eq!(exp_nonpositive(x), 1.0, "{x}");
        }
        for x in [-87.0, -88.0, -1e30, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp_nonpositive(x), 0.0, "{x}");
        }
    }

    #[test]
    fn a_sum_covers_every_length() {
        for length in 0..40 {
            let values: Vec<f32> = (0..length).map(|value| value as f32).collect();
            assert_eq!(sum(&values), (0..length).sum::<usize>() as f64);
        }
    }
}
