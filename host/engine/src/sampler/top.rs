//! The k greatest of many values, in order, without sorting the rest: one scan with a rising threshold.

use std::cmp::Ordering;

/// A token and its logit or weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) value: f32,
}

/// The greater value first; of equal ones the smaller token.
fn order(left: &Candidate, right: &Candidate) -> Ordering {
    right.value.total_cmp(&left.value).then(left.token.cmp(&right.token))
}

/// Fills `best` with the `count` greatest values, greatest first, ties in favour of the smaller token. Fewer
/// where there are fewer. Values that are minus infinity or NaN are never among them.
pub(super) fn top(values: &[f32], count: usize, best: &mut Vec<Candidate>) {
    best.clear();
    if count == 0 {
        return;
    }
    let room = count.saturating_mul(2).max(256);
    let mut threshold = f32::NEG_INFINITY;
    for (token, &value) in values.iter().enumerate() {
        // Strictly greater: a later token that equals the threshold loses the tie.
        if value > threshold {
            // Adding zero makes the two zeros one, as the comparison above sees them.
            best.push(Candidate { token: token as u32, value: value + 0.0 });
            if best.len() == room {
                best.select_nth_unstable_by(count - 1, order);
                best.truncate(count);
                threshold = best[count - 1].value;
            }
        }
    }
    if best.len() > count {
        best.select_nth_unstable_by(count - 1, order);
        best.truncate(count);
    }
    best.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(values: &[f32], count: usize) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| **value > f32::NEG_INFINITY)
            .map(|(token, &value)| Candidate { token: token as u32, value: value + 0.0 })
            .collect();
        all.sort_by(order);
        all.truncate(count);
        all
    }

    fn any_value() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => (-4..4i8).prop_map(f32::from),
            8 => -10.0..10.0f32,
            1 => Just(-0.0f32),
            1 => Just(f32::NAN),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::MAX),
        ]
    }

    proptest! {
        #[test]
        fn the_scan_agrees_with_sorting(
            values in prop::collection::vec(any_value(), 0..1500),
            count in 0..300usize,
        ) {
            let mut best = Vec::new();
            top(&values, count, &mut best);
            prop_assert_eq!(best, naive(&values, count));
        }
    }
}
