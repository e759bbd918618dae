//! Each provider against a server that speaks its wire.
#![allow(clippy::unwrap_used, reason = "a test whose helper cannot do its part has failed")]

mod bedrock;
mod credentials;
mod embeddings;
mod forwarding;
mod harness;
mod openai;
mod proxy;
mod settings;
