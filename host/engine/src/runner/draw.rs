//! A row of logits to an answer's next token, and to what a client learns of it. Owns no state.

use lockgate_api::{TokenLogprob, TopLogprob};

use super::forward::Fault;
use crate::sampler::{Sampler, Scratch, logprobs};
use crate::tokenizer::Tokenizer;

/// A sequence's next token.
pub(super) struct Drawn {
    pub(super) token: u32,
    /// Where log-probabilities are wanted and the token has text.
    pub(super) entry: Option<TokenLogprob>,
}

/// Draws a sequence's next token from its logits.
pub(super) fn draw(
    sampler: &mut Sampler,
    row: &[f32],
    logprobs: Option<usize>,
    tokenizer: &Tokenizer,
    scratch: &mut Scratch,
) -> Result<Drawn, Fault> {
    let Some(logits) = row.get(..tokenizer.size()) else {
        return Err(Fault("it has fewer output rows than its tokenizer has tokens".to_owned()));
    };
    let token = sampler.sample(logits, scratch).map_err(|error| Fault(error.to_string()))?;
    let bytes = tokenizer.token_bytes(token).map_err(|error| Fault(error.to_string()))?;
    // A token without text has no place among the entries of the text.
    let wanted = logprobs.filter(|_| !bytes.is_empty());
    Ok(Drawn { token, entry: wanted.map(|count| entry(tokenizer, logits, token, count, scratch)) })
}

/// What a client learns of a token and its rivals.
fn entry(
    tokenizer: &Tokenizer,
    logits: &[f32],
    token: u32,
    count: usize,
    scratch: &mut Scratch,
) -> TokenLogprob {
    let named = |token: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        match bytes.is_empty() {
            // A token without text goes by its name in the vocabulary.
            true => TopLogprob {
                token: tokenizer.token_text(token).unwrap_or_default().to_owned(),
                bytes: None,
                logprob,
            },
            false => TopLogprob {
                token: String::from_utf8_lossy(bytes).into_owned(),
                bytes: Some(bytes.to_vec()),
                logprob,
            },
        }
    };
    let found = logprobs(logits, token, count, scratch);
    TokenLogprob {
        chosen: named(token, found.chosen),
        top: found.top.into_iter().map(|(token, logprob)| named(token, logprob)).collect(),
    }
}
