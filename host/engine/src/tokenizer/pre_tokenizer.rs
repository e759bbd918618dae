//! Splitting text into the words inside which byte pairs merge.
//!
//! Owns the named rules, exactly as the families' own tokenizers apply them: the Unicode
//! normalization, then one or more passes, each of which splits every piece of the pass before.
//! A name that is not in the table is refused: rules that are nearly right give nearly right tokens.
//!
//! The families write their rules as backtracking expressions whose only look-ahead is
//! `\s+(?!\S)`. Here it is one arithmetic step after a linear-time match (see [`Pass::Expression`]),
//! so that no input, however long its runs, costs more than one look at each byte.

use std::ops::Range;

use regex::Regex;

use super::TokenizerError;

/// The rules of one pre-tokenizer, compiled.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// Compose characters (Unicode's NFC) before anything else.
    pub(super) composes: bool,
    /// A word that is itself a token is that token, whatever the merges say.
    pub(super) whole_words_first: bool,
    /// Sequences begin with the beginning token unless the file says otherwise.
    pub(super) adds_beginning: bool,
    passes: Vec<Pass>,
}

#[derive(Debug)]
enum Pass {
    /// Every numeric character alone.
    Digits,
    /// The matches, and whatever lies between them.
    Expression {
        expression: Regex,
        /// Whether a run of white space that ends in a line break can come from `\s+`; where the
        /// family has a rule of its own for line breaks it cannot, and is left whole.
        newline_is_space: bool,
    },
}

/// Contractions as GPT-2 splits them, then words, numbers and the rest, each with one leading space.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Contractions in any case, any one separator before a word, numbers by threes, line breaks apart.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// As Llama 3, numbers by single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

/// One row of the table of names.
struct Rules {
    names: &'static [&'static str],
    digits_alone: bool,
    expression: &'static str,
    newline_is_space: bool,
    composes: bool,
    whole_words_first: bool,
    adds_beginning: bool,
}

const PLAIN: Rules = Rules {
    names: &[],
    digits_alone: false,
    expression: GPT2,
    newline_is_space: true,
    composes: false,
    whole_words_first: false,
    adds_beginning: false,
};

const TABLE: &[Rules] = &[
    Rules { names: &["gpt-2", "phi-2"], ..PLAIN },
    Rules { names: &["smollm", "starcoder"], digits_alone: true, ..PLAIN },
    Rules {
        names: &["llama-bpe", "llama3", "llama-v3"],
        expression: LLAMA3,
        newline_is_space: false,
        whole_words_first: true,
        adds_beginning: true,
        ..PLAIN
    },
    Rules { names: &["smaug-bpe"], expression: LLAMA3, newline_is_space: false, ..PLAIN },
    Rules {
        names: &["qwen2", "deepseek-r1-qwen"],
        expression: QWEN2,
        newline_is_space: false,
        composes: true,
        ..PLAIN
    },
];

impl PreTokenizer {
    /// The rules called `name` in `tokenizer.ggml.pre`.
    ///
    /// # Errors
    /// [`TokenizerError::UnsupportedPreTokenizer`] for a name that is not in the table.
    pub(super) fn named(name: &str) -> Result<Self, TokenizerError> {
        let Some(rules) = TABLE.iter().find(|rules| rules.names.contains(&name)) else {
            let known: Vec<&str> = TABLE.iter().flat_map(|rules| rules.names.iter().copied()).collect();
            return Err(TokenizerError::UnsupportedPreTokenizer {
                name: name.to_owned(),
                supported: known.join(", "),
            });
        };
        let expression = Regex::new(rules.expression)
            .map_err(|error| TokenizerError::BytePairModel { reason: error.to_string() })?;
        let mut passes = Vec::with_capacity(2);
        if rules.digits_alone {
            passes.push(Pass::Digits);
        }
        passes.push(Pass::Expression { expression, newline_is_space: rules.newline_is_space });
        Ok(Self {
            composes: rules.composes,
            whole_words_first: rules.whole_words_first,
            adds_beginning: rules.adds_beginning,
            passes,
        })
    }

    /// The words of `text`, in order and without gaps.
    pub(super) fn split(&self, text: &str) -> Vec<Range<usize>> {
        let mut pieces: Vec<Range<usize>> = Vec::from_iter((!text.is_empty()).then_some(0..text.len()));
        for pass in &self.passes {
            let mut next = Vec::with_capacity(pieces.len() * 2);
            for piece in pieces {
                pass.split(&text[piece.clone()], piece.start, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

impl Pass {
    /// Appends the parts of `text`, which begins at `offset` of the whole.
    fn split(&self, text: &str, offset: usize, parts: &mut Vec<Range<usize>>) {
        let mut done = 0;
        let mut push = |range: Range<usize>| {
            if range.start > done {
                parts.push(offset + done..offset + range.start);
            }
            if range.end > range.start {
                parts.push(offset + range.start..offset + range.end);
            }
            done = range.end;
        };
        match self {
            Self::Digits => {
                for (start, character) in text.char_indices() {
                    if character.is_numeric() {
                        push(start..start + character.len_utf8());
                    }
                }
            }
            Self::Expression { expression, newline_is_space } => {
                let mut from = 0;
                while let Some(found) = expression.find_at(text, from) {
                    let end = found.end()
                        - given_back(&text[found.range()], found.end() == text.len(), *newline_is_space);
                    push(found.start()..end);
                    from = end;
                }
            }
        }
        push(text.len()..text.len());
    }
}

/// How many bytes at the end of a match belong to the next word.
///
/// `\s+(?!\S)|\s+` takes a whole run of white space at the end of the text, but leaves its last
/// character to a word that follows, unless that is the only one.
fn given_back(matched: &str, at_end: bool, newline_is_space: bool) -> usize {
    let Some(last) = matched.chars().next_back() else { return 0 };
    if at_end || !last.is_whitespace() || (!newline_is_space && matches!(last, '\r' | '\n')) {
        return 0;
    }
    if last.len_utf8() == matched.len() { 0 } else { last.len_utf8() }
}
