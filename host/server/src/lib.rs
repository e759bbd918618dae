//! HTTP: what clients speak, decoded into one request type and encoded from one event type.
//!
//! Decoding, encoding, the error table and the rules about hosts, origins and keys are pure functions;
//! `serve` and `connection` perform the I/O. Which target answers, labels and failover are the gateway's;
//! files, signals and configuration are the command line's.
//!
//! Start with [`serve()`] and [`AppState`]. A request's way is `handler` (checks, routes, headers), then
//! `chat` for completions; one API's wire format lives in one folder (`openai`).
#![forbid(unsafe_code)]

mod access;
mod answer;
mod body;
mod chat;
mod connection;
mod cors;
mod embeddings;
mod error;
mod exchange;
mod handler;
mod headers;
mod linger;
mod metrics;
mod openai;
mod options;
mod routes;
mod serve;
mod state;

pub use openai::decode_chat;
pub use options::{ServerOptions, UnsafeListen, ensure_safe_to_listen};
pub use serve::{ServeError, serve};
pub use state::{AppState, Readiness, Serving};
