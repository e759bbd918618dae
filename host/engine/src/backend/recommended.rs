//! The sampling parameters that a model file recommends for itself, by the keys that llama.cpp's converter writes.

use lockgate_api::Sampling;

use crate::gguf::{Metadata, Value};

/// Reads the recommendation. A value that makes no sense is passed over with a warning: it is advice, and requests
/// may say otherwise.
pub(super) fn recommended(metadata: &Metadata) -> Sampling {
    let number = |name: &str, low: f32, high: f32| {
        let key = format!("general.sampling.{name}");
        let value = match metadata.get(&key)? {
            Value::F32(value) => Some(*value),
            Value::F64(value) => Some(*value as f32),
            other => other.integer().map(|value| value as f32),
        };
        let usable = value.filter(|value| (low..=high).contains(value));
        if usable.is_none() {
            tracing::warn!(key, "the model file recommends a value out of range; it is ignored");
        }
        usable
    };
    Sampling {
        temperature: number("temp", 0.0, 2.0),
        // Writers spell "off" as 0 or −1.
        top_k: number("top_k", -1.0, 1e6).map(|count| count.max(0.0) as u32),
        top_p: number("top_p", f32::MIN_POSITIVE, 1.0),
        min_p: number("min_p", 0.0, 1.0),
        repetition_penalty: number("penalty_repeat", f32::MIN_POSITIVE, f32::MAX),
        ..Sampling::default()
    }
}
