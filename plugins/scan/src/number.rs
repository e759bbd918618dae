//! Telephone and card numbers among all the other numbers.
//!
//! A run of digits, in groups that a single separator or two divide, is taken apart once and judged by its
//! groups. A telephone number is told by its form: an international prefix with a country code that exists;
//! the American 3-3-4; a leading 0 in groups; or by a word such as `phone` before it, and then digits are
//! enough. Not personal: order numbers, times, dates, versions, addresses, amounts, and what is reserved for
//! fiction (555-0100 to 555-0199).

mod card;
mod phone;

use std::ops::Range;

use super::{Kind, escape, is_in_word, is_word};

/// The least digits that any rule takes.
const DIGITS_MIN: usize = 7;
/// Digits that are looked at together. More of them is no number of ours.
const DIGITS_MAX: usize = 40;
const GROUPS_MAX: usize = 12;
/// Groups that a run which is too long shares with the next one: as many as a number of ours may have.
const GROUPS_SHARED: usize = 6;

/// A run of digits, taken apart.
#[derive(Debug)]
pub(crate) struct Run {
    digits: [u8; DIGITS_MAX],
    groups: [Group; GROUPS_MAX],
    group_count: usize,
    /// Whether a word that begins with digits follows in the same row, as in a table of hexadecimal numbers.
    goes_on_as_words: bool,
}

/// Digits without anything between them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    /// Where its digits begin in the run.
    start: usize,
    length: usize,
    /// Where they begin in the text.
    place: usize,
    /// What stands between it and the group before.
    separator: Separator,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Separator {
    /// It is the first group.
    #[default]
    None,
    Space,
    Hyphen,
    Dot,
    Slash,
    /// A parenthesis, perhaps with a space or a hyphen.
    Parenthesis,
}

impl Run {
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups[..self.group_count]
    }

    /// The digits of some groups that follow each other, as bytes `0` to `9`.
    pub(crate) fn digits(&self, groups: &[Group]) -> &[u8] {
        match (groups.first(), groups.last()) {
            (Some(first), Some(last)) => &self.digits[first.start..last.start + last.length],
            _ => &[],
        }
    }
}

/// What the number that begins at `place` is, and where its run ends.
#[inline(never)]
pub(crate) fn at(text: &[u8], place: usize) -> (Option<Kind>, usize) {
    let (run, end) = take_apart(text, place);
    let Some(run) = run else { return (None, end) };
    let before = Before::of(text, place);
    if before.is_inside_a_name {
        return (None, end);
    }
    let kind = if card::is_in(&run, &before) {
        Some(Kind::Card)
    } else if phone::is_in(&run, &before, text, place) {
        Some(Kind::Phone)
    } else {
        None
    };
    (kind, end)
}

/// The run that begins at `place`, with the sign or parenthesis in front of it.
pub(crate) fn range(text: &[u8], place: usize) -> Range<usize> {
    let (run, _) = take_apart(text, place);
    let end =
        run.as_ref().and_then(|run| run.groups().last()).map_or(place + 1, |last| last.place + last.length);
    let start = match place.checked_sub(1).map(|before| (before, text[before])) {
        Some((before, b'+')) => before,
        Some((before, b'(')) if text[place..end].contains(&b')') => before,
        _ => escape::of_before(text, place, '+').unwrap_or(place),
    };
    start..end
}

/// What stands right before a number.
#[derive(Debug)]
pub(crate) struct Before {
    /// A `+` that begins an international number.
    pub(crate) plus: bool,
    /// `#`, a currency's sign or `/`: the number is an id, an amount, a part of a path.
    pub(crate) counts_something: bool,
    /// It goes on from a word, as the parts of a UUID do.
    is_inside_a_name: bool,
}

