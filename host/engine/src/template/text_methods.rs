//! Methods of Python's strings, dictionaries and lists that templates call.
//!
//! Owns those whose exact behaviour matters (what counts as white space, how text splits) and those
//! that minijinja's compatibility layer lacks; it answers for the rest.

use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::operators;

/// Calls `method` of `value`, if templates may.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::String => match value.as_str() {
            Some(text) => text_method(state, text, method, arguments)?,
            None => None,
        },
        ValueKind::Map if method == "copy" => {
            let () = from_args(arguments)?;
            Some(value.clone())
        }
        ValueKind::Seq if method == "copy" => {
            let () = from_args(arguments)?;
            Some(value.clone())
        }
        ValueKind::Seq if method == "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let mut found = None;
            for (index, item) in value.try_iter()?.checked().enumerate() {
                if item? == *wanted {
                    found = Some(Value::from(index));
                    break;
                }
            }
            Some(found.ok_or_else(|| invalid(format!("{wanted} is not in the list")))?)
        }
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

/// What Python calls white space: Unicode's, and four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

fn text_method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(arguments)?;
            Value::from(strip(text, characters, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => {
            let (separator, splits, named): (Option<&str>, Option<i64>, Kwargs) = from_args(arguments)?;
            let separator = separator.or(named.get::<Option<&str>>("sep")?);
            let splits = splits.or(named.get::<Option<i64>>("maxsplit")?);
            named.assert_all_used()?;
            let splits = splits.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
            let parts = match (separator, method) {
                (Some(""), _) => return Err(invalid("empty separator".to_owned())),
                (Some(separator), "split") => text.splitn(splits.saturating_add(1), separator).collect(),
                (Some(separator), _) => {
                    let mut parts: Vec<&str> = text.rsplitn(splits.saturating_add(1), separator).collect();
                    parts.reverse();
                    parts
                }
                (None, "split") => words(text, splits),
                (None, _) => last_words(text, splits),
            };
            parts.into_iter().map(Value::from).collect()
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(arguments)?;
            lines(text, keep.unwrap_or(false)).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let found =
                if method == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match found {
                _ if separator.is_empty() => return Err(invalid("empty separator".to_owned())),
                Some((before, after)) => [before, separator, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(arguments)?;
            let found = if method == "index" { text.find(wanted) } else { text.rfind(wanted) };
            let at = found.ok_or_else(|| invalid("substring not found".to_owned()))?;
            Value::from(text[..at].chars().count())
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            state.consume_fuel(u64::try_from(width / 16).unwrap_or(u64::MAX))?;
            Value::from(padded(text, method, width, fill.unwrap_or(' ')))
        }
        "casefold" => {
            let () = from_args(arguments)?;
            Value::from(text.to_lowercase())
        }
        "swapcase" => {
            let () = from_args(arguments)?;
            let swapped: String = text
                .chars()
                .flat_map(|character| -> Vec<char> {
                    if character.is_uppercase() {
                        character.to_lowercase().collect()
                    } else {
                        character.to_uppercase().collect()
                    }
                })
                .collect();
            Value::from(swapped)
        }
        "format" => Value::from(operators::formatted(state, FormatStyle::StrFormat, text, arguments)?),
        "title" => {
            let () = from_args(arguments)?;
            Value::from(titled(text))
        }
        "istitle" => {
            let () = from_args(arguments)?;
            Value::from(titled(text) == text && text.chars().any(is_cased))
        }
        "isspace" => {
            let () = from_args(arguments)?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        _ => return Ok(None),
    }))
}

/// `str.strip` and its one-sided forms.
pub(super) fn strip<'t>(text: &'t str, characters: Option<&str>, left: bool, right: bool) -> &'t str {
    let strips = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_space(character),
    };
    let text = if left { text.trim_start_matches(strips) } else { text };
    if right { text.trim_end_matches(strips) } else { text }
}

/// `split()` without a separator: runs of white space part words, and none is empty.
pub(super) fn words(text: &str, splits: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = if parts.len() == splits { None } else { rest.find(is_space) };
        let Some(end) = end else {
            parts.push(rest);
            break;
        };
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    // What is left after the last split keeps its trailing space, unless it was split off.
    parts
}

fn last_words(text: &str, splits: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let start =
            if parts.len() == splits { None } else { rest.char_indices().rev().find(|(_, c)| is_space(*c)) };
        let Some((start, space)) = start else {
            parts.push(rest);
            break;
        };
        parts.push(&rest[start + space.len_utf8()..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// `splitlines`: at every line boundary that Python knows.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let breaks = matches!(
            character,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if breaks {
            let mut end = at + character.len_utf8();
            if character == '\r' && characters.next_if(|(_, next)| *next == '\n').is_some() {
                end += 1;
            }
            parts.push(&text[start..if keep { end } else { at }]);
            start = end;
        }
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

fn is_cased(character: char) -> bool {
    character.is_uppercase() || character.is_lowercase()
}

/// `str.title`: a capital after everything that is no letter, an apostrophe included.
fn titled(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        if inside {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        inside = is_cased(character);
    }
    titled
}

fn padded(text: &str, method: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let run = |count: usize, fill: char| std::iter::repeat_n(fill, count).collect::<String>();
    match method {
        "ljust" => format!("{text}{}", run(missing, fill)),
        "rjust" => format!("{}{text}", run(missing, fill)),
        "zfill" => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", run(missing, '0'))
        }
        _ => {
            // CPython puts the odd space on the left where the width is odd too.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", run(left, fill), run(missing - left, fill))
        }
    }
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
