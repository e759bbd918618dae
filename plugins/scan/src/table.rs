//! A list of words that is asked about every word of a text.
//!
//! Nearly every word is not in it. Tables made at compile time answer that: for thirty-two places at once by five bytes,
//! then for each of the few that are left by a hash of three bytes, which names the words to look for, and by the
//! eight bytes that each of those begins with. What passes is compared whole.

use super::block::{self, Beginnings, Window, fold};

/// What a space in a word stands for.
const BLANKS: [u8; 5] = *b" \t\n\x0c\r";
/// Values of a hash.
const HASHES: usize = 512;
/// No word.
const NONE: u8 = u8::MAX;
/// Bytes of a word's head.
const HEAD_BYTES: usize = size_of::<u64>();
/// Takes the difference between upper and lower case away from eight bytes, as [`fold`] does from one.
const FOLD_ALL: u64 = u64::from_le_bytes([0x20; HEAD_BYTES]);

/// Words with what each means: `N` of them.
pub struct Table<T: 'static, const N: usize> {
    words: &'static [(&'static str, T)],
    /// The first word of each hash.
    first: [u8; HASHES],
    /// Behind each word, the next of the same hash.
    next: [u8; N],
    /// The bytes that each word begins with.
    heads: [Head; N],
    beginnings: Beginnings,
}

/// The folded bytes that a word begins with, and which of them it has: not what is behind its end, and no blanks.
#[derive(Clone, Copy)]
struct Head {
    bytes: u64,
    mask: u64,
}

impl<T, const N: usize> Table<T, N> {
    /// Each word has at least three bytes, is ASCII, and begins with a letter. A space in a word stands for one blank of
    /// any kind. Words that stand at one place are found in the order of the list.
    ///
    /// `sets`, sixteen at most, are the words that each begin a set of words, in the order of the list and from its first
    /// word on. A place that has one byte of one word and the next of another passes for a word when the two are of one
    /// set: so words that begin alike belong together.
    pub const fn new(words: &'static [(&'static str, T)], sets: &[&str]) -> Self {
        assert!(words.len() == N, "the table is as long as the list");
        assert!(N < NONE as usize, "a word's number is one byte");
        assert!(sets.len() <= block::SETS, "there are sixteen sets at most");
        let mut table = Self {
            words,
            first: [NONE; HASHES],
            next: [NONE; N],
            heads: [Head { bytes: 0, mask: 0 }; N],
            beginnings: [[[[0; 16]; 2]; block::BEGINNING]; block::SETS / block::SETS_TOGETHER],
        };
        let mut set = sets.len();
        // From the last to the first, since each is put in front of those that are there.
        let mut number = N;
        while number > 0 {
            number -= 1;
            let word = words[number].0;
            let bytes = word.as_bytes();
            assert!(bytes[0].is_ascii_alphabetic(), "a word begins with a letter");
            let hash = hash(bytes[0], bytes[1], bytes[2]);
            table.next[number] = table.first[hash];
            table.first[hash] = number as u8;
            table.heads[number] = Head::of(bytes);
            let together = &mut table.beginnings[(set - 1) / block::SETS_TOGETHER];
            let bit = 1 << ((set - 1) % block::SETS_TOGETHER);
            let mut place = 0;
            while place < block::BEGINNING {
                add(&mut together[place], bytes, place, bit);
                place += 1;
            }
            if is_same(sets[set - 1], word) {
                set -= 1;
            }
        }
        assert!(set == 0, "each set begins with a word of the list, the first with its first");
        table
    }

    /// At which of a window's first bytes a word may stand: at all where one does, and at some others.
    #[inline(always)]
    pub fn places(&self, window: &Window) -> u32 {
        block::may_begin(window, &self.beginnings)
    }

    /// The words that stand at `place`, where a letter is: each with its number in the list, its meaning and
    /// the place behind it.
    pub fn at<'a>(
        &'a self,
        text: &'a [u8],
        place: usize,
    ) -> impl Iterator<Item = (usize, &'a T, usize)> + 'a {
        let rest = &text[place..];
        let (mut next, head) = match rest {
            &[first, second, third, ..] => (self.first[hash(first, second, third)], head_of(rest)),
            _ => (NONE, 0),
        };
        std::iter::from_fn(move || {
            while next != NONE {
                let number = usize::from(next);
                next = self.next[number];
                let Head { bytes, mask } = self.heads[number];
                if head & mask == bytes {
                    let (word, meaning) = &self.words[number];
                    if let Some(end) = matches(text, place, word.as_bytes()) {
                        return Some((number, meaning, end));
                    }
                }
            }
            None
        })
    }

    /// The word with this number.
    pub fn word(&self, number: usize) -> &'static str {
        self.words[number].0
    }
}

impl Head {
    const fn of(word: &[u8]) -> Self {
        let (mut bytes, mut mask) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
        let mut place = 0;
        while place < word.len() && place < HEAD_BYTES {
            if word[place] != b' ' {
                bytes[place] = fold(word[place]);
                mask[place] = u8::MAX;
            }
            place += 1;
        }
        Self { bytes: u64::from_le_bytes(bytes), mask: u64::from_le_bytes(mask) }
    }
}

/// The folded bytes that a text begins with.
#[inline(always)]
fn head_of(text: &[u8]) -> u64 {
    let bytes = match text.first_chunk() {
        Some(bytes) => *bytes,
        None => {
            let mut bytes = [0; HEAD_BYTES];
            bytes[..text.len()].copy_from_slice(text);
            bytes
        }
    };
    u64::from_le_bytes(bytes) | FOLD_ALL
}

/// Adds what the word has at `place` to the sets of that place: anything, when the word is shorter.
const fn add(halves: &mut [[u8; 16]; 2], word: &[u8], place: usize, set: u8) {
    let mut number = 0;
    while number < 16 {
        if place >= word.len() {
            halves[0][number] |= set;
            halves[1][number] |= set;
        } else if word[place] != b' ' {
            halves[0][(fold(word[place]) & 15) as usize] |= set;
            halves[1][(fold(word[place]) >> 4) as usize] |= set;
        } else if number < BLANKS.len() {
            assert!(place >= 2, "a blank is the third byte at the earliest");
            halves[0][(fold(BLANKS[number]) & 15) as usize] |= set;
            halves[1][(fold(BLANKS[number]) >> 4) as usize] |= set;
        }
        number += 1;
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}

/// Nine bits of three bytes; the same for upper and lower case, and for blanks of any kind.
const fn hash(first: u8, second: u8, third: u8) -> usize {
    let third = if third <= b' ' { 0 } else { third & 31 };
    let bits = (first & 31) as u32 | ((second & 31) as u32) << 5 | (third as u32) << 10;
    (bits.wrapping_mul(0x9e37_79b1) >> 23) as usize
}

/// The place behind the word in the text, if it is there in any case.
fn matches(text: &[u8], place: usize, word: &[u8]) -> Option<usize> {
    let end = place + word.len();
    let part = text.get(place..end)?;
    let same = |(have, want): (&u8, &u8)| {
        have.eq_ignore_ascii_case(want) || *want == b' ' && have.is_ascii_whitespace()
    };
    // From the end: the beginning is the same for many.
    part.iter().zip(word).rev().all(same).then_some(end)
}
