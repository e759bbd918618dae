//! The text of a request as plugins read it: an index over the request, not a copy of it.
//!
//! A request's text is a sequence of pieces joined by line ends: message by message, then everything else
//! that a client wrote and a target would receive. The index holds where each piece starts and where it
//! lies, so that a plugin can read any part of a long prompt at the cost of that part. Values inside JSON
//! are given decoded; they have no place of their own in the request's text and are copied once.

use std::ops::Range;

use lockgate_api::{ChatRequest, ImageSource, Message, Part, ResponseFormat, ToolChoice};
use serde_json::Value;

/// Where a piece's text lies.
#[derive(Clone, Copy, Debug)]
enum Source {
    Content(usize),
    Name,
    Reasoning,
    CallName(usize),
    CallArguments(usize),
    CallId(usize),
    AnsweredCall,
    /// In the text beside the messages.
    Beside,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    message: usize,
    source: Source,
}

/// The index over one request's text. Always used with the request that it was made from.
#[derive(Debug, Default)]
pub(crate) struct TextIndex {
    pieces: Vec<Piece>,
    /// For each message, the bytes of the whole text that are its own.
    messages: Vec<Range<usize>>,
    beside: String,
    length: usize,
}

impl TextIndex {
    pub(crate) fn new(request: &ChatRequest) -> Self {
        let mut index = Self::default();
        for (number, message) in request.messages.iter().enumerate() {
            let start = index.next_start();
            let pieces_before = index.pieces.len();
            for_each_piece(message, |source, text| index.push(number, source, text.len()));
            let end = if index.pieces.len() == pieces_before { start } else { index.length };
            index.messages.push(start..end);
        }
        let mut beside = Beside::default();
        beside.request(request);
        index.beside = beside.text;
        if beside.any {
            index.push(request.messages.len(), Source::Beside, index.beside.len());
        }
        index
    }

    /// Bytes of the whole text.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// At most `limit` bytes from the start.
    pub(crate) fn text(&self, request: &ChatRequest, limit: u32) -> String {
        self.slice(request, 0..self.length, limit as usize)
    }

    /// At most `limit` bytes from `offset` on, as the interface `request` says of `read`.
    pub(crate) fn read(&self, request: &ChatRequest, offset: u64, limit: u32) -> String {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.slice(request, offset..self.length, (limit as usize).max(4))
    }

    /// Bytes of one message's text, if there is such a message.
    pub(crate) fn message_length(&self, message: usize) -> Option<usize> {
        Some(self.messages.get(message)?.len())
    }

    /// At most `limit` bytes of one message's text, if there is such a message.
    pub(crate) fn message_text(&self, request: &ChatRequest, message: usize, limit: u32) -> Option<String> {
        let range = self.messages.get(message)?.clone();
        Some(self.slice(request, range, limit as usize))
    }

    /// The start of the next piece: behind a line end, unless it is the first.
    fn next_start(&self) -> usize {
        if self.pieces.is_empty() { 0 } else { self.length + 1 }
    }

    fn push(&mut self, message: usize, source: Source, length: usize) {
        let start = self.next_start();
        self.pieces.push(Piece { start, message, source });
        self.length = start + length;
    }

    fn piece_text<'a>(&'a self, request: &'a ChatRequest, piece: &Piece) -> &'a str {
        let text = match request.messages.get(piece.message) {
            Some(message) => message_piece(message, piece.source),
            None => Some(self.beside.as_str()),
        };
        text.unwrap_or_default()
    }

    /// The text in `range`, whose start is lowered to a character's start, cut after `limit` bytes.
    fn slice(&self, request: &ChatRequest, range: Range<usize>, limit: usize) -> String {
        let mut out = String::new();
        if range.is_empty() {
            return out;
        }
        let first = self.pieces.partition_point(|piece| piece.start <= range.start).saturating_sub(1);
        for (number, piece) in self.pieces.iter().enumerate().skip(first) {
            let room = limit - out.len();
            if piece.start > range.end || room == 0 {
                break;
            }
            let text = self.piece_text(request, piece);
            let rest = if number == first {
                // The offset may lie on the line end behind this piece: then nothing of it is left.
                &text[text.floor_char_boundary(range.start - piece.start)..]
            } else {
                out.push('\n');
                text
            };
            let taken = &rest[..rest.floor_char_boundary(limit - out.len())];
            out.push_str(taken);
            if taken.len() < rest.len() {
                break;
            }
        }
        out
    }
}

/// The pieces of one message in the order in which a plugin reads them.
fn for_each_piece<'a>(message: &'a Message, mut each: impl FnMut(Source, &'a str)) {
    for number in 0..message.content.len() {
        let source = Source::Content(number);
        if let Some(text) = message_piece(message, source) {
            each(source, text);
        }
    }
    for source in [Source::Name, Source::Reasoning] {
        if let Some(text) = message_piece(message, source) {
            each(source, text);
        }
    }
    for number in 0..message.tool_calls.len() {
        for source in [Source::CallName(number), Source::CallArguments(number), Source::CallId(number)] {
            if let Some(text) = message_piece(message, source) {
                each(source, text);
            }
        }
    }
    if let Some(text) = message_piece(message, Source::AnsweredCall) {
        each(Source::AnsweredCall, text);
    }
}

fn message_piece(message: &Message, source: Source) -> Option<&str> {
    match source {
        Source::Content(number) => match message.content.get(number)? {
            Part::Text(text) => Some(text),
            Part::Image(ImageSource::Url(url)) => Some(url),
            Part::Image(ImageSource::Base64 { .. }) => None,
        },
        Source::Name => message.name.as_deref(),
        Source::Reasoning => message.reasoning.as_deref(),
        Source::CallName(number) => Some(&message.tool_calls.get(number)?.name),
        Source::CallArguments(number) => Some(&message.tool_calls.get(number)?.arguments),
        Source::CallId(number) => Some(&message.tool_calls.get(number)?.id),
        Source::AnsweredCall => message.tool_call_id.as_deref(),
        Source::Beside => None,
    }
}

/// Collects the text beside the messages, line by line.
#[derive(Default)]
struct Beside {
    text: String,
    any: bool,
}

impl Beside {
    fn request(&mut self, request: &ChatRequest) {
        for tool in &request.tools {
            self.line(&tool.name);
            self.optional(tool.description.as_deref());
            if let Some(schema) = &tool.parameters {
                self.value(schema);
            }
        }
        if let ToolChoice::Function(name) = &request.tool_choice {
            self.line(name);
        }
        if let ResponseFormat::JsonSchema { name, description, schema, .. } = &request.response_format {
            self.line(name);
            self.optional(description.as_deref());
            self.value(schema);
        }
        for stop in &request.sampling.stop {
            self.line(stop);
        }
        for (key, value) in &request.extra {
            self.line(key);
            self.value(value);
        }
    }

    /// Every string, number and key in a value, each a line. JSON that a front end has parsed is at most
    /// 128 levels deep.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.line(&number.to_string()),
            Value::String(text) => self.line(text),
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.line(key);
                    self.value(value);
                }
            }
        }
    }

    fn optional(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.line(text);
        }
    }

    fn line(&mut self, line: &str) {
        if self.any {
            self.text.push('\n');
        }
        self.any = true;
        self.text.push_str(line);
    }
}

#[cfg(test)]
mod tests;
