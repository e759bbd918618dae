//! Filters and tests whose arguments or results differ between minijinja and jinja2, as in jinja2.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{python, text_methods};

/// Replaces the differing filters and tests.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", to_json);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("float", to_float);
    environment.add_filter("indent", indent);
    environment.add_filter("int", to_integer);
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| {
        python::to_text(state, value).map(|text| text.into_owned())
    });
    environment.add_filter("trim", trim);
    environment.add_filter("wordcount", |text: &str| text_methods::words(text, usize::MAX).len());
    // jinja2's reads attributes of Python objects, which values here do not have.
    environment.remove_filter("attr");
    // Takes time without bound for values nested deep.
    environment.remove_filter("pprint");
    // jinja2 has none of these.
    for own in ["bool", "chain", "lines", "split", "zip"] {
        environment.remove_filter(own);
    }
    environment.add_test("callable", |value: &Value| {
        matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String | ValueKind::Undefined
        )
    });
}

/// `json.dumps` with transformers' defaults.
fn to_json(state: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let mut layout = python::JsonLayout::new(ensure_ascii, sort_keys);
    if let Some(indent) = arguments.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none()) {
        layout = layout.indented(&indent)?;
    }
    if let Some(separators) = arguments.get::<Option<Value>>("separators")?.filter(|pair| !pair.is_none()) {
        layout = layout.separated(&separators)?;
    }
    arguments.assert_all_used()?;
    python::to_json(state, value, &layout)
}

/// Another value in place of an undefined one, or of any that counts as false.
fn default(
    value: &Value,
    other: Option<Value>,
    any_false: Option<bool>,
    named: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(named.get::<Option<Value>>("default_value")?);
    let any_false = any_false.or(named.get::<Option<bool>>("boolean")?).unwrap_or(false);
    named.assert_all_used()?;
    if value.is_undefined() || (any_false && !value.is_true()) {
        Ok(other.unwrap_or_else(|| Value::from("")))
    } else {
        Ok(value.clone())
    }
}

/// HTML's special characters as entities.
fn escape(state: &State<'_, '_>, text: &Value) -> Result<String, Error> {
    let text = python::to_text(state, text)?;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

/// A whole number, or the default for what is none.
fn to_integer(value: &Value, default: Option<i64>, base: Option<u32>, named: Kwargs) -> Result<Value, Error> {
    let default = default.or(named.get::<Option<i64>>("default")?).unwrap_or(0);
    let base = base.or(named.get::<Option<u32>>("base")?).unwrap_or(10);
    named.assert_all_used()?;
    if !(base == 0 || (2..=36).contains(&base)) {
        return Err(invalid(format!("a number cannot have the base {base}")));
    }
    let whole = match value.kind() {
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => f64::try_from(value.clone()).ok().and_then(truncated),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim();
            parsed_integer(text, base).map(Value::from).or_else(|| parsed_float(text).and_then(truncated))
        }
        _ => None,
    };
    Ok(whole.unwrap_or_else(|| Value::from(default)))
}

fn to_float(value: &Value, default: Option<f64>, named: Kwargs) -> Result<f64, Error> {
    let default = default.or(named.get::<Option<f64>>("default")?).unwrap_or(0.0);
    named.assert_all_used()?;
    Ok(match value.kind() {
        ValueKind::Bool => f64::from(u8::from(value.is_true())),
        ValueKind::Number => f64::try_from(value.clone())?,
        ValueKind::String => parsed_float(value.as_str().unwrap_or_default().trim()).unwrap_or(default),
        _ => default,
    })
}

fn truncated(number: f64) -> Option<Value> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "the number is whole and in range")]
    (number.abs() <= EXACT_MAX).then(|| Value::from(number.trunc() as i64))
}

fn parsed_integer(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let lower = digits.to_ascii_lowercase();
    let prefixed = prefixes.into_iter().find(|(prefix, _)| lower.starts_with(prefix));
    let (digits, base) = match prefixed {
        Some((prefix, own)) if base == 0 || base == own => (&lower[prefix.len()..], own),
        _ => (lower.as_str(), if base == 0 { 10 } else { base }),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, base).ok()?;
    Some(if negative { -number } else { number })
}

fn parsed_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Spaces (or a text) before every line but the first.
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    const WIDTH_MAX: usize = 64;
    let width = width.or(named.get::<Option<Value>>("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(named.get::<Option<bool>>("first")?).unwrap_or(false);
    let blank = blank.or(named.get::<Option<bool>>("blank")?).unwrap_or(false);
    named.assert_all_used()?;
    let margin = match (width.as_str(), width.as_i64()) {
        (Some(margin), _) if margin.len() <= WIDTH_MAX => margin.to_owned(),
        (None, Some(spaces)) if spaces <= WIDTH_MAX as i64 => {
            " ".repeat(usize::try_from(spaces).unwrap_or(0))
        }
        _ => return Err(invalid(format!("text cannot be indented by {width}"))),
    };
    let lines = text_methods::lines(text, false);
    let mut indented = String::with_capacity(text.len());
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            indented.push_str(&margin);
        }
        indented.push_str(line);
    }
    // jinja2 adds a line break before it splits, so that a last empty line counts.
    if text.ends_with('\n') {
        indented.push('\n');
        indented.push_str(if blank { &margin } else { "" });
    }
    Ok(indented)
}

/// Without white space, or the given characters, at both ends.
fn trim(
    state: &State<'_, '_>,
    text: &Value,
    characters: Option<&str>,
    named: Kwargs,
) -> Result<String, Error> {
    let characters = characters.or(named.get::<Option<&str>>("chars")?);
    named.assert_all_used()?;
    let text = python::to_text(state, text)?;
    Ok(text_methods::strip(&text, characters, true, true).to_owned())
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
