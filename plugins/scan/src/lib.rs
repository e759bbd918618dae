//! Finds personal data in text: one pass over the bytes, tables made at compile time, no allocation.
//!
//! The pass looks at thirty-two bytes at a time for the places where something could begin: a word of the list, a
//! number, an IBAN, an `@`. At each of these a rule looks at the few bytes around. What counts as what is said in the file of
//! each rule: `email`, `number` (phone numbers and cards), `iban`, `secret`, `words` (health). The reading of
//! a long text piece by piece is `window`'s. What follows from a finding is for the plugins that look:
//! `privacy-first`, `personal-data`, `redactor`.
#![forbid(unsafe_code)]

pub mod block;
mod email;
mod escape;
mod iban;
mod number;
mod secret;
pub mod table;
pub mod window;
mod words;

use std::ops::Range;

use block::Masks;

/// What kind of thing was found. The text itself is never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An e-mail address that could be somebody's.
    Email,
    /// A telephone number.
    Phone,
    /// A bank account's international number, its checksum right.
    Iban,
    /// A payment card's number, its checksum right.
    Card,
    /// A private key.
    PrivateKey,
    /// A token, key or password that gives access to something.
    Token,
    /// A word about somebody's health.
    Health,
}

impl Kind {
    /// In words, with its article.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "an e-mail address",
            Self::Phone => "a telephone number",
            Self::Iban => "a bank account number",
            Self::Card => "a payment card number",
            Self::PrivateKey => "a private key",
            Self::Token => "an access token",
            Self::Health => "a word about health",
        }
    }
}

/// A finding: what it is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its bytes. Rather a little more than too little: a number is taken with the digits that stand in the
    /// same row.
    pub range: Range<usize>,
}

/// Bytes before a place that its rule may look at.
pub(crate) const BYTES_BEFORE: usize = 128;
/// Bytes after a place that its rule may look at.
pub(crate) const BYTES_AFTER: usize = 640;

/// The first personal thing in a whole text.
pub fn find(text: &str) -> Option<Kind> {
    find_between(text.as_bytes(), 0, text.len(), &mut 0)
}

/// Every personal thing in a whole text, in order. Findings that overlap are one, of the later kind.
pub fn all(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut all: Vec<Found> = Vec::new();
    let (mut from, mut done) = (0, 0);
    while let Some((kind, place)) = next(bytes, from, bytes.len(), &mut done) {
        let mut range = range_of(kind, bytes, place);
        // On, whatever the range is.
        from = range.end.max(place + 1);
        done = done.max(range.end);
        // It may begin before more than one of them.
        while let Some(last) = all.pop_if(|last| range.start < last.range.end) {
            range = last.range.start.min(range.start)..last.range.end.max(range.end);
        }
        all.push(Found { kind, range });
    }
    all
}

/// The first personal thing that begins at `from` or later and before `to`. What lies around is context.
///
/// `done` is where the last number ended: its later groups are not numbers of their own.
pub(crate) fn find_between(text: &[u8], from: usize, to: usize, done: &mut usize) -> Option<Kind> {
    next(text, from, to, done).map(|(kind, _)| kind)
}

/// The same, with the place that gave it away.
fn next(text: &[u8], from: usize, to: usize, done: &mut usize) -> Option<(Kind, usize)> {
    let mut base = from;
    let mut in_word = from > 0 && is_in_word(text, from - 1);
    let mut after_backslash = from > 0 && text[from - 1] == b'\\';
    let mut escaped = escape::carried(text, from);
    while base < to {
        let (masks, words) =
            block::with_window(text, base, |window| (Masks::of(window), words::places(window)));
        let escapes = masks.letters & ((masks.backslash << 1) | u32::from(after_backslash));
        // Few blocks have any.
        if escaped != 0 || masks.backslash != 0 {
            escaped = escape::unicode_mask(text, base, masks.backslash, escaped);
        }
        let word = masks.word() & !escapes & !(escaped as u32);
        let before = (word << 1) | u32::from(in_word);
        let begin = (masks.digits | masks.letters & (words | masks.digit_third)) & !(escaped as u32);
        let mut places = (begin & !before) | masks.at;
        while places != 0 {
            let place = base + places.trailing_zeros() as usize;
            places &= places - 1;
            if place >= to {
                break;
            }
            if place < *done {
                continue;
            }
            let byte = text[place];
            let found = if byte.is_ascii_alphabetic() {
                word_at(text, place)
            } else if byte == b'@' {
                email::at(text, place).then_some(Kind::Email)
            } else {
                let (found, end) = number::at(text, place);
                *done = end;
                found
            };
            if let Some(kind) = found {
                return Some((kind, place));
            }
        }
        in_word = word >> (block::BYTES - 1) != 0;
        after_backslash = masks.backslash >> (block::BYTES - 1) != 0;
        escaped >>= block::BYTES;
        base += block::BYTES;
    }
    None
}

/// A call, as the other rules are: few places come this far, and the loop keeps its registers.
#[inline(never)]
fn word_at(text: &[u8], place: usize) -> Option<Kind> {
    if text.get(place + 2).is_some_and(u8::is_ascii_digit) && iban::at(text, place) {
        return Some(Kind::Iban);
    }
    words::at(text, place)
}

/// The bytes of the finding that `place` gave away. They begin and end where characters do.
fn range_of(kind: Kind, text: &[u8], place: usize) -> Range<usize> {
    match kind {
        Kind::Email => email::range(text, place),
        Kind::Phone | Kind::Card => number::range(text, place),
        Kind::Iban => place..iban::end(text, place).unwrap_or(place + 1),
        Kind::PrivateKey | Kind::Token | Kind::Health => words::range(text, place),
    }
}

/// Whether a byte belongs to a word: an ASCII letter or digit, or part of any other character.
pub(crate) fn is_word(byte: u8) -> bool {
    block::is_word(byte)
}

/// Whether the byte at this place belongs to a word. That of an escape does not: in JSON that is quoted in a
/// prompt a line end is the two characters `\n`, and what follows them begins a line.
pub(crate) fn is_in_word(text: &[u8], place: usize) -> bool {
    is_word(text[place]) && !escape::covers(text, place)
}

#[cfg(test)]
mod tests;
