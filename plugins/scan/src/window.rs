//! Reading a text of any length piece by piece, without missing what lies across two pieces.
//!
//! Each piece is read so that it begins a little before what is still to be looked at and ends a little
//! behind it; both margins are longer than any rule looks. Memory is bounded by the piece, not by the prompt.

use super::{BYTES_AFTER, BYTES_BEFORE, Kind, find_between};

/// Bytes of a usual piece: large enough for most prompts to be one, small enough to stay in the pages that
/// an instance has touched anyway.
const PIECE_BYTES: u32 = 16 << 10;
/// Pieces of a long text, beyond which they grow: calls of the host are limited, too.
const PIECES_MAX: u64 = 12;
/// Bytes of the largest piece.
const PIECE_BYTES_MAX: u64 = 4 << 20;

/// Bytes to read at once from a text of this length.
pub fn piece_bytes(length: u64) -> u32 {
    let even = length.div_ceil(PIECES_MAX).min(PIECE_BYTES_MAX);
    u32::try_from(even).unwrap_or(u32::MAX).max(PIECE_BYTES)
}

/// The first personal thing in a text of `length` bytes, of which `read` gives a piece from an offset on.
///
/// # Panics
/// When a piece is shorter than was asked for: who cannot see everything must not decide.
pub fn find(length: u64, piece_bytes: u32, mut read: impl FnMut(u64, u32) -> String) -> Option<Kind> {
    let mut offset = 0;
    let mut from = 0;
    let mut done = 0;
    loop {
        let piece = read(offset, piece_bytes);
        let text = piece.as_bytes();
        let is_last = offset + text.len() as u64 >= length;
        let to = if is_last { text.len() } else { text.len().saturating_sub(BYTES_AFTER) };
        let found = find_between(text, from.min(to), to, &mut done);
        if found.is_some() || is_last {
            return found;
        }
        // A policy that cannot see everything must not decide.
        assert!(to > from, "a piece of the prompt is shorter than was asked for");
        let start = piece.floor_char_boundary(to - BYTES_BEFORE.min(to));
        offset += start as u64;
        from = to - start;
        done = done.saturating_sub(start);
    }
}
