//! The tokens of JSON that have more than one character, read character by character.

use serde_json::Value;

use crate::machine::Fault;

const NOT_A_STRING: Fault = "it is no JSON: a string that is none";
const NOT_A_WORD: Fault = "it is no JSON: a word that is none";

/// A string, behind its opening quote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    read: String,
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Hexadecimal digits so far, and their value.
    Unicode(u8, u32),
}

impl Text {
    /// The next character. Returns whether it closed the string.
    pub(crate) fn push(&mut self, character: char) -> Result<bool, Fault> {
        match self.escape {
            Escape::None => match character {
                '"' => return Ok(true),
                '\\' => self.escape = Escape::Begun,
                '\0'..='\u{1f}' => return Err(NOT_A_STRING),
                _ => self.read.push(character),
            },
            Escape::Begun => {
                self.escape = Escape::None;
                match character {
                    '"' | '\\' | '/' => self.read.push(character),
                    'b' => self.read.push('\u{8}'),
                    'f' => self.read.push('\u{c}'),
                    'n' => self.read.push('\n'),
                    'r' => self.read.push('\r'),
                    't' => self.read.push('\t'),
                    'u' => self.escape = Escape::Unicode(0, 0),
                    _ => return Err(NOT_A_STRING),
                }
            }
            Escape::Unicode(digits, value) => {
                let value = value * 16 + character.to_digit(16).ok_or(NOT_A_STRING)?;
                self.escape = Escape::Unicode(digits + 1, value);
                if digits == 3 {
                    self.escape = Escape::None;
                    // Halves of a pair are compared with nothing that matters here.
                    self.read.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
        }
        Ok(false)
    }

    /// What has been read, escapes undone.
    pub(crate) fn read(&self) -> &str {
        &self.read
    }

    pub(crate) fn into_read(self) -> String {
        self.read
    }

    /// What closes it here.
    pub(crate) fn closing(&self) -> String {
        match self.escape {
            Escape::None => "\"".to_owned(),
            Escape::Begun => "\\\"".to_owned(),
            Escape::Unicode(digits, _) => format!("{}\"", "0".repeat(usize::from(4 - digits))),
        }
    }
}

/// A number.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    text: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Number {
    /// A number that begins with this character: a minus or a digit.
    pub(crate) fn new(first: char) -> Self {
        let place = match first {
            '-' => Place::Minus,
            '0' => Place::Zero,
            _ => Place::Whole,
        };
        Self { text: first.to_string(), place }
    }

    /// Takes the next character if it belongs to the number.
    pub(crate) fn push(&mut self, character: char) -> bool {
        let next = match (self.place, character) {
            (Place::Minus, '0') => Place::Zero,
            (Place::Minus, '1'..='9') | (Place::Whole, '0'..='9') => Place::Whole,
            (Place::Zero | Place::Whole, '.') => Place::Point,
            (Place::Point | Place::Fraction, '0'..='9') => Place::Fraction,
            (Place::Zero | Place::Whole | Place::Fraction, 'e' | 'E') => Place::Exponent,
            (Place::Exponent, '+' | '-') => Place::Sign,
            (Place::Exponent | Place::Sign | Place::Power, '0'..='9') => Place::Power,
            _ => return false,
        };
        self.place = next;
        self.text.push(character);
        true
    }

    /// Whether it may end here.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.place, Place::Zero | Place::Whole | Place::Fraction | Place::Power)
    }

    /// Whether its value is an integer, however that is written: JSON Schema counts `1.0` and `1e1` as some.
    pub(crate) fn is_integer(&self) -> bool {
        let (digits, exponent) = self.text.split_once(['e', 'E']).unwrap_or((&self.text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let whole_digits = whole.trim_start_matches('-');
        if fraction.is_empty() && whole_digits == "0" {
            return true;
        }
        // Powers of ten that its last digit but zeros stands above one.
        let place = if fraction.is_empty() {
            (whole_digits.len() - whole_digits.trim_end_matches('0').len()) as i64
        } else {
            -(fraction.len() as i64)
        };
        // An exponent beyond any that a machine counts to decides by its sign.
        let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        exponent.parse().unwrap_or(beyond).saturating_add(place) >= 0
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// `true`, `false` or `null`.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    word: &'static str,
    read: usize,
}

impl Literal {
    /// The word that begins with this character.
    pub(crate) fn new(first: char) -> Self {
        let word = match first {
            't' => "true",
            'f' => "false",
            _ => "null",
        };
        Self { word, read: 1 }
    }

    /// The next character. Returns whether the word is whole.
    pub(crate) fn push(&mut self, character: char) -> Result<bool, Fault> {
        if !self.rest().starts_with(character) {
            return Err(NOT_A_WORD);
        }
        self.read += 1;
        Ok(self.rest().is_empty())
    }

    /// What is missing of it.
    pub(crate) fn rest(&self) -> &'static str {
        &self.word[self.read..]
    }

    pub(crate) fn value(&self) -> Value {
        match self.word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Null,
        }
    }
}
