//! Telephone numbers.

use super::{Before, Group, Run, Separator};

/// Words before a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// It is a telephone number.
    Phone,
    /// It may be one.
    Perhaps,
    /// It is a number of something else: an order, an invoice, an id.
    Other,
    /// They do not tell.
    Unknown,
}

/// Whether there is a telephone number in the run.
pub(crate) fn is_in(run: &Run, before: &Before, text: &[u8], place: usize) -> bool {
    let groups = run.groups();
    if before.plus && is_international(run, groups) {
        return true;
    }
    if before.counts_something {
        return false;
    }
    let context = context(text, place);
    if context == Context::Other {
        return false;
    }
    let digits = run.digits(groups);
    let named = context == Context::Phone && (7..=15).contains(&digits.len()) && !is_fiction(digits);
    // Another number may stand in front: a date, a count. A row of equal groups is one number.
    let starts = (0..groups.len()).filter(|&first| {
        let begins = |group: &Group, before: &Group| {
            let in_a_row = matches!(before.separator, Separator::None | Separator::Space)
                && group.length == before.length;
            group.separator == Separator::Space && !in_a_row
        };
        first == 0 || begins(&groups[first], &groups[first - 1])
    });
    let mut parts = starts.map(|first| &groups[first..]).filter(|part| !is_date(part));
    named || parts.any(|part| is_grouped(run, part, context) || is_mobile(run, part))
}

/// Whether the part begins with a number that its form gives away.
fn is_grouped(run: &Run, part: &[Group], context: Context) -> bool {
    // 512 768 1024 has the American form.
    let spaced = part.iter().skip(1).take(2).all(|group| group.separator == Separator::Space);
    if is_american(run, part) && (!spaced || context != Context::Unknown) {
        return true;
    }
    // A further number may stand behind, if it does not go on in the same way.
    let ends = |&count: &usize| match part.get(count) {
        None => true,
        Some(next) => next.separator == Separator::Space && next.length != part[count - 1].length,
    };
    (2..=part.len()).filter(ends).any(|count| {
        let number = &part[..count];
        is_dialled_abroad(run, number) || is_national(run, number)
    })
}

/// Behind a `+`: a country code that exists, and a number of the right length behind it. What follows the
/// number may be joined to the run, so every number of groups is tried.
fn is_international(run: &Run, groups: &[Group]) -> bool {
    let dots = groups.iter().skip(1).filter(|group| group.separator == Separator::Dot).count();
    if groups.len() == 2 && dots == 1 {
        // +48.85661400 is a coordinate.
        return false;
    }
    (1..=groups.len()).any(|count| is_international_number(run.digits(&groups[..count])))
}

fn is_international_number(digits: &[u8]) -> bool {
    let Some(code) = country_code_length(digits) else { return false };
    let number = &digits[code..];
    match digits[0] {
        b'1' => return is_american_number(number),
        b'7' => return number.len() == 10 && number[0] != b'0',
        _ => {}
    }
    // Abroad the leading 0 is not dialled, but for Italy's; some write it, in parentheses.
    let number = number.strip_prefix(b"0").unwrap_or(number);
    (7..=12).contains(&number.len()) && number[0] != b'0'
}

/// Digits of the country code that a number begins with, if there is such a country.
fn country_code_length(digits: &[u8]) -> Option<usize> {
    let &[first, second, third, ..] = digits else { return None };
    match (first, second) {
        (b'1' | b'7', _) => Some(1),
        (b'2', b'0' | b'7')
        | (b'3', b'0'..=b'4' | b'6' | b'9')
        | (b'4', b'0' | b'1' | b'3'..=b'9')
        | (b'5', b'1'..=b'8')
        | (b'6', b'0'..=b'6')
        | (b'8', b'1' | b'2' | b'4' | b'6')
        | (b'9', b'0'..=b'5' | b'8') => Some(2),
        (b'2', b'1') => matches!(third, b'1' | b'2' | b'3' | b'6' | b'8').then_some(3),
        (b'2', b'8') => None,
        (b'2', _) | (b'3', b'5' | b'7' | b'8') | (b'4', b'2') | (b'5', b'0' | b'9') => Some(3),
        (b'6', b'7'..=b'9') | (b'8', b'5' | b'8') | (b'9', b'6' | b'7' | b'9') => Some(3),
        _ => None,
    }
}

/// `00` and a country code, in groups.
fn is_dialled_abroad(run: &Run, groups: &[Group]) -> bool {
    groups[0].length >= 2 && run.digits(groups).strip_prefix(b"00").is_some_and(is_international_number)
}

/// (212) 555-0187 in all its spellings, perhaps with a 1 in front.
fn is_american(run: &Run, groups: &[Group]) -> bool {
    let groups = match groups {
        [one, rest @ ..] if one.length == 1 && run.digits(&groups[..1]) == b"1" => rest,
        groups => groups,
    };
    let [area, exchange, line, rest @ ..] = groups else { return false };
    let goes_on = rest.first().is_some_and(|next| next.separator == line.separator);
    [area.length, exchange.length, line.length] == [3, 3, 4]
        && exchange.separator != Separator::Slash
        && line.separator != Separator::Slash
        && line.separator != Separator::Parenthesis
        && !(goes_on && line.separator != Separator::Space)
        && is_american_number(run.digits(&groups[..3]))
}

