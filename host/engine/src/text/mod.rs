//! The one text path: bytes of tokens to the text that a client sees, streamed or not.
//!
//! Only whole UTF-8 characters leave; an incomplete one waits for its next token. Text that may be the start of a
//! stop string waits until it is decided; a stop string and everything after it is never shown. Log-probability
//! entries leave with the text in which their token begins. Does not know tokens, sequences or why an answer
//! ends, except by a stop string. Start at [`TextStream`].
//!
//! Bytes that are no UTF-8 become U+FFFD. A character that is incomplete when the answer ends is left out of the
//! text (its tokens' entries remain): half a character is no text, and what was cut is told by the finish reason.

mod stop;
mod utf8;

use std::collections::VecDeque;

use lockgate_api::TokenLogprob;

use stop::StopMatcher;
use utf8::Assembler;

/// Text that is ready to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Whole characters; may be empty.
    pub text: String,
    /// The entries of the tokens that begin in this text, where log-probabilities are wanted.
    pub logprobs: Vec<TokenLogprob>,
}

impl Piece {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.is_empty()
    }
}

/// The text of one answer as it is made.
#[derive(Clone, Debug)]
pub struct TextStream {
    assembler: Assembler,
    matcher: StopMatcher,
    /// Whole characters that may be the start of a stop string.
    held: String,
    /// Bytes of text shown so far.
    shown: usize,
    /// Entries that wait, each with the place in the text where its token begins.
    entries: VecDeque<(usize, TokenLogprob)>,
    stopped: bool,
    drop_first_space: bool,
}

impl TextStream {
    /// A stream that ends before any of `stops`; empty ones are passed over. With `drop_first_space`, a space at
    /// the very beginning is left out: some tokenizers put one before every first word.
    pub fn new<'a>(stops: impl IntoIterator<Item = &'a str>, drop_first_space: bool) -> Self {
        Self {
            assembler: Assembler::default(),
            matcher: StopMatcher::new(stops),
            held: String::new(),
            shown: 0,
            entries: VecDeque::new(),
            stopped: false,
            drop_first_space,
        }
    }

    /// Takes the bytes of one token, with its entry where one is wanted, and returns what can be shown now.
    /// After a stop string there is nothing more.
    pub fn push(&mut self, whole: &[u8], entry: Option<TokenLogprob>) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let decided = self.held.len();
        let begin = self.shown + decided;
        self.entries.extend(entry.map(|entry| (begin, entry)));
        let bytes = match whole.strip_prefix(b" ") {
            Some(rest) if self.drop_first_space => rest,
            _ => whole,
        };
        self.drop_first_space &= whole.is_empty();
        self.assembler.push(bytes, &mut self.held);
        for place in decided..self.held.len() {
            if let Some(length) = self.matcher.push(self.held.as_bytes()[place]) {
                self.stopped = true;
                self.held.truncate(place + 1 - length);
                let piece = self.show(self.held.len());
                self.entries.clear();
                return piece;
            }
        }
        self.show(self.held.len() - self.matcher.pending())
    }

    /// Whether a stop string has ended the answer.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Ends the answer: what was held is shown after all, for no stop string came of it.
    pub fn finish(mut self) -> Piece {
        let mut piece = self.show(self.held.len());
        piece.logprobs.extend(self.entries.drain(..).map(|(_, entry)| entry));
        piece
    }

    /// Takes the first `length` held bytes out, with the entries of the tokens that begin in them.
    fn show(&mut self, length: usize) -> Piece {
        let rest = self.held.split_off(length);
        let text = std::mem::replace(&mut self.held, rest);
        self.shown += length;
        let due = self.entries.iter().take_while(|(begin, _)| *begin < self.shown).count();
        Piece { text, logprobs: self.entries.drain(..due).map(|(_, entry)| entry).collect() }
    }
}

#[cfg(test)]
mod tests;
