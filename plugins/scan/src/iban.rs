//! International bank account numbers, by country, length and checksum (ISO 13616).

/// Length by country. A number whose country is not here is not recognised.
#[rustfmt::skip]
const LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16), (b"BG", 22),
    (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28), (b"CZ", 24),
    (b"DE", 22), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24), (b"FI", 18),
    (b"FK", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27),
    (b"GT", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"IT", 27),
    (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20), (b"LU", 20),
    (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20), (b"MR", 27),
    (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23), (b"PK", 24), (b"PL", 28),
    (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22), (b"RU", 33), (b"SA", 24), (b"SC", 31),
    (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25), (b"SV", 28),
    (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

/// Whether an account number begins at `place`, in one piece or in groups.
pub(crate) fn at(text: &[u8], place: usize) -> bool {
    end(text, place).is_some()
}

/// Where the account number that begins at `place` ends, if there is one.
pub(crate) fn end(text: &[u8], place: usize) -> Option<usize> {
    let country = [text[place].to_ascii_uppercase(), text[place + 1].to_ascii_uppercase()];
    let &(_, length) = LENGTHS.iter().find(|(known, _)| **known == country)?;

    // The checksum is over the number with its first four characters at the end.
    let (mut rest, mut start) = (0, 0);
    let mut taken = 0;
    let mut position = place;
    while taken < length {
        let &byte = text.get(position)?;
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'a'..=b'z' | b'A'..=b'Z' => u32::from(byte.to_ascii_uppercase() - b'A') + 10,
            _ => match separator(text, position) {
                0 => return None,
                _ if taken < 4 => return None,
                skip => {
                    position += skip;
                    continue;
                }
            },
        };
        if (2..4).contains(&taken) && value > 9 {
            return None;
        }
        let sum = if taken < 4 { &mut start } else { &mut rest };
        *sum = (*sum * if value > 9 { 100 } else { 10 } + value) % 97;
        taken += 1;
        position += 1;
    }
    if text.get(position).is_some_and(|&byte| super::is_word(byte)) {
        return None;
    }
    // Two letters and two digits move to the end: six decimal places.
    ((rest * (1_000_000 % 97) + start) % 97 == 1).then_some(position)
}

/// Bytes of the one separator at this place: a space, plain or not, or a hyphen.
fn separator(text: &[u8], place: usize) -> usize {
    match text.get(place..) {
        Some([b' ' | b'-', next, ..]) if next.is_ascii_alphanumeric() => 1,
        Some([0xc2, 0xa0, ..]) => 2,
        Some([0xe2, 0x80, 0xaf, ..]) => 3,
        _ => 0,
    }
}
