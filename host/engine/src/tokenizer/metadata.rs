//! Reading a [`Vocabulary`] out of a model file's metadata, with the format's own defaults.

use super::vocabulary::{Algorithm, SpecialTokens, TokenKind, Vocabulary, invalid};
use super::{TokenId, TokenizerError};
use crate::gguf::{Metadata, MetadataError, optional};

impl Vocabulary {
    /// The vocabulary in a model file's metadata.
    ///
    /// # Errors
    /// An unsupported algorithm, a missing or mistyped key, a token kind that the format does not
    /// know. A file that names no pre-tokenizer is refused: it was written before the name existed,
    /// and the rules that fit it cannot be told.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let mut special = SpecialTokens {
            beginning: id(metadata, "tokenizer.ggml.bos_token_id")?,
            end: id(metadata, "tokenizer.ggml.eos_token_id")?,
            end_of_turn: id(metadata, "tokenizer.ggml.eot_token_id")?,
            end_of_message: id(metadata, "tokenizer.ggml.eom_token_id")?,
            unknown: id(metadata, "tokenizer.ggml.unknown_token_id")?,
            other_ends: Vec::new(),
        };
        for key in ["fim_pad", "fim_rep", "fim_sep"] {
            special.other_ends.extend(id(metadata, &format!("tokenizer.ggml.{key}_token_id"))?);
        }
        let tokens = metadata.array_of_strings("tokenizer.ggml.tokens")?.to_vec();
        let kinds = kinds(metadata)?;
        let algorithm = match metadata.string("tokenizer.ggml.model")? {
            "gpt2" => Algorithm::BytePair {
                pre_tokenizer: optional(metadata.string("tokenizer.ggml.pre"))?
                    .ok_or(TokenizerError::NoPreTokenizer)?
                    .to_owned(),
                merges: metadata.array_of_strings("tokenizer.ggml.merges")?.to_vec(),
            },
            "llama" => {
                refuse_normalization(metadata)?;
                special.fill_sentencepiece_defaults(&kinds, tokens.len());
                Algorithm::SentencePiece {
                    scores: metadata.array_of_f32("tokenizer.ggml.scores")?.to_vec(),
                    add_space_prefix: flag(metadata, "tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
                }
            }
            name => return Err(TokenizerError::UnsupportedModel { name: name.to_owned() }),
        };
        Ok(Self {
            tokens,
            kinds,
            algorithm,
            special,
            add_beginning: flag(metadata, "tokenizer.ggml.add_bos_token")?,
            add_end: flag(metadata, "tokenizer.ggml.add_eos_token")?,
        })
    }
}

impl SpecialTokens {
    /// Sentencepiece files that name no roles use 0, 1 and 2; each counts only if its kind agrees.
    fn fill_sentencepiece_defaults(&mut self, kinds: &[TokenKind], size: usize) {
        let fits = |id: TokenId, kind: TokenKind| {
            ((id as usize) < size && kinds.get(id as usize).is_none_or(|found| *found == kind)).then_some(id)
        };
        self.unknown = self.unknown.or(fits(0, TokenKind::Unknown));
        self.beginning = self.beginning.or(fits(1, TokenKind::Control));
        self.end = self.end.or(fits(2, TokenKind::Control));
    }
}

fn id(metadata: &Metadata, key: &str) -> Result<Option<TokenId>, MetadataError> {
    optional(metadata.u32(key))
}

fn flag(metadata: &Metadata, key: &str) -> Result<Option<bool>, MetadataError> {
    optional(metadata.bool(key))
}

fn kinds(metadata: &Metadata) -> Result<Vec<TokenKind>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let numbers = optional(metadata.array_of_i32(KEY))?.unwrap_or_default();
    let kind = |(index, number): (usize, i32)| {
        TokenKind::from_number(number)
            .ok_or_else(|| invalid(KEY, format!("entry {index} is {number}, which is no token type")))
    };
    numbers.into_iter().enumerate().map(kind).collect()
}

/// Sentencepiece models may change text before they split it; those of language models do not.
fn refuse_normalization(metadata: &Metadata) -> Result<(), TokenizerError> {
    for key in ["tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.treat_whitespace_as_suffix"] {
        if flag(metadata, key)? == Some(true) {
            return Err(invalid(
                key,
                "is true, which is not supported with tokenizer model `llama`".to_owned(),
            ));
        }
    }
    let key = "tokenizer.ggml.precompiled_charsmap";
    if metadata.contains(key) {
        return Err(invalid(key, "is not supported with tokenizer model `llama`".to_owned()));
    }
    Ok(())
}
