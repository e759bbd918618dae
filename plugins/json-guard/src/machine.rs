//! Reads a JSON value character by character and knows at each one whether it can still become what the schema
//! wants, and how it could be closed at once.
//!
//! The grammar is that of RFC 8259.

use serde_json::Value;

use crate::schema::{ANY, Kind, Schema};
use crate::token::{Literal, Number, Text};

/// Containers in each other.
const DEPTH_MAX: usize = 128;

/// What is open.
#[derive(Clone, Debug)]
enum Frame {
    Object { node: usize, seen: Vec<String>, state: State, key: String },
    Array { node: usize, state: State },
}

/// Where a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    Open,
    /// In a key, or behind it before the colon.
    Key,
    /// Behind the colon.
    Value,
    /// Behind a member.
    After,
    /// Behind a comma.
    Comma,
}

/// A token that is not over.
#[derive(Clone, Debug)]
enum Token {
    Key(Text),
    Text(Text, usize),
    Number(Number, usize),
    Literal(Literal, usize),
}

/// A value as it is read.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    schema: Schema,
    frames: Vec<Frame>,
    token: Option<Token>,
    is_complete: bool,
}

/// Why a character cannot follow.
pub(crate) type Fault = &'static str;

const NOT_JSON: Fault = "it is no JSON";
const KIND: Fault = "a value of a kind that its schema does not have there";
const VALUE: Fault = "a value that its schema does not list";
const NAME: Fault = "a property that its schema does not have";
const MISSING: Fault = "a property that its schema requires is missing";
const DEPTH: Fault = "it is nested too deeply";

impl Machine {
    pub(crate) fn new(schema: Schema) -> Self {
        Self { schema, frames: Vec::new(), token: None, is_complete: false }
    }

