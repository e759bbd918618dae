//! Text to tokens and back, as the model's own family does it.
//!
//! Owns the vocabulary, its special tokens and the two algorithms (byte-level BPE, sentencepiece).
//! One rule holds everywhere: text never becomes a control token. Only [`Tokenizer::encode_prompt`]
//! places control tokens, where a [`Prompt`] says that a template put them. Does not render
//! templates (`template/`), buffer partial characters or look for stop strings (the text stream).
//! Start with [`Tokenizer`].

mod bpe;
mod error;
mod metadata;
mod pre_tokenizer;
mod recognizer;
mod spm;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::ops::Range;

use crate::gguf::Metadata;
use bpe::BytePairEncoder;
pub use error::TokenizerError;
use pre_tokenizer::PreTokenizer;
pub(crate) use recognizer::Recognizer;
use spm::SentencePieceEncoder;
pub use vocabulary::{Algorithm, SpecialTokens, TokenKind, Vocabulary};

/// The row of a token in the model's vocabulary.
pub type TokenId = u32;

/// Whether the sequence's own beginning and end tokens are added, where the model has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// As the model file asks.
    AsModel,
    /// Neither.
    Omit,
}

/// A rendered prompt, with the places where the template put control tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The whole text, control tokens included.
    pub text: String,
    /// The control tokens, in order, with the bytes of `text` that each covers.
    pub control: Vec<(Range<usize>, TokenId)>,
}

/// Converts between text and tokens.
#[derive(Debug)]
pub struct Tokenizer {
    texts: Vec<String>,
    kinds: Vec<TokenKind>,
    /// The output bytes of all tokens end to end, and where each token's end.
    bytes: Vec<u8>,
    ends_bytes: Vec<usize>,
    ends_generation: Vec<bool>,
    encoder: Encoder,
    user_defined: Recognizer,
    control: Recognizer,
    beginning: Option<TokenId>,
    end: Option<TokenId>,
    add_beginning: bool,
    add_end: bool,
}

#[derive(Debug)]
enum Encoder {
    BytePair(Box<BytePairEncoder>),
    SentencePiece { encoder: Box<SentencePieceEncoder>, add_space_prefix: bool },
}

