//! The answer of `POST /v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockgate_api::Embedded;
use serde::{Serialize, Serializer};

use super::decode::VectorFormat;
use super::wire::to_json;

#[derive(Serialize)]
struct EmbeddingsBody<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: EmbeddingsUsage,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

struct Vector<'a>(&'a [f32], VectorFormat);

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            VectorFormat::Float => self.0.serialize(serializer),
            VectorFormat::Base64 => {
                let bytes: Vec<u8> = self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

#[derive(Serialize)]
struct EmbeddingsUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The vectors, as the target named `model` made them.
pub(crate) fn embeddings_body(embedded: &Embedded, model: &str, format: VectorFormat) -> Vec<u8> {
    let data = embedded.vectors.iter().enumerate();
    let data =
        data.map(|(index, vector)| Entry { object: "embedding", index, embedding: Vector(vector, format) });
    let tokens = embedded.usage.prompt_total();
    let usage = EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens };
    to_json(&EmbeddingsBody { object: "list", data: data.collect(), model, usage })
}

#[cfg(test)]
mod tests;
