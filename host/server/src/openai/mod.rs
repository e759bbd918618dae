//! OpenAI's chat completions and embeddings on the wire: decoding requests, encoding answers. Pure functions.
//!
//! `decode` turns a body into a `ChatRequest` and names what is wrong by its path; `chunks` writes a
//! stream's events as they come, `collected` a whole answer; `wire` holds the shapes that both share,
//! `embeddings` writes vectors.

mod chunks;
mod collected;
mod decode;
mod embeddings;
mod models;
mod wire;

pub(crate) use chunks::ChunkEncoder;
pub(crate) use collected::Collected;
pub use decode::decode_chat;
pub(crate) use decode::{Decoded, EmbeddingsRequest, decode, decode_embeddings};
pub(crate) use embeddings::embeddings_body;
pub(crate) use models::{model_body, models_body};
pub(crate) use wire::{ResponseId, error_body};
