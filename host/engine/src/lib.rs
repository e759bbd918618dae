//! A model on this machine: from the bytes of a file to logits and text.
//!
//! Read in this order: [`gguf`] (the file, checked before use); [`tokenizer`] and [`template`] (a conversation to
//! tokens); [`model`] (weights and the forward pass), [`arch`] (one file a family), `processor` (what computes them), [`adapter`] (low-rank additions to
//! a model's weights), [`kv`] (what a model remembers of its sequences); [`scheduler`] (what the next forward pass
//! computes); [`sampler`] (logits to a token); [`text`] (tokens' bytes to what a client sees); `runner` (the threads
//! that do all this, step after step); [`backend`] (requests in, events out: what the rest of the host uses);
//! [`mod@bench`] (the work that benchmarks measure).
//!
//! The crate knows nothing of HTTP, WebAssembly or clouds. It does no I/O beyond reading the files of models and
//! adapters that it is given, reads no environment, and given a seed it is deterministic: the clock paces steps and dates
//! templates that ask, nothing else.

#![forbid(unsafe_code)]

pub mod adapter;
pub mod arch;
pub mod backend;
pub mod bench;
pub mod gguf;
pub mod kv;
pub mod model;
mod processor;
mod runner;
pub mod sampler;
pub mod scheduler;
pub mod template;
pub mod text;
pub mod tokenizer;
