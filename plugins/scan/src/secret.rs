//! Private keys and access tokens: what a known prefix must be followed by to be one.
//!
//! Not secret: tokens that stand for one. Those repeat a few characters (`sk-xxxxxxxx`) or say so
//! (`AKIAIOSFODNN7EXAMPLE`, `ghp_your_token_here`).

use std::ops::Range;

/// What follows a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// At least this many letters, digits, `_`, `-`, with a digit among them.
    Plain(usize),
    /// At least this many letters and digits, upper and lower case or a digit among them.
    Mixed(usize),
    /// At least this many characters of base64, with a digit among them.
    Base64(usize),
    /// Exactly this many capital letters and digits, nothing of a word behind.
    Capitals(usize),
    /// Two or three parts of base64, divided by dots, the second beginning like a JSON object.
    JsonWebToken,
    /// `PRIVATE KEY-----`, perhaps after the kind of key.
    PrivateKey,
    /// `:` or `=`, perhaps in quotes, and at least this many characters of base64.
    Assigned(usize),
    /// A space and at least this many characters of a token, with a digit among them.
    AfterSpace(usize),
}

const LOOK_AHEAD: usize = 512;

/// Whether what stands at `end`, behind a prefix that begins at `start`, makes it a secret.
pub(crate) fn follows(shape: Shape, text: &[u8], start: usize, end: usize) -> bool {
    let after = &text[end..text.len().min(end + LOOK_AHEAD)];
    match shape {
        Shape::Plain(least) => is_token(run(after, is_plain), least),
        Shape::Mixed(least) => {
            let body = run(after, |byte| byte.is_ascii_alphanumeric());
            let has = |is: fn(&u8) -> bool| body.iter().any(is);
            let is_mixed =
                has(u8::is_ascii_digit) || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
            body.len() >= least && is_mixed && !is_placeholder(body)
        }
        Shape::Base64(least) => is_token(run(after, is_base64), least),
        Shape::Capitals(length) => {
            let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            let body = run(after, is_capital);
            let ends = after.get(length).is_none_or(|&byte| !super::is_word(byte));
            body.len() == length && ends && !is_placeholder(body)
        }
        Shape::JsonWebToken => is_json_web_token(after),
        Shape::PrivateKey => {
            let begins = start >= 5 && &text[start - 5..start] == b"-----";
            let line = run(after, |byte| byte == b' ' || byte.is_ascii_uppercase() || byte.is_ascii_digit());
            let is_key = line.ends_with(b"PRIVATE KEY") || line.ends_with(b"PRIVATE KEY BLOCK");
            begins && is_key && after[line.len()..].starts_with(b"-----")
        }
        Shape::Assigned(least) => {
            let gap = run(after, is_assignment).len();
            let assigned = after[..gap].iter().any(|byte| matches!(byte, b'=' | b':'));
            assigned && is_token(run(&after[gap..], is_base64), least)
        }
        Shape::AfterSpace(least) => {
            let Some((b' ', rest)) = after.split_first() else { return false };
            is_token(run(rest, |byte| is_base64(byte) || matches!(byte, b'.' | b'~')), least)
        }
    }
}

/// The bytes of the secret of that shape whose prefix lies from `start` to `end`. However long it is.
pub(crate) fn range(shape: Shape, text: &[u8], start: usize, end: usize) -> Range<usize> {
    let after = &text[end..];
    match shape {
        Shape::Plain(_) => start..end + run(after, is_plain).len(),
        Shape::Mixed(_) => start..end + run(after, |byte| byte.is_ascii_alphanumeric()).len(),
        Shape::Base64(_) => start..end + run(after, is_base64).len(),
        Shape::Capitals(length) => start..end + length,
        Shape::JsonWebToken => start..end + run(after, |byte| is_plain(byte) || byte == b'.').len(),
        Shape::PrivateKey => {
            // To the end of its last line; where that is missing, as far as it may be a key.
            let last_line = find(after, b"-----END").map(|at| at + b"-----END".len());
            let length = last_line
                .and_then(|at| Some(at + find(&after[at..], b"-----")? + b"-----".len()))
                .unwrap_or_else(|| {
                    let is_part = |byte: u8| {
                        is_base64(byte) || byte.is_ascii_whitespace() || matches!(byte, b'\\' | b':' | b',')
                    };
                    run(after, is_part).len()
                });
            start.saturating_sub(5)..end + length
        }
        Shape::Assigned(_) => {
            let gap = run(after, is_assignment).len();
            start..end + gap + run(&after[gap..], is_base64).len()
        }
        Shape::AfterSpace(_) => {
            let is_part = |byte| is_base64(byte) || matches!(byte, b'.' | b'~');
            start..end + 1 + run(after.get(1..).unwrap_or_default(), is_part).len()
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn is_assignment(byte: u8) -> bool {
    matches!(byte, b' ' | b'"' | b'\'' | b'=' | b':')
}

fn is_json_web_token(header: &[u8]) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = run(header, is_part).len();
    let Some([b'.', b'e', b'y', payload @ ..]) = header.get(length..) else { return false };
    length >= 8 && run(payload, is_part).len() >= 8
}

fn run(text: &[u8], is_part: impl Fn(u8) -> bool) -> &[u8] {
    &text[..text.iter().take_while(|&&byte| is_part(byte)).count()]
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_base64(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b'+' | b'/' | b'=')
}

fn is_token(body: &[u8], least: usize) -> bool {
    body.len() >= least && body.iter().any(u8::is_ascii_digit) && !is_placeholder(body)
}

/// Whether a token only stands for one.
fn is_placeholder(body: &[u8]) -> bool {
    let mut seen = [0u64; 2];
    for byte in body {
        seen[usize::from(byte >> 6 & 1)] |= 1 << (byte & 63);
    }
    let distinct = seen[0].count_ones() + seen[1].count_ones();
    let says = |word: &[u8]| body.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    distinct < 6 || [&b"example"[..], b"your", b"xxxx", b"placeholder", b"redacted"].into_iter().any(says)
}
