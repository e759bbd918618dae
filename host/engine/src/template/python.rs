//! Values as Python writes them: `str()`, `repr()`, `json.dumps`, `strftime`.
//!
//! Templates are written against these forms, so each is matched to the character.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::civil::DateTime;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::operators;

/// Nesting that is still written out; JSON from outside is no deeper than this.
const DEPTH_MAX: usize = 200;
/// What writing one value costs beside its bytes.
const ITEM_BYTES: usize = 16;

/// `str(value)`.
///
/// # Errors
/// A value nested too deeply, or an iterator that failed.
pub(super) fn to_text<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let mut writer = ReprWriter { state, text: String::new(), depth: 0 };
            writer.write(value)?;
            Ok(Cow::Owned(writer.text))
        }
        _ => Ok(Cow::Owned(value.to_string())),
    }
}

struct ReprWriter<'a> {
    state: &'a State<'a, 'a>,
    text: String,
    depth: usize,
}

impl ReprWriter<'_> {
    fn write(&mut self, value: &Value) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let before = self.text.len();
        match value.kind() {
            ValueKind::Number if !value.is_integer() => {
                self.text.push_str(&float_repr(f64::try_from(value.clone())?, "nan", "inf"));
            }
            ValueKind::Seq | ValueKind::Iterable => self.write_items(value)?,
            ValueKind::Map => self.write_fields(value)?,
            // Strings, integers and the rest have Python's form already.
            _ => write!(self.text, "{value:?}").map_err(Error::from)?,
        }
        operators::charge_bytes(self.state, self.text.len() - before + ITEM_BYTES)?;
        self.depth -= 1;
        Ok(())
    }

    fn write_items(&mut self, value: &Value) -> Result<(), Error> {
        let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
        self.text.push(open);
        let mut count = 0;
        for item in value.try_iter()?.checked() {
            self.text.push_str(if count > 0 { ", " } else { "" });
            self.write(&item?)?;
            count += 1;
        }
        self.text.push_str(if value.is_tuple() && count == 1 { "," } else { "" });
        self.text.push(close);
        Ok(())
    }

    fn write_fields(&mut self, value: &Value) -> Result<(), Error> {
        self.text.push('{');
        for (index, key) in value.try_iter()?.checked().enumerate() {
            let key = key?;
            self.text.push_str(if index > 0 { ", " } else { "" });
            self.write(&key)?;
            self.text.push_str(": ");
            self.write(&value.get_item(&key)?)?;
        }
        self.text.push('}');
        Ok(())
    }
}

