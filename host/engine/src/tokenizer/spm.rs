//! Sentencepiece's byte-pair model: the adjacent pair whose joined text scores highest merges first.
//!
//! ```text
//! symbols = characters of the text, spaces written as U+2581
//! queue   = every adjacent pair whose joined text is a piece, best score first, then leftmost
//! while queue: take the best pair; skip it if either side has changed since; join; queue its new pairs
//! output  = each symbol's piece, or the bytes of a symbol that is none
//! ```
//! The queue makes it n log n; a symbol never outgrows the longest piece. Control tokens and byte
//! tokens are not pieces here, so text never merges into one.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::vocabulary::{TokenKind, byte_of_token, invalid};
use super::{TokenId, TokenizerError};

/// How the model spells a space.
pub(super) const SPACE: char = '\u{2581}';

/// Encodes text that contains no token to be recognised whole.
#[derive(Debug)]
pub(super) struct SentencePieceEncoder {
    pieces: HashMap<Box<str>, Piece>,
    bytes: [Option<TokenId>; 256],
    unknown: Option<TokenId>,
    piece_bytes_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    id: TokenId,
    score: f32,
    /// Merges pass through it, but the output names its parts.
    unused: bool,
}

/// A stretch of the text in a doubly linked list; `bytes` 0 marks one that was joined to its left.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    bytes: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair that may merge; `bytes` tells whether it is still the pair that was queued.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    bytes: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SentencePieceEncoder {
    /// Builds the table of pieces.
    ///
    /// # Errors
    /// As many scores as tokens are needed, none of them not-a-number, and no piece twice.
    pub(super) fn new(
        tokens: &[String],
        kinds: &[TokenKind],
        scores: &[f32],
        unknown: Option<TokenId>,
    ) -> Result<Self, TokenizerError> {
        if scores.len() != tokens.len() {
            let problem = format!("has {} entries for {} tokens", scores.len(), tokens.len());
            return Err(invalid("tokenizer.ggml.scores", problem));
        }
        let mut encoder = Self {
            pieces: HashMap::with_capacity(tokens.len()),
            bytes: [None; 256],
            unknown,
            piece_bytes_max: 0,
        };
        for (((token, kind), score), id) in tokens.iter().zip(kinds).zip(scores).zip(0..) {
            match kind {
                TokenKind::Byte => {
                    if let Some(byte) = byte_of_token(token) {
                        encoder.bytes[usize::from(byte)] = Some(id);
                    }
                }
                TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused if !token.is_empty() => {
                    if score.is_nan() {
                        return Err(invalid("tokenizer.ggml.scores", format!("entry {id} is not a number")));
                    }
                    // `0.0` and `-0.0` are one score.
                    let piece = Piece { id, score: *score + 0.0, unused: *kind == TokenKind::Unused };
                    if let Some(earlier) = encoder.pieces.insert(token.as_str().into(), piece) {
                        let problem = format!("{token:?} has two identifiers, {} and {id}", earlier.id);
                        return Err(invalid("tokenizer.ggml.tokens", problem));
                    }
                    encoder.piece_bytes_max = encoder.piece_bytes_max.max(token.len());
                }
                _ => {}
            }
        }
        Ok(encoder)
    }

    /// Appends the tokens of `text`, in which spaces are already written as [`SPACE`].
    ///
    /// # Errors
    /// [`TokenizerError::Unrepresentable`] for a character that is no piece, where the vocabulary
    /// lacks one of its bytes and an unknown token.
    pub(super) fn encode(&self, text: &str, output: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let mut merging = Merging::new(self, text);
        merging.run();
        let mut unknown_before = false;
        let mut at = if text.is_empty() { None } else { Some(0) };
        while let Some(index) = at {
            let symbol = merging.symbols[index];
            merging.emit(symbol.start, symbol.bytes, &mut unknown_before, output)?;
            at = symbol.next;
        }
        Ok(())
    }
}

/// One text's symbols while they merge.
struct Merging<'a> {
    encoder: &'a SentencePieceEncoder,
    text: &'a str,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Candidate>,
    /// Where each unused piece that was formed splits: (start, bytes) to the bytes of its left part.
    splits: HashMap<(usize, usize), usize>,
}

impl<'a> Merging<'a> {
    fn new(encoder: &'a SentencePieceEncoder, text: &'a str) -> Self {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                bytes: character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        Self { encoder, text, symbols, queue: BinaryHeap::new(), splits: HashMap::new() }
    }

    fn run(&mut self) {
        for left in 1..self.symbols.len() {
            self.consider(Some(left - 1), Some(left));
        }
        while let Some(Candidate { left, right, bytes, .. }) = self.queue.pop() {
            let (left_bytes, right_bytes) = (self.symbols[left].bytes, self.symbols[right].bytes);
            if left_bytes == 0 || right_bytes == 0 || left_bytes + right_bytes != bytes {
                continue;
            }
            let start = self.symbols[left].start;
            if self.encoder.pieces.get(&self.text[start..start + bytes]).is_some_and(|piece| piece.unused) {
                self.splits.insert((start, bytes), left_bytes);
            }
            let next = self.symbols[right].next;
            self.symbols[right].bytes = 0;
            self.symbols[left].bytes = bytes;
            self.symbols[left].next = next;
            if let Some(next) = next {
                self.symbols[next].previous = Some(left);
            }
            self.consider(self.symbols[left].previous, Some(left));
            self.consider(Some(left), next);
        }
    }

    /// Queues a pair if its joined text is a piece.
    fn consider(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let start = self.symbols[left].start;
        let bytes = self.symbols[left].bytes + self.symbols[right].bytes;
        if bytes > self.encoder.piece_bytes_max {
            return;
        }
        if let Some(piece) = self.encoder.pieces.get(&self.text[start..start + bytes]) {
            self.queue.push(Candidate { score: piece.score, left, right, bytes });
        }
    }

    /// Appends the tokens of a finished symbol.
    fn emit(
        &self,
        start: usize,
        bytes: usize,
        unknown_before: &mut bool,
        output: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        let mut pending = vec![(start, bytes)];
        while let Some((start, bytes)) = pending.pop() {
            if let Some(left) = self.splits.get(&(start, bytes)) {
                pending.push((start + left, bytes - left));
                pending.push((start, *left));
                continue;
            }
            let text = &self.text[start..start + bytes];
            if let Some(piece) = self.encoder.pieces.get(text) {
                output.push(piece.id);
                *unknown_before = false;
                continue;
            }
            let spelled: Option<Vec<TokenId>> =
                text.bytes().map(|byte| self.encoder.bytes[usize::from(byte)]).collect();
            match (spelled, self.encoder.unknown) {
                (Some(spelled), _) => {
                    output.extend(spelled);
                    *unknown_before = false;
                }
                // A run of unknown characters is one unknown token.
                (None, Some(unknown)) => {
                    if !*unknown_before {
                        output.push(unknown);
                    }
                    *unknown_before = true;
                }
                (None, None) => {
                    let character = text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
                    return Err(TokenizerError::Unrepresentable { character });
                }
            }
        }
        Ok(())
    }
}
