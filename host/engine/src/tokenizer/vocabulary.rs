//! What a model file says about its tokens, as plain data, and the checks that make it trustworthy.
//!
//! Owns the token kinds, the special identifiers and which tokens are control tokens or end a
//! generation. Does not read files (`metadata.rs`) and does not convert text (`bpe.rs`, `spm.rs`).

use super::{TokenId, TokenizerError};

/// How a token may come to be and what its text means. The numbers are those of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Structure (turns, roles, end of text). Only a template or the engine may place one.
    Control,
    /// Text that is always one token, wherever it stands.
    UserDefined,
    /// A reserved row.
    Unused,
    /// One raw byte, spelled `<0x41>`.
    Byte,
}

impl TokenKind {
    /// The kind for a number of `tokenizer.ggml.token_type`; `None` for a number that the format
    /// does not know. 0 ("undefined") is read as ordinary text, as writers use it.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// Which algorithm turns text into tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Algorithm {
    /// Byte-level byte-pair encoding (`gpt2` in the file).
    BytePair {
        /// The name of the splitting rules, as in `tokenizer.ggml.pre`.
        pre_tokenizer: String,
        /// `left right` pairs, best first.
        merges: Vec<String>,
    },
    /// Sentencepiece's score-driven merges (`llama` in the file).
    SentencePiece {
        /// One score a token; the highest-scoring adjacent pair merges first.
        scores: Vec<f32>,
        /// Put a space before every stretch of text, so that a first word looks like any other.
        add_space_prefix: bool,
    },
}

/// Identifiers with a role. Absent ones are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a sequence.
    pub beginning: Option<TokenId>,
    /// Ends a sequence.
    pub end: Option<TokenId>,
    /// Ends a turn.
    pub end_of_turn: Option<TokenId>,
    /// Ends a message that expects a tool's answer.
    pub end_of_message: Option<TokenId>,
    /// Stands for what cannot be spelled.
    pub unknown: Option<TokenId>,
    /// Further tokens after which nothing useful follows (code infilling's padding and file marks).
    pub other_ends: Vec<TokenId>,
}

/// A vocabulary as the model file gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// The text of each token, in the algorithm's own spelling; the index is the identifier.
    pub tokens: Vec<String>,
    /// The kind of each token; empty when the file has none.
    pub kinds: Vec<TokenKind>,
    /// The algorithm and its tables.
    pub algorithm: Algorithm,
    /// Identifiers with a role.
    pub special: SpecialTokens,
    /// Begin every sequence with the beginning token; `None` for the algorithm's own habit.
    pub add_beginning: Option<bool>,
    /// End every sequence with the end token; `None` for no.
    pub add_end: Option<bool>,
}

/// Texts by which control tokens that end a generation are known where the file does not say so.
const END_TEXTS: [&str; 20] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "</s>",
    "<｜end▁of▁sentence｜>",
];

impl Vocabulary {
    /// Checks everything that the algorithms rely on, and returns the kinds with one entry a token,
    /// every special identifier counted as control.
    ///
    /// # Errors
    /// Names the key and the first token that breaks a rule.
    pub(super) fn checked_kinds(&self) -> Result<Vec<TokenKind>, TokenizerError> {
        let size = self.tokens.len();
        if size == 0 {
            return Err(invalid("tokenizer.ggml.tokens", "has no entry".to_owned()));
        }
        if u32::try_from(size).is_err() {
            return Err(invalid(
                "tokenizer.ggml.tokens",
                format!("has {size} entries, more than 32-bit identifiers"),
            ));
        }
        let kinds_given = !self.kinds.is_empty();
        let mut kinds = if kinds_given { self.kinds.clone() } else { vec![TokenKind::Normal; size] };
        if kinds.len() != size {
            return Err(invalid(
                "tokenizer.ggml.token_type",
                format!("has {} entries for {size} tokens", kinds.len()),
            ));
        }
        let special = &self.special;
        let named = [
            ("tokenizer.ggml.bos_token_id", special.beginning),
            ("tokenizer.ggml.eos_token_id", special.end),
            ("tokenizer.ggml.eot_token_id", special.end_of_turn),
            ("tokenizer.ggml.eom_token_id", special.end_of_message),
            ("tokenizer.ggml.unknown_token_id", special.unknown),
        ];
        let others = special.other_ends.iter().map(|id| ("tokenizer.ggml.fim_*_token_id", Some(*id)));
        for (key, id) in named.into_iter().chain(others) {
            let Some(id) = id else { continue };
            let Some(kind) = kinds.get_mut(id as usize) else {
                return Err(invalid(key, format!("is {id}, outside the vocabulary of {size} tokens")));
            };
            // A file that lists kinds is believed where it calls such a token ordinary text: writers
            // fill unused roles with whatever row comes first.
            if *kind == TokenKind::UserDefined || (!kinds_given && *kind == TokenKind::Normal) {
                *kind = TokenKind::Control;
            }
        }
        if !kinds_given {
            for (token, kind) in self.tokens.iter().zip(&mut kinds) {
                if END_TEXTS.contains(&token.as_str()) {
                    *kind = TokenKind::Control;
                } else if byte_of_token(token).is_some() {
                    *kind = TokenKind::Byte;
                }
            }
        }
        for (index, (token, kind)) in self.tokens.iter().zip(&kinds).enumerate() {
            if *kind == TokenKind::Byte && byte_of_token(token).is_none() {
                return Err(invalid(
                    "tokenizer.ggml.tokens",
                    format!("entry {index} is a byte token but reads {token:?}, not `<0x00>` to `<0xFF>`"),
                ));
            }
        }
        Ok(kinds)
    }

    /// Marks the tokens after which a generation is over.
    ///
    /// Those that the file names always count. Known texts count too if the token is a control or
    /// user-defined one (an ordinary token that merely reads `</s>` is text), with two exceptions
    /// where a family uses such a text inside an answer.
    pub(super) fn ends_of_generation(&self, kinds: &[TokenKind]) -> Vec<bool> {
        let mut ends = vec![false; self.tokens.len()];
        let special = &self.special;
        let named = [special.end, special.end_of_turn, special.end_of_message];
        let declared: Vec<TokenId> =
            named.into_iter().flatten().chain(special.other_ends.iter().copied()).collect();
        let marked = |text: &str| {
            self.tokens.iter().zip(kinds).position(|(token, kind)| {
                matches!(kind, TokenKind::Control | TokenKind::UserDefined) && token == text
            })
        };
        for text in END_TEXTS {
            if let Some(index) = marked(text) {
                ends[index] = true;
            }
        }
        // Harmony and its relatives close every message of an answer with `<|end|>`.
        let messages_inside_answers = marked("<|return|>").is_some() && marked("<|call|>").is_some()
            || marked("<|flush|>").is_some() && marked("<|calls|>").is_some();
        if messages_inside_answers && let Some(index) = marked("<|end|>") {
            ends[index] = false;
        }
        // Gemma 4 ends with `<turn|>` and has `</s>` as markup.
        if marked("<turn|>").is_some()
            && let Some(index) = marked("</s>")
        {
            ends[index] = false;
        }
        for id in declared {
            if let Some(end) = ends.get_mut(id as usize) {
                *end = true;
            }
        }
        ends
    }
}

/// The byte that a `<0x41>` token stands for: two upper-case hexadecimal digits, nothing else.
pub(super) fn byte_of_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper_hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    if digits.len() != 2 || !digits.as_bytes().iter().all(upper_hexadecimal) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

pub(super) fn invalid(key: &str, problem: String) -> TokenizerError {
    TokenizerError::InvalidKey { key: key.to_owned(), problem }
}
