//! Escapes of JSON that is quoted in a prompt: `\n`, `\u003c`.
//!
//! What an escape is written with belongs to no word, so that what follows it begins one; where it stands for a letter,
//! as in `J\u00f6rg`, the word goes on. A pair that stands for one character beyond the first 65,536 is two of them.

/// Bytes of a `\u00e9`.
const UNICODE_BYTES: usize = 6;

/// Whether the byte at this place is written for an escape and stands in no word.
pub(crate) fn covers(text: &[u8], place: usize) -> bool {
    let letter_of =
        place.checked_sub(1).filter(|&start| text[start] == b'\\' && text[place].is_ascii_alphabetic());
    match unicode_around(text, place) {
        Some((_, is_letter)) => !is_letter,
        None => letter_of.is_some(),
    }
}

/// The places from `base` on that [`covers`] says yes to beyond the letter behind each backslash, as bits; bits behind
/// the block's are of places of the next. `backslash` has the block's own, `carry` what came out before.
pub(crate) fn unicode_mask(text: &[u8], base: usize, mut backslash: u32, carry: u64) -> u64 {
    let mut mask = carry;
    while backslash != 0 {
        let place = backslash.trailing_zeros();
        backslash &= backslash - 1;
        if unicode_at(text, base + place as usize) == Some(false) {
            mask |= 0b11_1110 << place;
        }
    }
    mask
}

/// What [`unicode_mask`] would carry to a block that begins at `base`.
pub(crate) fn carried(text: &[u8], base: usize) -> u64 {
    let back = (1..UNICODE_BYTES.min(base + 1)).find(|back| unicode_at(text, base - back) == Some(false));
    back.map_or(0, |back| 0b11_1110 >> back)
}

/// Where the part of a word that ends the text begins, its escaped letters among it. `is_part` says which bytes may be
/// in it.
pub(crate) fn part_before(text: &[u8], bytes_max: usize, is_part: impl Fn(u8) -> bool) -> usize {
    let least = text.len().saturating_sub(bytes_max);
    let mut start = text.len();
    loop {
        while start > least && is_part(text[start - 1]) {
            start -= 1;
        }
        let Some(backslash) = start.checked_sub(1).filter(|&place| text[place] == b'\\') else {
            return start;
        };
        match unicode_at(text, backslash) {
            // The word goes on before it.
            Some(true) if backslash >= least && backslash + UNICODE_BYTES <= text.len() => start = backslash,
            Some(_) => return (backslash + UNICODE_BYTES).min(text.len()),
            None if text.get(start).is_some_and(u8::is_ascii_alphabetic) => return start + 1,
            None => return start,
        }
    }
}

/// Where a `\u002b` begins that stands for this character and ends before `place`.
pub(crate) fn of_before(text: &[u8], place: usize, character: char) -> Option<usize> {
    let start = place.checked_sub(UNICODE_BYTES)?;
    (code_at(text, start) == Some(u32::from(character))).then_some(start)
}

/// The bytes of a letter's `\u00e9` at the start of the text.
pub(crate) fn letter_at_start(text: &[u8]) -> Option<usize> {
    (unicode_at(text, 0) == Some(true)).then_some(UNICODE_BYTES)
}

/// The `\u00e9` that the byte at this place belongs to, its backslash aside: where it begins, and whether it stands for
/// a letter.
fn unicode_around(text: &[u8], place: usize) -> Option<(usize, bool)> {
    (1..UNICODE_BYTES.min(place + 1)).find_map(|back| Some((place - back, unicode_at(text, place - back)?)))
}

/// Whether the `\u00e9` at this place, if there is one, stands for part of a word.
fn unicode_at(text: &[u8], place: usize) -> Option<bool> {
    // Half of a pair is taken for a letter, as the bytes of such a character are.
    code_at(text, place).map(|code| char::from_u32(code).is_none_or(char::is_alphanumeric))
}

fn code_at(text: &[u8], place: usize) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = text.get(place..place + UNICODE_BYTES)? else { return None };
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}