/// `repr(float)`: the shortest digits that read back the same, in exponent form below 1e-4 and from
/// 1e16 on.
fn float_repr(number: f64, not_a_number: &str, infinity: &str) -> String {
    if number.is_nan() {
        return not_a_number.to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { infinity.to_owned() } else { format!("-{infinity}") };
    }
    let scientific = format!("{number:e}");
    let exponent: i32 = scientific.rsplit('e').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let mantissa = scientific.split('e').next().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// The options of `json.dumps`.
#[derive(Debug, Clone)]
pub(super) struct JsonLayout {
    ensure_ascii: bool,
    sort_keys: bool,
    /// What one level of nesting is indented by; `None` for one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

impl Default for JsonLayout {
    fn default() -> Self {
        Self {
            ensure_ascii: false,
            sort_keys: false,
            indent: None,
            item_separator: ", ".to_owned(),
            key_separator: ": ".to_owned(),
        }
    }
}

impl JsonLayout {
    /// Whether characters beyond ASCII are escaped, and whether keys are sorted.
    pub(super) fn new(ensure_ascii: bool, sort_keys: bool) -> Self {
        Self { ensure_ascii, sort_keys, ..Self::default() }
    }

    /// With the `indent` argument: a number of spaces or the text of one level.
    pub(super) fn indented(mut self, indent: &Value) -> Result<Self, Error> {
        const INDENT_MAX: i64 = 64;
        let level = match (indent.as_str(), indent.as_i64()) {
            (Some(text), _) if text.len() <= INDENT_MAX as usize => text.to_owned(),
            (None, Some(spaces)) if spaces <= INDENT_MAX => " ".repeat(usize::try_from(spaces).unwrap_or(0)),
            _ => return Err(invalid(format!("tojson cannot indent by {indent}"))),
        };
        self.indent = Some(level);
        self.item_separator = ",".to_owned();
        Ok(self)
    }

    /// With the `separators` argument: a pair.
    pub(super) fn separated(mut self, pair: &Value) -> Result<Self, Error> {
        let parts: Vec<Value> = pair.try_iter()?.checked().take(3).collect::<Result<_, _>>()?;
        match parts.as_slice() {
            [item, key] => {
                let text = |part: &Value| {
                    part.as_str().map(str::to_owned).ok_or_else(|| invalid(format!("{part} is no separator")))
                };
                self.item_separator = text(item)?;
                self.key_separator = text(key)?;
                Ok(self)
            }
            _ => Err(invalid("tojson needs two separators".to_owned())),
        }
    }
}

/// `json.dumps(value)`.
///
/// # Errors
/// A value that JSON cannot hold, or one nested too deeply.
pub(super) fn to_json(state: &State<'_, '_>, value: &Value, layout: &JsonLayout) -> Result<String, Error> {
    let mut writer = JsonWriter { state, layout, text: String::new(), depth: 0 };
    writer.write(value)?;
    Ok(writer.text)
}

struct JsonWriter<'a> {
    state: &'a State<'a, 'a>,
    layout: &'a JsonLayout,
    text: String,
    depth: usize,
}

impl JsonWriter<'_> {
    fn write(&mut self, value: &Value) -> Result<(), Error> {
        let before = self.text.len();
        self.write_value(value)?;
        operators::charge_bytes(self.state, self.text.len() - before + ITEM_BYTES)
    }

    fn write_value(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.write_number(value)?,
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.enter('[')?;
                let mut empty = true;
                for item in value.try_iter()?.checked() {
                    self.separate(&mut empty);
                    self.write(&item?)?;
                }
                self.leave(']', empty);
            }
            ValueKind::Map => {
                self.enter('{')?;
                let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                if self.layout.sort_keys {
                    keys.sort();
                }
                let mut empty = true;
                for key in keys {
                    self.separate(&mut empty);
                    self.write_key(&key)?;
                    self.text.push_str(&self.layout.key_separator);
                    self.write(&value.get_item(&key)?)?;
                }
                self.leave('}', empty);
            }
            other => return Err(invalid(format!("a value of type {other} is not JSON serializable"))),
        }
        Ok(())
    }

    fn write_number(&mut self, value: &Value) -> Result<(), Error> {
        if value.is_integer() {
            write!(self.text, "{value}").map_err(Error::from)
        } else {
            self.text.push_str(&float_repr(f64::try_from(value.clone())?, "NaN", "Infinity"));
            Ok(())
        }
    }

    fn write_key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.write_text(key.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.text.push('"');
                self.write(key)?;
                self.text.push('"');
            }
            other => return Err(invalid(format!("a key of type {other} is not JSON serializable"))),
        }
        Ok(())
    }

    fn write_text(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\0'..='\u{1f}' => self.write_escape(character),
                '\u{7f}'.. if self.layout.ensure_ascii => self.write_escape(character),
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    fn write_escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.text, "\\u{unit:04x}");
        }
    }

    fn enter(&mut self, open: char) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        self.text.push(open);
        Ok(())
    }

    fn separate(&mut self, empty: &mut bool) {
        if !*empty {
            self.text.push_str(&self.layout.item_separator);
        }
        *empty = false;
        self.new_line();
    }

    fn leave(&mut self, close: char, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.new_line();
        }
        self.text.push(close);
    }

    fn new_line(&mut self) {
        if let Some(indent) = &self.layout.indent {
            self.text.push('\n');
            for _ in 0..self.depth {
                self.text.push_str(indent);
            }
        }
    }
}

/// `datetime.strftime` in the C locale.
///
/// # Errors
/// A directive that is not one.
pub(super) fn strftime(date: &DateTime, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, *date).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

fn too_deep() -> Error {
    invalid(format!("a value is nested more than {DEPTH_MAX} levels deep"))
}
