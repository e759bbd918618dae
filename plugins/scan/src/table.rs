//! A list of words that is asked about every word of a text.
//!
//! Nearly every word is not in it. Tables made at compile time answer that: for sixteen places at once by five bytes,
//! then, more exactly, by three for each of the few that are left; what passes both is compared with the words of its
//! first letter.

use super::block::{self, Beginnings, Window, fold};

/// What a space in a word stands for.
const BLANKS: [u8; 5] = *b" \t\n\x0c\r";

/// Words with what each means.
pub struct Table<T: 'static> {
    words: &'static [(&'static str, T)],
    /// Where the words of each first letter begin; the last is the number of words.
    first: [u8; 27],
    /// One bit for each hash of three first bytes.
    may_begin: [u64; 64],
    beginnings: Beginnings,
}

impl<T> Table<T> {
    /// Each word has at least three bytes, is ASCII, and begins with a letter; they are ordered by that
    /// letter, whatever its case. A space in a word stands for one blank of any kind.
    pub const fn new(words: &'static [(&'static str, T)]) -> Self {
        assert!(words.len() <= u8::MAX as usize, "an index is one byte");
        let mut first = [0; 27];
        let mut may_begin = [0; 64];
        let mut beginnings: Beginnings = [[[0; 16]; 2]; block::BEGINNING];
        let mut word = 0;
        let mut letter = 0;
        while letter < 26 {
            first[letter] = word as u8;
            while word < words.len() && words[word].0.as_bytes()[0] & 31 == letter as u8 + 1 {
                let bytes = words[word].0.as_bytes();
                let set = set(letter, bytes);
                let mut place = 0;
                while place < block::BEGINNING {
                    add(&mut beginnings[place], bytes, place, set);
                    place += 1;
                }
                let mut blank = 0;
                while blank < BLANKS.len() {
                    let third = if bytes[2] == b' ' { BLANKS[blank] } else { bytes[2] };
                    let hash = hash(bytes[0], bytes[1], third);
                    may_begin[hash / 64] |= 1 << (hash % 64);
                    blank += 1;
                }
                word += 1;
            }
            letter += 1;
        }
        assert!(word == words.len(), "the words are ordered by their first letter");
        first[26] = word as u8;
        Self { words, first, may_begin, beginnings }
    }

    /// At which of a window's first sixteen bytes a word may stand: at all where one does, and at some others.
    pub fn places(&self, window: &Window) -> u16 {
        block::may_begin(window, &self.beginnings)
    }

    /// The words that stand at `place`, where a letter is: each with its number in the list, its meaning and
    /// the place behind it.
    pub fn at<'a>(
        &'a self,
        text: &'a [u8],
        place: usize,
    ) -> impl Iterator<Item = (usize, &'a T, usize)> + 'a {
        let range = match text.get(place..) {
            Some(&[first, second, third, ..]) if self.may_begin(first, second, third) => {
                let letter = usize::from((first & 31).clamp(1, 26)) - 1;
                usize::from(self.first[letter])..usize::from(self.first[letter + 1])
            }
            _ => 0..0,
        };
        range.filter_map(move |number| {
            let (word, meaning) = &self.words[number];
            Some((number, meaning, matches(text, place, word.as_bytes())?))
        })
    }

    /// The word with this number.
    pub fn word(&self, number: usize) -> &'static str {
        self.words[number].0
    }

    fn may_begin(&self, first: u8, second: u8, third: u8) -> bool {
        let hash = hash(first, second, third);
        self.may_begin[hash / 64] >> (hash % 64) & 1 != 0
    }
}

/// The set that a word belongs to. Phrases that begin with a short word are apart: such words are frequent, and
/// should not meet the later bytes of other words.
const fn set(letter: usize, word: &[u8]) -> u8 {
    let short = word[2] == b' ' || word.len() > 4 && (word[3] == b' ' || word[4] == b' ');
    if short { 1 } else { 2 << (letter % 7) }
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

/// Twelve bits of three bytes; the same for upper and lower case.
const fn hash(first: u8, second: u8, third: u8) -> usize {
    let bits = (first & 31) as u32 | ((second & 31) as u32) << 5 | ((third & 31) as u32) << 10;
    (bits.wrapping_mul(0x9e37_79b1) >> 20) as usize
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
