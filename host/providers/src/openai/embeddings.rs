//! `POST /embeddings`: a pure translation both ways.
//!
//! Numbers are asked for as numbers: not every server knows base64. Vectors are brought to length 1 here, since few
//! servers say whether theirs are.

use lockgate_api::{Embedded, ErrorKind, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::AnswerProblem;

/// The most bytes of an answer: all texts that may be asked for at once, in vectors of thousands of numbers.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
}

/// The body that asks `model` for vectors of these texts.
pub(super) fn body(inputs: &[String], model: &str) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Body { model, input: inputs, encoding_format: "float" })
}

/// An answer's body.
#[derive(Debug)]
pub(super) struct Read {
    /// Where the server says that it passes the request on.
    pub(super) forwards_to: Option<String>,
    pub(super) embedded: Result<Embedded, AnswerProblem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    data: Vec<Entry>,
    usage: Option<Counts>,
    error: Option<Value>,
    remote_host: Option<String>,
    remote_model: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    /// Where it is left out, the order counts.
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
}

/// Reads the vectors of `count` texts, whatever order they come in.
pub(super) fn read(body: &[u8], count: usize) -> Read {
    let broken = |what: String| AnswerProblem::Broken(ErrorKind::Upstream, what);
    // An object: a list would be taken for its fields in their order.
    let wire = body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice::<Wire>(body));
    let wire = match wire {
        Some(Ok(wire)) => wire,
        _ => {
            let embedded = Err(broken("its answer is not the JSON of embeddings".to_owned()));
            return Read { forwards_to: None, embedded };
        }
    };
    let forwards_to =
        [wire.remote_host, wire.remote_model].into_iter().flatten().find(|name| !name.is_empty());
    let embedded = match wire.error.filter(|error| !error.is_null()) {
        Some(error) => Err(AnswerProblem::Said(serde_json::json!({ "error": error }))),
        None => vectors(wire.data, count).map_err(broken).map(|vectors| {
            let input = wire.usage.map_or(0, |counts| counts.prompt_tokens);
            Embedded { vectors, usage: Usage { input, ..Usage::default() } }
        }),
    };
    Read { forwards_to, embedded }
}

/// The vectors in the order of their texts.
fn vectors(data: Vec<Entry>, count: usize) -> Result<Vec<Vec<f32>>, String> {
    if data.len() != count {
        return Err(format!("it sent {} vectors for {count} texts", data.len()));
    }
    let size = data.first().map_or(0, |entry| entry.embedding.len());
    let mut vectors = vec![Vec::new(); count];
    for (place, Entry { index, embedding }) in data.into_iter().enumerate() {
        let index = index.unwrap_or(place);
        if embedding.len() != size {
            return Err(format!("its vectors have {size} and {} numbers", embedding.len()));
        }
        match vectors.get_mut(index) {
            Some(vector) if vector.is_empty() => *vector = unit(embedding)?,
            _ => {
                return Err(format!(
                    "it sent a vector for text {index} of {count} that is none or came twice"
                ));
            }
        }
    }
    Ok(vectors)
}

/// The vector of length 1 in this direction.
fn unit(mut vector: Vec<f32>) -> Result<Vec<f32>, String> {
    let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err("it sent a vector without a direction".to_owned());
    }
    // One that has this length already keeps its bits.
    if (norm - 1.0).abs() > 1e-6 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
    Ok(vector)
}

#[cfg(test)]
mod tests;
