//! Byte-level byte-pair encoding: the `tokenizers` crate's merge model behind our own splitting.
//!
//! Owns the byte alphabet and the tables' checks. The crate merges inside one word; it is given no
//! control token, so that no text, however it merges, becomes one, and no cache, since the crate's
//! lives in each thread for ever and would hold users' words beyond their request.

use std::collections::HashMap;
use std::ops::Range;

use tokenizers::Model as _;
use tokenizers::NormalizedString;
use tokenizers::models::bpe::{BPE, Vocab};

use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{TokenKind, invalid};
use super::{TokenId, TokenizerError};

/// Encodes text that contains no token to be recognised whole.
#[derive(Debug)]
pub(super) struct BytePairEncoder {
    rules: PreTokenizer,
    model: BPE,
    alphabet: [char; 256],
}

impl BytePairEncoder {
    /// Builds the merge tables.
    ///
    /// # Errors
    /// A malformed merge, or one whose parts or result are not in the vocabulary.
    pub(super) fn new(
        tokens: &[String],
        kinds: &[TokenKind],
        rules: PreTokenizer,
        merges: &[String],
    ) -> Result<Self, TokenizerError> {
        let mut vocabulary: HashMap<&str, (TokenId, TokenKind)> = HashMap::with_capacity(tokens.len());
        for ((token, kind), id) in tokens.iter().zip(kinds).zip(0..) {
            if token.is_empty() {
                continue;
            }
            if let Some((earlier, _)) = vocabulary.insert(token, (id, *kind)) {
                return Err(invalid(
                    "tokenizer.ggml.tokens",
                    format!("{token:?} has two identifiers, {earlier} and {id}"),
                ));
            }
        }
        let mut pairs = Vec::with_capacity(merges.len());
        let mut joined = String::new();
        for (index, merge) in merges.iter().enumerate() {
            let problem =
                |what: String| invalid("tokenizer.ggml.merges", format!("entry {index} ({merge:?}) {what}"));
            let (left, right) = split_merge(merge)
                .ok_or_else(|| problem("is not two parts with a space between".to_owned()))?;
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let mut reachable = true;
            for part in [left, right, &joined] {
                match vocabulary.get(part) {
                    Some((_, TokenKind::Control | TokenKind::Unknown)) => reachable = false,
                    Some(_) => {}
                    None => return Err(problem(format!("needs {part:?}, which is not in the vocabulary"))),
                }
            }
            if reachable {
                pairs.push((left.to_owned(), right.to_owned()));
            }
        }
        let spellable = vocabulary
            .iter()
            .filter(|(_, (_, kind))| !matches!(kind, TokenKind::Control | TokenKind::Unknown))
            .map(|(token, (id, _))| ((*token).to_owned(), *id));
        let model = BPE::builder()
            .vocab_and_merges(spellable.collect::<Vocab>(), pairs)
            .cache_capacity(0)
            .ignore_merges(rules.whole_words_first)
            .build()
            .map_err(crate_error)?;
        Ok(Self { rules, model, alphabet: byte_alphabet() })
    }

    /// Appends the tokens of `text`.
    ///
    /// A byte that the vocabulary has no letter for (SmolLM2 lacks some control characters) leaves
    /// no token, as in the family's own tokenizer.
    ///
    /// # Errors
    /// Only if the merge model fails, which its checked tables leave no reason for.
    pub(super) fn encode(&self, text: &str, output: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        if self.rules.composes && !text.is_ascii() {
            let mut normalized = NormalizedString::from(text);
            normalized.nfc();
            return self.encode_composed(normalized.get(), output);
        }
        self.encode_composed(text, output)
    }

    fn encode_composed(&self, text: &str, output: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        // Words repeat; each is merged once a call and copied from the output after that.
        let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
        let mut letters = String::new();
        for word in self.rules.split(text) {
            let word = &text[word];
            if let Some(earlier) = seen.get(word) {
                output.extend_from_within(earlier.clone());
                continue;
            }
            letters.clear();
            letters.extend(word.bytes().map(|byte| self.alphabet[usize::from(byte)]));
            let start = output.len();
            output.extend(self.model.tokenize(&letters).map_err(crate_error)?.iter().map(|token| token.id));
            seen.insert(word, start..output.len());
        }
        Ok(())
    }
}

/// The bytes that a token of a byte-level vocabulary stands for; a character outside the alphabet
/// (in a token that was added as plain text) stands for itself.
pub(super) fn bytes_of_letters(token: &str, bytes_by_letter: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match bytes_by_letter.get(&character) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The printable character that spells each byte: itself where it is printable Latin-1, otherwise
/// the next unused one from U+0100 on.
pub(super) fn byte_alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).expect("every code is below U+0200, where all are characters")
    })
}

/// The two parts of a merge: the separator is the first space that is not the first character.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    (!right.is_empty()).then_some((left, right))
}

fn crate_error(error: Box<dyn std::error::Error + Send + Sync>) -> TokenizerError {
    TokenizerError::BytePairModel { reason: error.to_string() }
}