impl Tokenizer {
    /// The tokenizer of a model file.
    ///
    /// # Errors
    /// As [`Vocabulary::from_metadata`] and [`Tokenizer::new`].
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Self::new(Vocabulary::from_metadata(metadata)?)
    }

    /// Checks a vocabulary and builds its tables.
    ///
    /// # Errors
    /// Names the metadata key and what is wrong with it.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let kinds = vocabulary.checked_kinds()?;
        let ends_generation = vocabulary.ends_of_generation(&kinds);
        let Vocabulary { tokens: texts, algorithm, special, add_beginning, add_end, .. } = vocabulary;
        let (encoder, begins_by_habit) = match algorithm {
            Algorithm::BytePair { pre_tokenizer, merges } => {
                let rules = PreTokenizer::named(&pre_tokenizer)?;
                let begins_by_habit = rules.adds_beginning;
                let encoder = BytePairEncoder::new(&texts, &kinds, rules, &merges)?;
                (Encoder::BytePair(Box::new(encoder)), begins_by_habit)
            }
            Algorithm::SentencePiece { scores, add_space_prefix } => {
                let encoder = SentencePieceEncoder::new(&texts, &kinds, &scores, special.unknown)?;
                (Encoder::SentencePiece { encoder: Box::new(encoder), add_space_prefix }, true)
            }
        };
        let add_beginning = add_beginning.unwrap_or(begins_by_habit);
        let add_end = add_end.unwrap_or(false);
        for (wanted, id, flag, key) in [
            (add_beginning, special.beginning, "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"),
            (add_end, special.end, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id"),
        ] {
            if wanted && id.is_none() {
                return Err(vocabulary::invalid(
                    key,
                    format!("is missing, but `{flag}` asks for that token"),
                ));
            }
        }
        let of_kind = |wanted: TokenKind| {
            let tokens = texts.iter().zip(&kinds).zip(0..);
            tokens.filter(move |((_, kind), _)| **kind == wanted).map(|((text, _), id)| (id, text.as_str()))
        };
        let user_defined = Recognizer::new(of_kind(TokenKind::UserDefined))?;
        let control = Recognizer::new(of_kind(TokenKind::Control).chain(of_kind(TokenKind::Unknown)))?;
        let (bytes, ends_bytes) = output_bytes(&texts, &kinds, &encoder);
        Ok(Self {
            texts,
            kinds,
            bytes,
            ends_bytes,
            ends_generation,
            encoder,
            user_defined,
            control,
            beginning: special.beginning,
            end: special.end,
            add_beginning,
            add_end,
        })
    }

    /// The tokens of `text`. Control tokens are never recognised in it, user-defined ones always.
    ///
    /// # Errors
    /// A character that the vocabulary has no way to represent.
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>, TokenizerError> {
        let mut output = Vec::with_capacity(text.len() / 4 + 2);
        let (beginning, end) = match specials {
            Specials::AsModel => {
                (self.beginning.filter(|_| self.add_beginning), self.end.filter(|_| self.add_end))
            }
            Specials::Omit => (None, None),
        };
        output.extend(beginning);
        self.encode_text(text, &mut output)?;
        output.extend(end);
        Ok(output)
    }

    /// The tokens of a rendered prompt: control tokens exactly where it lists them. It begins with
    /// the beginning token, once, if the model asks for one; no end token is added, since the answer
    /// follows.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; also a list that does not fit the text or the vocabulary.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<TokenId>, TokenizerError> {
        let mut output = Vec::with_capacity(prompt.text.len() / 4 + 2);
        let starts_with = prompt.control.first().filter(|(range, _)| range.start == 0).map(|(_, id)| *id);
        output.extend(self.beginning.filter(|_| self.add_beginning && starts_with != self.beginning));
        let mut done = 0;
        for (range, id) in &prompt.control {
            self.check(*id)?;
            let text = prompt.text.get(done..range.start).filter(|_| range.end <= prompt.text.len());
            let Some(text) = text else {
                let problem = format!("control token {id} at {range:?} does not fit the text");
                return Err(vocabulary::invalid("prompt", problem));
            };
            self.encode_text(text, &mut output)?;
            output.push(*id);
            done = range.end;
        }
        let Some(rest) = prompt.text.get(done..) else {
            return Err(vocabulary::invalid("prompt", "a control token ends inside a character".to_owned()));
        };
        self.encode_text(rest, &mut output)?;
        Ok(output)
    }

    /// The bytes that a token adds to the output: none for a control or unknown token. A token may
    /// end inside a character.
    ///
    /// # Errors
    /// [`TokenizerError::InvalidToken`] outside the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        self.check(id)?;
        let index = id as usize;
        let start = if index == 0 { 0 } else { self.ends_bytes[index - 1] };
        Ok(&self.bytes[start..self.ends_bytes[index]])
    }

    /// A token's text as the vocabulary spells it, control tokens included; for listings.
    ///
    /// # Errors
    /// [`TokenizerError::InvalidToken`] outside the vocabulary.
    pub fn token_text(&self, id: TokenId) -> Result<&str, TokenizerError> {
        self.check(id)?;
        Ok(&self.texts[id as usize])
    }

    /// A token's kind.
    ///
    /// # Errors
    /// [`TokenizerError::InvalidToken`] outside the vocabulary.
    pub fn token_kind(&self, id: TokenId) -> Result<TokenKind, TokenizerError> {
        self.check(id)?;
        Ok(self.kinds[id as usize])
    }

    /// Whether the token is structure, not text. False outside the vocabulary.
    pub fn is_control(&self, id: TokenId) -> bool {
        matches!(self.kinds.get(id as usize), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// Whether a generation is over with this token. False outside the vocabulary.
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.ends_generation.get(id as usize).copied().unwrap_or(false)
    }

    /// Every token with which a generation is over, in ascending order.
    pub fn ends_of_generation(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.ends_generation.iter().zip(0..).filter(|(ends, _)| **ends).map(|(_, id)| id)
    }

    /// The text of a sequence: control tokens left out, incomplete characters replaced, and without
    /// the space that the encoder puts before a first word.
    ///
    /// # Errors
    /// [`TokenizerError::InvalidToken`] outside the vocabulary.
    pub fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(self.token_bytes(*id)?);
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = if self.adds_space_prefix() { text.strip_prefix(' ').unwrap_or(&text) } else { &text };
        Ok(text.to_owned())
    }

    /// The number of tokens. A model may have more output rows than that; they never stand for text.
    pub fn size(&self) -> usize {
        self.texts.len()
    }

    /// The token that begins a sequence.
    pub fn beginning(&self) -> Option<TokenId> {
        self.beginning
    }

    /// The token that ends a sequence.
    pub fn end(&self) -> Option<TokenId> {
        self.end
    }

    /// Whether a first word is encoded with a space before it, so that an answer's first token may
    /// begin with a space that nobody wrote.
    pub fn adds_space_prefix(&self) -> bool {
        matches!(self.encoder, Encoder::SentencePiece { add_space_prefix: true, .. })
    }

    /// Finds control tokens' texts, for the template's bookkeeping.
    pub(crate) fn control_texts(&self) -> &Recognizer {
        &self.control
    }

    fn check(&self, id: TokenId) -> Result<(), TokenizerError> {
        if (id as usize) < self.texts.len() {
            Ok(())
        } else {
            Err(TokenizerError::InvalidToken { id, size: self.texts.len() })
        }
    }

    fn encode_text(&self, text: &str, output: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let mut done = 0;
        for (range, id) in self.user_defined.find(text) {
            self.encode_plain(&text[done..range.start], output)?;
            output.push(id);
            done = range.end;
        }
        self.encode_plain(&text[done..], output)
    }

    fn encode_plain(&self, text: &str, output: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        match &self.encoder {
            Encoder::BytePair(encoder) => encoder.encode(text, output),
            Encoder::SentencePiece { encoder, add_space_prefix } => {
                let mut spelled = String::with_capacity(text.len() + text.len() / 2 + SPACE_BYTES);
                // Every stretch gets its own prefix, also after a token that was recognised whole:
                // that is how these models were trained.
                spelled.extend(add_space_prefix.then_some(spm::SPACE));
                spelled.extend(
                    text.chars().map(|character| if character == ' ' { spm::SPACE } else { character }),
                );
                encoder.encode(&spelled, output)
            }
        }
    }
}

const SPACE_BYTES: usize = spm::SPACE.len_utf8();

/// The output bytes of every token, end to end, and where each token's end.
fn output_bytes(texts: &[String], kinds: &[TokenKind], encoder: &Encoder) -> (Vec<u8>, Vec<usize>) {
    let letters = bpe::byte_alphabet().into_iter().zip(0..=u8::MAX).collect();
    let mut bytes = Vec::with_capacity(texts.iter().map(String::len).sum());
    let mut ends = Vec::with_capacity(texts.len());
    for (text, kind) in texts.iter().zip(kinds) {
        match (kind, encoder) {
            (TokenKind::Control | TokenKind::Unknown, _) => {}
            (TokenKind::Byte, _) => bytes.extend(vocabulary::byte_of_token(text)),
            (TokenKind::UserDefined, _) => bytes.extend_from_slice(text.as_bytes()),
            (TokenKind::Normal | TokenKind::Unused, Encoder::BytePair(_)) => {
                bytes.extend(bpe::bytes_of_letters(text, &letters));
            }
            (TokenKind::Normal | TokenKind::Unused, Encoder::SentencePiece { .. }) => {
                bytes.extend_from_slice(text.replace(spm::SPACE, " ").as_bytes());
            }
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}