/// Ten digits: neither the area nor the exchange begins with 0 or 1, and it is not one of fiction's.
fn is_american_number(digits: &[u8]) -> bool {
    digits.len() == 10 && digits[0] >= b'2' && digits[3] >= b'2' && !is_fiction(digits)
}

/// The numbers that are reserved for films and manuals: 555-0100 to 555-0199.
fn is_fiction(digits: &[u8]) -> bool {
    let last = &digits[digits.len().saturating_sub(7)..];
    last.starts_with(b"55501")
}

/// A leading 0, as most of Europe dials at home: groups that are the whole run.
fn is_national(run: &Run, groups: &[Group]) -> bool {
    let digits = run.digits(groups);
    let [first, rest @ ..] = groups else { return false };
    let leads = digits[0] == b'0' && digits[1] != b'0';
    let separated = rest.iter().all(|group| group.length >= 2);
    // A ZIP code with its four more digits, or a range.
    let is_pair = matches!(rest, [last] if last.separator == Separator::Hyphen
        && (last.length == first.length || [first.length, last.length] == [5, 4]));
    // 0794.0020.0002 numbers sections.
    let is_row = rest.len() > 1 && first.length > 2 && rest.iter().all(|group| group.length == first.length);
    leads
        && !is_pair
        && !is_row
        && (1..=5).contains(&rest.len())
        && (9..=12).contains(&digits.len())
        && (2..=5).contains(&first.length)
        && separated
}

/// Mobile numbers that are often written in one piece: British, German, French.
fn is_mobile(run: &Run, part: &[Group]) -> bool {
    if part.get(1).is_some_and(|next| next.separator != Separator::Space) {
        return false;
    }
    match run.digits(&part[..1]) {
        [b'0', b'7', rest @ ..] if rest.len() == 9 => true,
        [b'0', b'1', b'5'..=b'7', rest @ ..] => matches!(rest.len(), 8 | 9),
        [b'0', b'6' | b'7', rest @ ..] => rest.len() == 8,
        _ => false,
    }
}

/// A date or the start of a time stamp: three groups such as 2024-05-11, 11.05.2024, 5/11/24.
fn is_date(groups: &[Group]) -> bool {
    let [first, second, third, rest @ ..] = groups else { return false };
    let separator = second.separator;
    let joined = separator == third.separator
        && matches!(separator, Separator::Dot | Separator::Hyphen | Separator::Slash);
    let goes_on = rest.first().is_some_and(|next| next.separator == separator);
    let lengths =
        matches!([first.length, second.length, third.length], [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 2 | 4]);
    joined && !goes_on && lengths
}

/// What the few words before a number say about it. The nearest decides; some, such as "is" and "at", say
/// nothing.
fn context(text: &[u8], place: usize) -> Context {
    const BYTES: usize = 48;
    let mut rest = &text[place.saturating_sub(BYTES)..place];
    let mut after: &[u8] = b"";
    let mut told = Context::Unknown;
    for _ in 0..4 {
        while let [before @ .., byte] = rest {
            if matches!(byte, b'\n' | b';' | b'!' | b'?') {
                return told;
            }
            if is_letter(byte) {
                break;
            }
            rest = before;
        }
        let length = rest.iter().rev().take_while(|byte| is_letter(byte)).count();
        let (before, word) = rest.split_at(rest.len() - length);
        if word.is_empty() {
            return told;
        }
        rest = before;
        match word_context(word, after) {
            Context::Unknown => {}
            Context::Perhaps => told = Context::Perhaps,
            known => return known,
        }
        after = word;
    }
    told
}

fn is_letter(byte: &u8) -> bool {
    byte.is_ascii_alphabetic() || *byte >= 0x80
}

fn word_context(word: &[u8], after: &[u8]) -> Context {
    let is_one_of = |words: &[&str]| words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word));
    let asks_for_someone = ["me", "us", "him", "her", "them"].iter().any(|who| who.as_bytes() == after);
    if is_one_of(&PHONE) || is_one_of(&["call", "dial", "reach", "ring", "text"]) && asks_for_someone {
        Context::Phone
    } else if is_one_of(&OTHER) {
        Context::Other
    } else if is_one_of(&["number", "nummer", "numéro", "número"]) {
        Context::Perhaps
    } else {
        Context::Unknown
    }
}

#[rustfmt::skip]
const PHONE: [&str; 22] = [
    "cell", "cellphone", "fax", "handy", "handynummer", "mobil", "mobile", "mobilnummer", "móvil", "phone",
    "rufnummer", "sms", "tel", "telefon", "telefono", "telefonnummer", "telephone", "teléfono", "telefax", "tél",
    "téléphone", "whatsapp",
];

#[rustfmt::skip]
const OTHER: [&str; 32] = [
    "account", "artikel", "batch", "bestellnummer", "bestellung", "build", "case", "commande", "commit", "epoch",
    "id", "invoice", "isbn", "issue", "item", "lot", "model", "order", "part", "port", "rechnung", "ref",
    "reference", "seed", "serial", "sku", "ticket", "time", "timestamp", "tracking", "ts", "version",
];
