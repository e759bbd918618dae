//! OpenAI's token counts as disjoint buckets.

use lockgate_api::Usage;
use serde_json::Value;

/// The counts, where the server gives those of the prompt and of the answer. A count of 0 is a count.
///
/// OpenAI counts cached tokens inside the prompt and reasoning inside the answer. A server whose total
/// shows that it counts reasoning beside the answer is believed.
pub(super) fn usage(wire: &Value) -> Option<Usage> {
    let count = |pointer: &str| wire.pointer(pointer).and_then(Value::as_u64);
    let prompt = count("/prompt_tokens")?;
    let completion = count("/completion_tokens")?;
    let cached = count("/prompt_tokens_details/cached_tokens")
        .or_else(|| count("/prompt_cache_hit_tokens"))
        .unwrap_or(0)
        .min(prompt);
    let reasoning = count("/completion_tokens_details/reasoning_tokens").unwrap_or(0);
    let beside = count("/total_tokens").is_some_and(|total| {
        reasoning > 0
            && Some(total) == prompt.checked_add(completion).and_then(|sum| sum.checked_add(reasoning))
    });
    Some(Usage {
        input: prompt - cached,
        cache_read: cached,
        cache_write: 0,
        output: if beside { completion } else { completion.saturating_sub(reasoning) },
        reasoning: if beside { reasoning } else { reasoning.min(completion) },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(wire: Value, expected: Option<(u64, u64, u64, u64)>) {
        let found = usage(&wire).map(|usage| {
            assert_eq!(usage.cache_write, 0);
            (usage.input, usage.cache_read, usage.output, usage.reasoning)
        });
        assert_eq!(found, expected, "{wire}");
    }

    #[test]
    fn buckets_are_disjoint() {
        check(json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}), Some((10, 0, 5, 0)));
        check(
            json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8},
                   "completion_tokens_details": {"reasoning_tokens": 3}}),
            Some((2, 8, 2, 3)),
        );
        check(
            json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}),
            Some((6, 4, 5, 0)),
        );
        check(
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 18,
                   "completion_tokens_details": {"reasoning_tokens": 3}}),
            Some((10, 0, 5, 3)),
        );
    }

    #[test]
    fn zero_is_a_count_and_absence_is_not_zero() {
        check(json!({"prompt_tokens": 0, "completion_tokens": 0}), Some((0, 0, 0, 0)));
        check(json!({"prompt_tokens": 10}), None);
        check(json!({"prompt_tokens": 10, "completion_tokens": null}), None);
        check(json!({"prompt_tokens": -1, "completion_tokens": 2}), None);
        check(json!("none"), None);
    }

    #[test]
    fn nonsense_never_goes_below_zero() {
        check(
            json!({"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9},
                   "completion_tokens_details": {"reasoning_tokens": 9}}),
            Some((0, 1, 0, 2)),
        );
        check(
            json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": 1,
                   "completion_tokens_details": {"reasoning_tokens": 1}}),
            Some((u64::MAX, 0, u64::MAX - 1, 1)),
        );
    }
}
