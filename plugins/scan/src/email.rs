//! E-mail addresses.
//!
//! Not personal: addresses at names that are reserved for documentation (`example.com`, `.test`,
//! `.invalid` …), a few that manuals use all the same (`domain.com`, `foo@bar.com`), senders that nobody
//! reads (`noreply@`, `git@`), and what only looks like one (`icon@2x.png`, `package@1.2.3`).

use std::ops::Range;

use super::{escape, is_word};

const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;

/// Local parts that belong to no person.
const NOBODY: &[&[u8]] = &[b"donotreply", b"git", b"mailer-daemon", b"no-reply", b"noreply"];

/// Domains that stand for any domain.
const PLACEHOLDER_DOMAINS: &[&[u8]] =
    &[b"domain.com", b"domain.tld", b"yourcompany.com", b"yourdomain.com", b"your-domain.com"];

/// Whole addresses that stand for any address.
const PLACEHOLDER_ADDRESSES: &[&[u8]] = &[b"foo@bar.com", b"test@test.com", b"user@host.com"];

/// Names that are reserved for documentation and tests (RFC 2606 and 6761), below which nobody has a mailbox.
const RESERVED_NAMES: &[&[u8]] = &[b"example", b"invalid", b"localhost", b"test"];

/// Endings of file names, where `name@2x.png` is no address.
const FILE_ENDINGS: &[&[u8]] = &[
    b"css", b"gif", b"htm", b"html", b"ico", b"jpeg", b"jpg", b"js", b"json", b"jsx", b"map", b"md", b"mjs",
    b"pdf", b"png", b"scss", b"svg", b"ts", b"tsx", b"txt", b"webp", b"xml", b"yaml", b"yml",
];

/// Whether the `@` at `place` is that of a personal address.
#[inline(never)]
pub(crate) fn at(text: &[u8], place: usize) -> bool {
    let mut local = local_before(&text[..place], LOCAL_BYTES_MAX);
    while let [b'.' | b'-' | b'\'' | b'+' | b'%' | b'=', rest @ ..] = local {
        local = rest;
    }
    let after = &text[place + 1..text.len().min(place + 1 + DOMAIN_BYTES_MAX)];
    let domain = domain(after);
    match ending(domain) {
        Some(ending) if !local.is_empty() => {
            !is_one_of(ending, FILE_ENDINGS) && !is_one_of(local, NOBODY) && !is_placeholder(local, domain)
        }
        _ => false,
    }
}

/// The whole address around the `@` at `place`.
pub(crate) fn range(text: &[u8], place: usize) -> Range<usize> {
    let local = local_before(&text[..place], place);
    let punctuation =
        local.iter().take_while(|&&byte| !is_word(byte) && !matches!(byte, b'_' | b'\\')).count();
    place - local.len() + punctuation..place + 1 + domain(&text[place + 1..]).len()
}

/// What may be the part before the `@` at the end of the text, looking back so many bytes. An escape such as `\n` is no
/// part of it, one that stands for a letter is.
fn local_before(text: &[u8], bytes_max: usize) -> &[u8] {
    &text[escape::part_before(text, bytes_max, is_local)..]
}

fn is_local(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'%' | b'\'' | b'=')
}

/// The host name at the start of the text, its escaped letters among it, without a dot or hyphen at its end.
fn domain(text: &[u8]) -> &[u8] {
    let is_domain =
        |&&byte: &&u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-');
    let mut length = text.iter().take_while(is_domain).count();
    while let Some(letter) = escape::letter_at_start(&text[length..]) {
        length += letter;
        length += text[length..].iter().take_while(is_domain).count();
    }
    let mut domain = &text[..length];
    while let [rest @ .., b'.' | b'-'] = domain {
        domain = rest;
    }
    domain
}

/// The last label of a host name that has several, none of them empty. It is letters, or an encoded name.
fn ending(domain: &[u8]) -> Option<&[u8]> {
    let mut labels = domain.rsplit(|&byte| byte == b'.');
    let ending = labels.next()?;
    let (mut others, mut numbers) = (0, 0);
    for label in labels {
        if label.is_empty() {
            return None;
        }
        others += 1;
        numbers += usize::from(label.iter().all(u8::is_ascii_digit));
    }
    let is_name = ending.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80)
        || ending.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
    // 0.1.0.wasm is a version.
    (others > 0 && numbers < 2 && ending.len() >= 2 && is_name).then_some(ending)
}

fn is_placeholder(local: &[u8], domain: &[u8]) -> bool {
    if is_one_of(domain, PLACEHOLDER_DOMAINS) {
        return true;
    }
    let mut labels = domain.rsplit(|&byte| byte == b'.');
    let ending = labels.next().unwrap_or_default();
    let name = labels.next().unwrap_or_default();
    let is_example =
        name.eq_ignore_ascii_case(b"example") && is_one_of(ending, &[b"com", b"edu", b"net", b"org"]);
    is_example
        || is_one_of(ending, RESERVED_NAMES)
        || PLACEHOLDER_ADDRESSES.iter().any(|address| is_address(address, local, domain))
}

fn is_address(address: &[u8], local: &[u8], domain: &[u8]) -> bool {
    address.len() == local.len() + 1 + domain.len()
        && address[..local.len()].eq_ignore_ascii_case(local)
        && address[local.len() + 1..].eq_ignore_ascii_case(domain)
}

fn is_one_of(text: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(text))
}
