//! What comes of a measurement's rows: sums of log-probabilities, or means of hidden states; and who waits for it.
//!
//! Rows arrive in the order of the tokens whatever the chunks are, and each sum has one order, so results have the
//! same bits however they were computed.

use lockgate_api::{BackendError, Chosen, Embedded, Likelihood, Usage};

use super::super::forward::Fault;
use super::super::reply::Writer;
use super::stages::{Kind, Run};
use crate::sampler::{Distribution, Scratch};

/// The sums so far.
pub(super) enum Outcome {
    Choice(Choice),
    Vectors(Vectors),
}

/// Of the continuations of a prompt.
pub(super) struct Choice {
    /// Their first tokens.
    first: Vec<u32>,
    found: Vec<Likelihood>,
    prompt_tokens: usize,
    writer: Writer<Chosen>,
}

/// Of texts to embed.
pub(super) struct Vectors {
    /// One a text that is being computed: the sum of its states so far.
    sums: Vec<Vec<f64>>,
    found: Vec<Vec<f32>>,
    tokens: u64,
    writer: Writer<Embedded>,
}

impl Outcome {
    /// Nothing yet, of these continuations, none empty.
    pub(super) fn choice(prompt_tokens: usize, continuations: &[Vec<u32>], writer: Writer<Chosen>) -> Self {
        let first = continuations.iter().filter_map(|tokens| tokens.first().copied()).collect();
        // Counts of tokens are below the context.
        let none = |tokens: &Vec<u32>| Likelihood { log_probability: 0.0, tokens: tokens.len() as u32 };
        let found = continuations.iter().map(none).collect();
        Self::Choice(Choice { first, found, prompt_tokens, writer })
    }

    /// Nothing yet, of these texts.
    pub(super) fn vectors(texts: &[Vec<u32>], writer: Writer<Embedded>) -> Self {
        let tokens = texts.iter().map(|tokens| tokens.len() as u64).sum();
        let (sums, found) = (vec![Vec::new(); texts.len()], vec![Vec::new(); texts.len()]);
        Self::Vectors(Vectors { sums, found, tokens, writer })
    }

    /// Adds the row of the `index`th token of `run`. `vocabulary` is the number of logits that count.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        run: &Run,
        index: usize,
        row: &[f32],
        vocabulary: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Fault> {
        match self {
            Self::Choice(choice) => {
                let Some(logits) = row.get(..vocabulary) else {
                    return Err(Fault("it has fewer output rows than its tokenizer has tokens".to_owned()));
                };
                let distribution =
                    Distribution::of(logits, scratch).map_err(|error| Fault(error.to_string()))?;
                match kind {
                    Kind::Prompt => {
                        for (likelihood, &token) in choice.found.iter_mut().zip(&choice.first) {
                            likelihood.log_probability += distribution.log_probability(token);
                        }
                    }
                    Kind::Branches | Kind::Texts => {
                        choice.found[run.item].log_probability +=
                            distribution.log_probability(run.tokens[index + 1]);
                    }
                }
            }
            Self::Vectors(Vectors { sums, found, .. }) => {
                let sum = &mut sums[run.item];
                sum.resize(row.len(), 0.0);
                sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
                if index + 1 == run.computed {
                    found[run.item] = unit(&std::mem::take(sum))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) {
        match self {
            Self::Choice(Choice { found, prompt_tokens, writer, .. }) => {
                let continued: u64 = found.iter().map(|likelihood| u64::from(likelihood.tokens)).sum();
                let usage = Usage { input: prompt_tokens as u64 + continued, ..Usage::default() };
                writer.answer(Chosen { likelihoods: found, usage });
            }
            Self::Vectors(Vectors { found, tokens, writer, .. }) => {
                let usage = Usage { input: tokens, ..Usage::default() };
                writer.answer(Embedded { vectors: found, usage });
            }
        }
    }

    pub(super) fn fail(self, error: BackendError) {
        match self {
            Self::Choice(choice) => choice.writer.fail(error),
            Self::Vectors(vectors) => vectors.writer.fail(error),
        }
    }

    pub(super) fn abandoned(&self) -> bool {
        match self {
            Self::Choice(choice) => choice.writer.abandoned(),
            Self::Vectors(vectors) => vectors.writer.abandoned(),
        }
    }
}

/// The vector of norm 1 in the direction of `sum`, which is the mean's as well.
fn unit(sum: &[f64]) -> Result<Vec<f32>, Fault> {
    let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(Fault("a text's hidden states have no direction".to_owned()));
    }
    Ok(sum.iter().map(|value| (value / norm) as f32).collect())
}
