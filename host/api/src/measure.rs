//! What a backend may be asked beside an answer: how likely given continuations are, where texts lie in an
//! embedding space, how many tokens a request has.
//!
//! Each takes a [`crate::Permit`] like an answer does, since each sends the text.

use std::sync::Arc;

use crate::event::Usage;
use crate::request::ChatRequest;

/// The most continuations of one [`Choose`].
pub const CONTINUATIONS_MAX: usize = 64;
/// The most texts of one [`Embed`].
pub const EMBED_INPUTS_MAX: usize = 256;

/// How likely does the model hold each of these beginnings of its answer? Makes a small model a cheap
/// classifier: nothing is generated, and the conversation is computed once for all of them.
#[derive(Clone, Debug)]
pub struct Choose {
    /// The conversation. Its sampling parameters do not matter.
    pub request: Arc<ChatRequest>,
    /// The beginnings, 1 to [`CONTINUATIONS_MAX`], none empty.
    pub continuations: Vec<String>,
}

/// A continuation's likelihood in the model's raw distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Natural logarithm of the probability of all its tokens after the conversation.
    pub log_probability: f64,
    /// Its tokens, at least 1. The quotient is a mean that compares continuations of different lengths.
    pub tokens: u32,
}

/// The answer to [`Choose`].
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// One a continuation, in their order.
    pub likelihoods: Vec<Likelihood>,
    /// What it took; nothing was generated, so all of it is input.
    pub usage: Usage,
}

/// Where do these texts lie?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embed {
    /// 1 to [`EMBED_INPUTS_MAX`] texts, none empty.
    pub inputs: Vec<String>,
}

/// The answer to [`Embed`].
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One a text, in their order, all of one length and of Euclidean norm 1.
    pub vectors: Vec<Vec<f32>>,
    /// What it took.
    pub usage: Usage,
}
