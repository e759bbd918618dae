//! What is done to a template's source before it is compiled, and the size of what it will see.

use super::TemplateError;

/// Characters of one tag outside of string constants. The longest in use have a few hundred.
const TAG_CODE_MAX: usize = 16 << 10;

/// Line endings as jinja2 reads them, and transformers' `{% generation %}` (which marks the
/// assistant's part for training and prints it unchanged) as a plain scope.
///
/// # Errors
/// A tag longer than any template's: expressions are compiled recursively.
pub(super) fn prepare(source: &str) -> Result<String, TemplateError> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        prepared.push_str(before);
        let too_long = || TemplateError::Syntax {
            line: 1 + prepared.matches('\n').count(),
            reason: format!("a tag has more than {TAG_CODE_MAX} characters of code"),
        };
        let taken = match tag.as_bytes().get(1) {
            Some(b'#') => copied_to(tag, "#}"),
            Some(b'{') => copied_code(tag, "}}").ok_or_else(too_long)?,
            Some(b'%') => {
                let taken = copied_code(tag, "%}").ok_or_else(too_long)?;
                if is_tag(&tag[..taken], "raw") {
                    raw_block(tag, taken)
                } else if is_tag(&tag[..taken], "generation") {
                    prepared.push_str(&tag[..taken].replacen("generation", "with", 1));
                    rest = &tag[taken..];
                    continue;
                } else if is_tag(&tag[..taken], "endgeneration") {
                    prepared.push_str(&tag[..taken].replacen("endgeneration", "endwith", 1));
                    rest = &tag[taken..];
                    continue;
                } else {
                    taken
                }
            }
            _ => 1,
        };
        prepared.push_str(&tag[..taken]);
        rest = &tag[taken..];
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// The bytes up to and including `end`, or all.
fn copied_to(text: &str, end: &str) -> usize {
    text.find(end).map_or(text.len(), |at| at + end.len())
}

/// As [`copied_to`], past the `end`s inside string constants; `None` if there is too much code.
fn copied_code(text: &str, end: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut code = 0;
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => continue,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if text[at..].starts_with(end) => return Some(at + end.len()),
            None => {}
        }
        code += 1;
        if code > TAG_CODE_MAX {
            return None;
        }
    }
    Some(text.len())
}

/// The bytes of a raw block whose opening tag takes `opening`.
fn raw_block(text: &str, opening: usize) -> usize {
    let mut from = opening;
    while let Some(at) = text[from..].find("{%") {
        let start = from + at;
        let end = start + copied_to(&text[start..], "%}");
        if is_tag(&text[start..end], "endraw") {
            return end;
        }
        from = start + 2;
    }
    text.len()
}

/// Whether `{% ... %}` holds `name` alone.
fn is_tag(tag: &str, name: &str) -> bool {
    let Some(inside) = tag.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) else { return false };
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    inside.strip_suffix(['-', '+']).unwrap_or(inside).trim() == name
}

/// A measure of how much a template has to go through: the text of a value and a little for each
/// of its parts.
pub(super) fn json_bytes(value: &serde_json::Value) -> usize {
    const PART_BYTES: usize = 16;
    PART_BYTES
        + match value {
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 0,
            serde_json::Value::String(text) => text.len(),
            serde_json::Value::Array(items) => items.iter().map(json_bytes).sum(),
            serde_json::Value::Object(fields) => {
                fields.iter().map(|(name, field)| name.len() + json_bytes(field)).sum()
            }
        }
}
