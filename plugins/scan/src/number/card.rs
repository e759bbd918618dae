//! Payment cards: a brand's first digits, its length, Luhn's checksum, and a layout that people write.

use super::{Before, Group, Run, Separator};

/// Whether some groups of the run are a card's number.
pub(crate) fn is_in(run: &Run, before: &Before) -> bool {
    let groups = run.groups();
    for first in 0..groups.len() {
        if first == 0 && before.counts_something {
            continue;
        }
        for last in first..groups.len().min(first + 5) {
            let card = &groups[first..=last];
            let digits = run.digits(card);
            if digits.len() > 19 {
                break;
            }
            let is_card = digits.len() >= 14 && is_layout(card) && is_brand(digits) && luhn(digits);
            if is_card && !is_in_a_row(run, first, last) {
                return true;
            }
        }
    }
    false
}

/// Whether the groups are a part of a longer row: a table, or a longer number.
fn is_in_a_row(run: &Run, first: usize, last: usize) -> bool {
    let groups = run.groups();
    let joins = |group: &Group| !matches!(group.separator, Separator::Space | Separator::Slash);
    let follows = match groups.get(last + 1) {
        Some(next) => joins(next) || next.length == 4,
        None => run.goes_on_as_words && last > first,
    };
    let precedes = first > 0 && (joins(&groups[first]) || groups[first - 1].length == 4);
    follows || precedes
}

/// One piece; four groups of four, perhaps with a rest; 4-6-5 and 4-6-4.
fn is_layout(groups: &[Group]) -> bool {
    let Some((first, rest)) = groups.split_first() else { return false };
    let Some(second) = rest.first() else { return true };
    let joined = matches!(second.separator, Separator::Space | Separator::Hyphen)
        && rest.iter().all(|group| group.separator == second.separator);
    let lengths = [first.length, second.length, length(rest, 1), length(rest, 2), length(rest, 3)];
    joined && matches!(lengths, [4, 4, 4, 4, 0..=3] | [4, 6, 4 | 5, 0, 0])
}

fn length(groups: &[Group], number: usize) -> usize {
    groups.get(number).map_or(0, |group| group.length)
}

/// Whether a brand has cards that begin so and are so long.
fn is_brand(digits: &[u8]) -> bool {
    let prefix = digits[..4].iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    match (prefix, digits.len()) {
        // Visa.
        (4000..=4999, 16)
        // Mastercard.
        | (5100..=5599 | 2221..=2720, 16)
        // American Express.
        | (3400..=3499 | 3700..=3799, 15)
        // Diners Club.
        | (3000..=3059 | 3095 | 3600..=3699 | 3800..=3999, 14 | 16)
        // Discover.
        | (6011 | 6440..=6599, 16 | 19)
        // JCB.
        | (3528..=3589, 16)
        // UnionPay.
        | (6200..=6299, 16..=19)
        // Maestro.
        | (5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763, 16 | 18 | 19) => true,
        _ => false,
    }
}

/// Luhn's checksum: every second digit from the right counts twice. All zeros would pass, and no brand
/// begins with one.
fn luhn(digits: &[u8]) -> bool {
    let mut sum = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let digit = u32::from(digit - b'0');
        sum += if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 };
    }
    sum % 10 == 0
}
