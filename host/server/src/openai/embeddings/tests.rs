use lockgate_api::Usage;
use serde_json::{Value, json};

use super::*;

fn body(format: VectorFormat) -> Value {
    let usage = Usage { input: 3, cache_read: 2, ..Usage::default() };
    let embedded = Embedded { vectors: vec![vec![0.6, -0.8], vec![1.0, 0.1]], usage };
    serde_json::from_slice(&embeddings_body(&embedded, "m", format)).expect("JSON")
}

#[test]
fn vectors_are_numbers_in_their_order() {
    let expected = json!({
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.6f32, -0.8f32]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.1f32]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    });
    let found = body(VectorFormat::Float);
    assert_eq!(found["data"][0]["embedding"][0].to_string(), "0.6", "no longer than the number needs");
    let close = |found: &Value, expected: &Value| {
        (found.as_f64().expect("a number") - expected.as_f64().expect("a number")).abs() < 1e-7
    };
    for entry in 0..2 {
        for place in 0..2 {
            let pointer = format!("/data/{entry}/embedding/{place}");
            assert!(close(
                found.pointer(&pointer).expect("there"),
                expected.pointer(&pointer).expect("there")
            ));
        }
        assert_eq!(found["data"][entry]["index"], expected["data"][entry]["index"]);
    }
    assert_eq!((&found["object"], &found["model"]), (&expected["object"], &expected["model"]));
    assert_eq!(found["usage"], expected["usage"]);
}

#[test]
fn base64_holds_the_bits() {
    let found = body(VectorFormat::Base64);
    let text = found["data"][1]["embedding"].as_str().expect("text");
    let bytes = STANDARD.decode(text).expect("base64");
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect();
    assert_eq!(values, [1.0, 0.1]);
}
