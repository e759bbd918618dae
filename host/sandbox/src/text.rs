//! The text of a request as plugins read it: an index over the request, not a copy of it.
//!
//! A request's text is a sequence of pieces joined by line ends: message by message, then everything else
//! that a client wrote and a target would receive. The index holds where each piece starts and where it
//! lies, so that a plugin can read any part of a long prompt at the cost of that part. Values inside JSON
//! are given decoded; they have no place of their own in the request's text and are copied once. What the
//! pieces are, and how one is changed, is in [`pieces`].

pub(crate) mod pieces;

use std::ops::Range;

use lockgate_api::ChatRequest;

use pieces::{Beside, Source, for_each_piece, message_piece};

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    message: usize,
    source: Source,
}

/// The index over one request's text. Always used with the request that it was made from.
#[derive(Debug, Default)]
pub(crate) struct TextIndex {
    pieces: Vec<Piece>,
    /// For each message, the bytes of the whole text that are its own.
    messages: Vec<Range<usize>>,
    beside: Beside,
    length: usize,
}

impl TextIndex {
    pub(crate) fn new(request: &ChatRequest) -> Self {
        let mut index = Self::default();
        for (number, message) in request.messages.iter().enumerate() {
            let start = index.next_start();
            let pieces_before = index.pieces.len();
            for_each_piece(message, |source, text| index.push(number, source, text.len()));
            let end = if index.pieces.len() == pieces_before { start } else { index.length };
            index.messages.push(start..end);
        }
        let beside = Beside::new(request);
        for number in 0..beside.leaf_count() {
            index.push(request.messages.len(), Source::Beside(number), beside.text(number).len());
        }
        index.beside = beside;
        index
    }

    /// Bytes of the whole text.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// At most `limit` bytes from the start.
    pub(crate) fn text(&self, request: &ChatRequest, limit: u32) -> String {
        self.slice(request, 0..self.length, limit as usize)
    }

    /// At most `limit` bytes from `offset` on, as the interface `request` says of `read`.
    pub(crate) fn read(&self, request: &ChatRequest, offset: u64, limit: u32) -> String {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.slice(request, offset..self.length, (limit as usize).max(4))
    }

    /// Bytes of one message's text, if there is such a message.
    pub(crate) fn message_length(&self, message: usize) -> Option<usize> {
        Some(self.messages.get(message)?.len())
    }

    /// At most `limit` bytes of one message's text, if there is such a message.
    pub(crate) fn message_text(&self, request: &ChatRequest, message: usize, limit: u32) -> Option<String> {
        let range = self.messages.get(message)?.clone();
        Some(self.slice(request, range, limit as usize))
    }

    /// The bytes of each piece.
    pub(crate) fn piece_lengths(&self) -> Vec<u64> {
        let ends = self.pieces.iter().skip(1).map(|next| next.start - 1).chain([self.length]);
        self.pieces.iter().zip(ends).map(|(piece, end)| (end - piece.start) as u64).collect()
    }

    /// Each piece's message and source, in order.
    pub(crate) fn sources(&self) -> impl ExactSizeIterator<Item = (usize, Source)> + '_ {
        self.pieces.iter().map(|piece| (piece.message, piece.source))
    }

    /// One piece's message and source.
    pub(crate) fn source(&self, piece: usize) -> Option<(usize, Source)> {
        self.pieces.get(piece).map(|piece| (piece.message, piece.source))
    }

    /// What lies beside the messages.
    pub(crate) fn beside(&self) -> &Beside {
        &self.beside
    }

    /// The start of the next piece: behind a line end, unless it is the first.
    fn next_start(&self) -> usize {
        if self.pieces.is_empty() { 0 } else { self.length + 1 }
    }

    fn push(&mut self, message: usize, source: Source, length: usize) {
        let start = self.next_start();
        self.pieces.push(Piece { start, message, source });
        self.length = start + length;
    }

    fn piece_text<'a>(&'a self, request: &'a ChatRequest, piece: &Piece) -> &'a str {
        match (piece.source, request.messages.get(piece.message)) {
            (Source::Beside(number), _) => self.beside.text(number),
            (source, Some(message)) => message_piece(message, source).unwrap_or_default(),
            (_, None) => "",
        }
    }

    /// The text in `range`, whose start is lowered to a character's start, cut after `limit` bytes.
    fn slice(&self, request: &ChatRequest, range: Range<usize>, limit: usize) -> String {
        let mut out = String::new();
        if range.is_empty() {
            return out;
        }
        let first = self.pieces.partition_point(|piece| piece.start <= range.start).saturating_sub(1);
        for (number, piece) in self.pieces.iter().enumerate().skip(first) {
            let room = limit - out.len();
            if piece.start > range.end || room == 0 {
                break;
            }
            let text = self.piece_text(request, piece);
            let rest = if number == first {
                // The offset may lie on the line end behind this piece: then nothing of it is left.
                &text[text.floor_char_boundary(range.start - piece.start)..]
            } else {
                out.push('\n');
                text
            };
            let taken = &rest[..rest.floor_char_boundary(limit - out.len())];
            out.push_str(taken);
            if taken.len() < rest.len() {
                break;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
