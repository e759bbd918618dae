//! Finding tokens that are recognised whole in text: leftmost first, and the longest there.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::vocabulary::invalid;
use super::{TokenId, TokenizerError};

/// A set of token texts to look for.
#[derive(Debug)]
pub(crate) struct Recognizer {
    automaton: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

impl Recognizer {
    /// Looks for the given texts; empty ones are never found.
    ///
    /// # Errors
    /// More text than the automaton can number.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (TokenId, &'a str)>) -> Result<Self, TokenizerError> {
        let (ids, texts): (Vec<TokenId>, Vec<&str>) = tokens.filter(|(_, text)| !text.is_empty()).unzip();
        if ids.is_empty() {
            return Ok(Self { automaton: None, ids });
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts)
            .map_err(|error| invalid("tokenizer.ggml.tokens", error.to_string()))?;
        Ok(Self { automaton: Some(automaton), ids })
    }

    /// The tokens in `text`, in order, not overlapping, with the bytes each covers.
    pub(crate) fn find<'s>(&'s self, text: &'s str) -> impl Iterator<Item = (Range<usize>, TokenId)> + 's {
        self.automaton
            .iter()
            .flat_map(move |automaton| automaton.find_iter(text))
            .map(|found| (found.range(), self.ids[found.pattern().as_usize()]))
    }
}