    /// Whether the value has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.is_complete || self.token.is_some() || !self.frames.is_empty()
    }

    /// Whether an object or array that the schema wants begins with this character.
    pub(crate) fn may_begin(&self, character: char) -> bool {
        let kind = match character {
            '{' => Kind::Object,
            '[' => Kind::Array,
            _ => return false,
        };
        self.schema.begin(self.schema.root, kind).is_some()
    }

    /// Whether the value is over. A number at the top is over when something else comes, or at the end.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether what came last says nothing until more comes: a comma, a key, a colon.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.token, Some(Token::Key(_)))
            || self.token.is_none()
                && self.frames.last().is_some_and(|frame| {
                    let (Frame::Object { state, .. } | Frame::Array { state, .. }) = frame;
                    matches!(state, State::Key | State::Value | State::Comma)
                })
    }

    /// The next character.
    ///
    /// # Errors
    /// Why the value cannot go on like this.
    pub(crate) fn push(&mut self, character: char) -> Result<(), Fault> {
        match self.token.take() {
            Some(token) => self.go_on(token, character),
            None if matches!(character, ' ' | '\t' | '\n' | '\r') => Ok(()),
            None if self.is_complete => Err(NOT_JSON),
            None => self.significant(character),
        }
    }

    fn go_on(&mut self, token: Token, character: char) -> Result<(), Fault> {
        match token {
            Token::Key(mut text) => {
                let is_over = text.push(character)?;
                let Some(Frame::Object { node, key, .. }) = self.frames.last_mut() else {
                    return Err(NOT_JSON);
                };
                if !is_over {
                    if !self.schema.has_property_like(*node, text.read()) {
                        return Err(NAME);
                    }
                    self.token = Some(Token::Key(text));
                    return Ok(());
                }
                *key = text.into_read();
                if self.schema.property(*node, key).is_none() { Err(NAME) } else { Ok(()) }
            }
            Token::Text(mut text, node) => {
                let is_over = text.push(character)?;
                if let Some(values) = &self.schema.node(node).values {
                    let read = text.read();
                    let fits = |value: &&str| if is_over { *value == read } else { value.starts_with(read) };
                    if !values.iter().filter_map(Value::as_str).any(|value| fits(&value)) {
                        return Err(VALUE);
                    }
                }
                if is_over {
                    self.value_is_over();
                } else {
                    self.token = Some(Token::Text(text, node));
                }
                Ok(())
            }
            Token::Number(mut number, node) => {
                if number.push(character) {
                    self.token = Some(Token::Number(number, node));
                    return Ok(());
                }
                self.check_number(&number, node)?;
                self.value_is_over();
                self.push(character)
            }
            Token::Literal(mut literal, node) => {
                if literal.push(character)? {
                    self.value_is_over();
                } else {
                    self.token = Some(Token::Literal(literal, node));
                }
                Ok(())
            }
        }
    }

    fn check_number(&self, number: &Number, node: usize) -> Result<(), Fault> {
        if !number.is_over() {
            return Err(NOT_JSON);
        }
        let node = self.schema.node(node);
        // Not before its end: an exponent may still make an integer of `1.5`.
        if node.is_integer && !number.is_integer() {
            return Err(KIND);
        }
        let Some(values) = &node.values else { return Ok(()) };
        let read: Option<f64> = number.text().parse().ok();
        if values.iter().any(|value| value.is_number() && value.as_f64() == read) {
            Ok(())
        } else {
            Err(VALUE)
        }
    }

    /// A character outside tokens.
    fn significant(&mut self, character: char) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else { return self.begin(self.schema.root, character) };
        match frame {
            Frame::Object { node, seen, state, key } => match (*state, character) {
                (State::Open | State::Comma, '"') => {
                    *state = State::Key;
                    self.token = Some(Token::Key(Text::default()));
                    Ok(())
                }
                (State::Open | State::After, '}') => {
                    let required = &self.schema.node(*node).required;
                    if required.iter().any(|key| !seen.contains(key)) {
                        return Err(MISSING);
                    }
                    self.frames.pop();
                    self.value_is_over();
                    Ok(())
                }
                (State::Key, ':') => {
                    *state = State::Value;
                    Ok(())
                }
                (State::Value, _) => {
                    let value = self.schema.property(*node, key).unwrap_or(ANY);
                    seen.push(std::mem::take(key));
                    self.begin(value, character)
                }
                (State::After, ',') => {
                    *state = State::Comma;
                    Ok(())
                }
                _ => Err(NOT_JSON),
            },
            Frame::Array { node, state } => match (*state, character) {
                (State::Open | State::After, ']') => {
                    self.frames.pop();
                    self.value_is_over();
                    Ok(())
                }
                (State::After, ',') => {
                    *state = State::Comma;
                    Ok(())
                }
                (State::Open | State::Comma, _) => {
                    let items = self.schema.node(*node).items;
                    self.begin(items, character)
                }
                _ => Err(NOT_JSON),
            },
        }
    }

    /// A value's first character.
    fn begin(&mut self, node: usize, character: char) -> Result<(), Fault> {
        let kind = match character {
            '{' => Kind::Object,
            '[' => Kind::Array,
            '"' => Kind::String,
            '-' | '0'..='9' => Kind::Number,
            't' | 'f' => Kind::Boolean,
            'n' => Kind::Null,
            _ => return Err(NOT_JSON),
        };
        let node = self.schema.begin(node, kind).ok_or(KIND)?;
        let state = State::Open;
        match kind {
            Kind::Object | Kind::Array if self.frames.len() == DEPTH_MAX => return Err(DEPTH),
            Kind::Object => {
                self.frames.push(Frame::Object { node, seen: Vec::new(), state, key: String::new() });
            }
            Kind::Array => self.frames.push(Frame::Array { node, state }),
            Kind::String => self.token = Some(Token::Text(Text::default(), node)),
            Kind::Number => self.token = Some(Token::Number(Number::new(character), node)),
            Kind::Boolean | Kind::Null => {
                let literal = Literal::new(character);
                if let Some(values) = &self.schema.node(node).values
                    && !values.contains(&literal.value())
                {
                    return Err(VALUE);
                }
                self.token = Some(Token::Literal(literal, node));
            }
        }
        Ok(())
    }

    fn value_is_over(&mut self) {
        match self.frames.last_mut() {
            Some(Frame::Object { state, .. } | Frame::Array { state, .. }) => *state = State::After,
            None => self.is_complete = true,
        }
    }

    /// What closes the value here, if it can be closed: an open token, then every container. What is between
    /// (`is_between`) is taken to be dropped.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn closing(&self) -> Result<String, Fault> {
        let mut machine = self.clone();
        let mut closing = String::new();
        let token = match machine.token.take() {
            None | Some(Token::Key(_)) => String::new(),
            Some(Token::Text(text, node)) => {
                let rest = text.closing();
                machine.token = Some(Token::Text(text, node));
                rest
            }
            Some(Token::Literal(literal, node)) => {
                let rest = literal.rest().to_owned();
                machine.token = Some(Token::Literal(literal, node));
                rest
            }
            Some(Token::Number(number, node)) => {
                let rest = if number.is_over() { "" } else { "0" };
                machine.token = Some(Token::Number(number, node));
                rest.to_owned()
            }
        };
        for character in token.chars() {
            machine.push(character)?;
        }
        if let Some(Token::Number(number, node)) = machine.token.take() {
            machine.check_number(&number, node)?;
            machine.value_is_over();
        }
        closing.push_str(&token);
        while let Some(frame) = machine.frames.pop() {
            closing.push(match frame {
                Frame::Object { node, seen, .. } => {
                    let required = &machine.schema.node(node).required;
                    if required.iter().any(|key| !seen.contains(key)) {
                        return Err(MISSING);
                    }
                    '}'
                }
                Frame::Array { .. } => ']',
            });
        }
        Ok(closing)
    }
}