impl Before {
    fn of(text: &[u8], place: usize) -> Self {
        let byte = |back: usize| place.checked_sub(back).map(|at| text[at]);
        let word_before_last = place.checked_sub(2).is_some_and(|at| is_in_word(text, at));
        if escape::of_before(text, place, '+').is_some() {
            return Self { plus: true, counts_something: false, is_inside_a_name: false };
        }
        match byte(1) {
            Some(b'+') => Self {
                plus: !word_before_last && byte(2) != Some(b'+'),
                counts_something: false,
                is_inside_a_name: false,
            },
            Some(b'-' | b'_') if word_before_last => {
                Self { plus: false, counts_something: true, is_inside_a_name: true }
            }
            // An hour before its minutes; a label such as `tel:` is none.
            Some(b'.' | b':') if byte(2).is_some_and(|byte| byte.is_ascii_digit()) => {
                Self { plus: false, counts_something: true, is_inside_a_name: true }
            }
            Some(b'#' | b'$' | b'/' | b'_' | b'%' | b'&') => {
                Self { plus: false, counts_something: true, is_inside_a_name: false }
            }
            // The ends of € and £.
            Some(0xac | 0xa3) => Self { plus: false, counts_something: true, is_inside_a_name: false },
            _ => Self { plus: false, counts_something: false, is_inside_a_name: false },
        }
    }
}

/// The groups from `place` on, and where to go on. None when no number of ours can be in it.
fn take_apart(text: &[u8], place: usize) -> (Option<Run>, usize) {
    // Most numbers are a few digits and nothing more.
    let first_end = digits_end(text, place);
    if first_end - place < DIGITS_MIN && separator_at(text, first_end).is_none() {
        return (None, first_end);
    }
    let mut run = Run {
        digits: [0; DIGITS_MAX],
        groups: [Group::default(); GROUPS_MAX],
        group_count: 0,
        goes_on_as_words: false,
    };
    let mut count = 0;
    let mut end = place;
    let mut separator = Separator::None;
    loop {
        let start = end;
        end = digits_end(text, end);
        let next = separator_at(text, end);
        if next.is_none() && text.get(end).is_some_and(|&byte| is_word(byte) || byte == b'_') {
            // The last digits belong to a word, as in 12px or a hash.
            run.goes_on_as_words = run.group_count > 0;
            break;
        }
        let length = end - start;
        let Some(digits) = run.digits.get_mut(count..count + length).filter(|_| run.group_count < GROUPS_MAX)
        else {
            // Longer than any number of ours. One may begin in it, and is found from a later group on.
            end = match run.group_count {
                0 => end,
                1 => start,
                groups => run.groups[groups.saturating_sub(GROUPS_SHARED).max(1)].place,
            };
            break;
        };
        digits.copy_from_slice(&text[start..end]);
        run.groups[run.group_count] = Group { start: count, length, place: start, separator };
        run.group_count += 1;
        count += length;
        match next {
            Some((found, bytes)) => {
                separator = found;
                end += bytes;
            }
            None => break,
        }
    }
    (Some(run).filter(|_| count >= DIGITS_MIN), end)
}

/// Where the digits from `place` on end.
fn digits_end(text: &[u8], place: usize) -> usize {
    place + text[place..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The separator at `place`, and its bytes, if a digit follows it.
fn separator_at(text: &[u8], place: usize) -> Option<(Separator, usize)> {
    let mut kind = Separator::None;
    let mut bytes = 0;
    // At most three characters: a parenthesis with blanks around.
    for _ in 0..3 {
        let rest = text.get(place + bytes..)?;
        let (found, length) = match rest {
            [b' ' | b'\t', ..] => (Separator::Space, 1),
            [b'-', ..] => (Separator::Hyphen, 1),
            [b'.', ..] => (Separator::Dot, 1),
            [b'/', ..] => (Separator::Slash, 1),
            [b'(' | b')', ..] => (Separator::Parenthesis, 1),
            [0xc2, 0xa0, ..] => (Separator::Space, 2),
            [0xe2, 0x80, 0xaf, ..] => (Separator::Space, 3),
            [0xe2, 0x80, 0x90 | 0x91 | 0x93, ..] => (Separator::Hyphen, 3),
            _ => break,
        };
        kind = match (kind, found) {
            (Separator::None | Separator::Space, found) => found,
            (Separator::Parenthesis, _) | (_, Separator::Parenthesis) => Separator::Parenthesis,
            (kind, Separator::Space) => kind,
            // Two hyphens or dots are punctuation.
            _ => return None,
        };
        bytes += length;
    }
    let digit_follows = text.get(place + bytes).is_some_and(u8::is_ascii_digit);
    (bytes > 0 && digit_follows).then_some((kind, bytes))
}
