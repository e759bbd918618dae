//! What a client learns of an answer's next token. Owns no state, and does not choose it (`work::steered`).

use lockgate_api::{TokenLogprob, TopLogprob};

use super::forward::Fault;
use crate::sampler::Logprobs;
use crate::tokenizer::Tokenizer;

/// A sequence's next token.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) token: u32,
    /// Where log-probabilities are wanted and the token has text.
    pub(super) entry: Option<TokenLogprob>,
}

/// A token that was chosen, and what is told of it where log-probabilities are wanted.
pub(super) fn draw<L: FnOnce() -> Logprobs>(
    token: u32,
    logprobs: Option<L>,
    tokenizer: &Tokenizer,
) -> Result<Drawn, Fault> {
    let bytes = tokenizer.token_bytes(token).map_err(|error| Fault(error.to_string()))?;
    // A token without text has no place among the entries of the text.
    let wanted = logprobs.filter(|_| !bytes.is_empty());
    Ok(Drawn { token, entry: wanted.map(|logprobs| entry(tokenizer, token, logprobs())) })
}

/// What a client learns of a token and its rivals.
fn entry(tokenizer: &Tokenizer, token: u32, found: Logprobs) -> TokenLogprob {
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
    TokenLogprob {
        chosen: named(token, found.chosen),
        top: found.top.into_iter().map(|(token, logprob)| named(token, logprob)).collect(),
    }
}
