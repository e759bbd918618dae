//! Why a tokenizer could not be built, or an identifier or text not be converted.

use super::TokenId;
use crate::gguf::MetadataError;

/// Failures of building or using a [`Tokenizer`](super::Tokenizer).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TokenizerError {
    /// A metadata key is missing or holds another type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The file does not say how its text is split into words.
    #[error(
        "`tokenizer.ggml.pre` is missing: the file does not say how text is split before merging; \
         convert the model again with a current tool"
    )]
    NoPreTokenizer,
    /// A metadata key holds something that it must not.
    #[error("`{key}`: {problem}")]
    InvalidKey {
        /// The metadata key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// `tokenizer.ggml.model` names an algorithm that is not built in.
    #[error("tokenizer model `{name}` is not supported (supported: gpt2, llama)")]
    UnsupportedModel {
        /// The name in the file.
        name: String,
    },
    /// `tokenizer.ggml.pre` names splitting rules that are not built in. Guessing would give the
    /// model tokens that it was not trained on.
    #[error("pre-tokenizer `{name}` is not supported (supported: {supported})")]
    UnsupportedPreTokenizer {
        /// The name in the file.
        name: String,
        /// Every name that is built in.
        supported: String,
    },
    /// An identifier outside the vocabulary.
    #[error("token {id} is outside the vocabulary of {size} tokens")]
    InvalidToken {
        /// The identifier.
        id: TokenId,
        /// The number of tokens.
        size: usize,
    },
    /// A character that the vocabulary can spell neither as a piece nor as bytes, nor as unknown.
    #[error("the vocabulary cannot represent {character:?} and has no unknown token")]
    Unrepresentable {
        /// The character.
        character: char,
    },
    /// The merge model of the `tokenizers` crate refused the tables or the text.
    #[error("byte-pair model: {reason}")]
    BytePairModel {
        /// The crate's own words.
        reason: String,
    },
}
