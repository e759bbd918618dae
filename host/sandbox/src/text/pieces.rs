//! The pieces of a request's text: in which order they come, where each lies, and which can be changed.
//!
//! What other parts of a request refer to (names, ids, keys) is fixed: a change would tear the request
//! apart. So are numbers, and the addresses of pictures.

use std::ops::Range;

use lockgate_api::{ChatRequest, ImageSource, Message, Part, ResponseFormat, ToolChoice};
use serde_json::{Map, Value};

/// Where a piece's text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Content(usize),
    Picture(usize),
    Name,
    Reasoning,
    CallName(usize),
    CallArguments(usize),
    CallId(usize),
    AnsweredCall,
    /// Beside the messages: the leaf of that number.
    Beside(usize),
}

/// Where a piece beside the messages lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    ToolName,
    ToolDescription(usize),
    ToolSchema(usize),
    ChosenTool,
    FormatName,
    FormatDescription,
    FormatSchema,
    Stop(usize),
    Extra,
}

/// What a piece inside JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// A string value: the one of this number in its root, counting all pieces of it.
    Text(usize),
    /// A key or a number.
    Fixed,
    /// The root is no JSON.
    No,
}

#[derive(Clone, Debug)]
struct Leaf {
    range: Range<usize>,
    root: Root,
    inside: Inside,
}

/// The pieces of one message in the order in which a plugin reads them.
pub(crate) fn for_each_piece<'a>(message: &'a Message, mut each: impl FnMut(Source, &'a str)) {
    for (number, part) in message.content.iter().enumerate() {
        match part {
            Part::Text(text) => each(Source::Content(number), text),
            Part::Image(ImageSource::Url(url)) => each(Source::Picture(number), url),
            Part::Image(ImageSource::Base64 { .. }) => {}
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

/// A piece of a message; none of those beside the messages.
pub(crate) fn message_piece(message: &Message, source: Source) -> Option<&str> {
    match source {
        Source::Content(number) | Source::Picture(number) => match message.content.get(number)? {
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
        Source::Beside(_) => None,
    }
}

/// A piece of a message, to be changed; none where it is fixed.
pub(crate) fn message_piece_mut(message: &mut Message, source: Source) -> Option<&mut String> {
    match source {
        Source::Content(number) => match message.content.get_mut(number)? {
            Part::Text(text) => Some(text),
            Part::Image(_) => None,
        },
        Source::Name => message.name.as_mut(),
        Source::Reasoning => message.reasoning.as_mut(),
        Source::CallArguments(number) => Some(&mut message.tool_calls.get_mut(number)?.arguments),
        Source::Picture(_)
        | Source::CallName(_)
        | Source::CallId(_)
        | Source::AnsweredCall
        | Source::Beside(_) => None,
    }
}

/// The text beside the messages, leaf by leaf.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    text: String,
    leaves: Vec<Leaf>,
}

impl Beside {
    pub(crate) fn new(request: &ChatRequest) -> Self {
        let mut beside = Self::default();
        for (number, tool) in request.tools.iter().enumerate() {
            beside.push(Root::ToolName, &tool.name);
            beside.optional(Root::ToolDescription(number), tool.description.as_deref());
            if let Some(schema) = &tool.parameters {
                beside.value(Root::ToolSchema(number), &mut 0, schema);
            }
        }
        if let ToolChoice::Function(name) = &request.tool_choice {
            beside.push(Root::ChosenTool, name);
        }
        if let ResponseFormat::JsonSchema { name, description, schema, .. } = &request.response_format {
            beside.push(Root::FormatName, name);
            beside.optional(Root::FormatDescription, description.as_deref());
            beside.value(Root::FormatSchema, &mut 0, schema);
        }
        for (number, stop) in request.sampling.stop.iter().enumerate() {
            beside.push(Root::Stop(number), stop);
        }
        beside.object(Root::Extra, &mut 0, &request.extra);
        beside
    }

    pub(crate) fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    /// A leaf's text; empty when there is no such leaf.
    pub(crate) fn text(&self, leaf: usize) -> &str {
        self.leaves.get(leaf).map_or("", |leaf| &self.text[leaf.range.clone()])
    }

    /// Where a leaf lies, and whether it is fixed.
    pub(crate) fn place(&self, leaf: usize) -> Option<(Root, bool)> {
        let leaf = self.leaves.get(leaf)?;
        let fixed = match leaf.inside {
            Inside::Text(_) => false,
            Inside::Fixed => true,
            Inside::No => matches!(leaf.root, Root::ToolName | Root::ChosenTool | Root::FormatName),
        };
        Some((leaf.root, fixed))
    }

    /// A leaf's text in its request, to be changed; none where it is fixed. Costs a walk over its root.
    pub(crate) fn text_mut<'a>(&self, request: &'a mut ChatRequest, leaf: usize) -> Option<&'a mut String> {
        let leaf = self.leaves.get(leaf)?;
        let mut number = match leaf.inside {
            Inside::Text(number) => number,
            Inside::No => 0,
            Inside::Fixed => return None,
        };
        match leaf.root {
            Root::ToolName | Root::ChosenTool | Root::FormatName => None,
            Root::ToolDescription(tool) => request.tools.get_mut(tool)?.description.as_mut(),
            Root::ToolSchema(tool) => {
                text_of_value(request.tools.get_mut(tool)?.parameters.as_mut()?, &mut number)
            }
            Root::FormatDescription => match &mut request.response_format {
                ResponseFormat::JsonSchema { description, .. } => description.as_mut(),
                ResponseFormat::Text | ResponseFormat::JsonObject => None,
            },
            Root::FormatSchema => match &mut request.response_format {
                ResponseFormat::JsonSchema { schema, .. } => text_of_value(schema, &mut number),
                ResponseFormat::Text | ResponseFormat::JsonObject => None,
            },
            Root::Stop(stop) => request.sampling.stop.get_mut(stop),
            Root::Extra => text_of_object(&mut request.extra, &mut number),
        }
    }

    fn optional(&mut self, root: Root, text: Option<&str>) {
        if let Some(text) = text {
            self.push(root, text);
        }
    }

    fn push(&mut self, root: Root, text: &str) {
        self.leaf(root, Inside::No, text);
    }

    fn leaf(&mut self, root: Root, inside: Inside, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.leaves.push(Leaf { range: start..self.text.len(), root, inside });
    }

    /// Every string, number and key in a value. JSON that a front end has parsed is at most 128 levels deep.
    fn value(&mut self, root: Root, number: &mut usize, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(amount) => {
                self.leaf(root, Inside::Fixed, &amount.to_string());
                *number += 1;
            }
            Value::String(text) => {
                self.leaf(root, Inside::Text(*number), text);
                *number += 1;
            }
            Value::Array(items) => items.iter().for_each(|item| self.value(root, number, item)),
            Value::Object(fields) => self.object(root, number, fields),
        }
    }

    fn object(&mut self, root: Root, number: &mut usize, fields: &Map<String, Value>) {
        for (key, value) in fields {
            self.leaf(root, Inside::Fixed, key);
            *number += 1;
            self.value(root, number, value);
        }
    }
}

/// The string value behind `number` other pieces, counted as [`Beside::value`] does.
fn text_of_value<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut String> {
    match value {
        Value::Null | Value::Bool(_) => None,
        Value::Number(_) => pass(number),
        Value::String(text) if *number == 0 => Some(text),
        Value::String(_) => pass(number),
        Value::Array(items) => items.iter_mut().find_map(|item| text_of_value(item, number)),
        Value::Object(fields) => text_of_object(fields, number),
    }
}

fn text_of_object<'a>(fields: &'a mut Map<String, Value>, number: &mut usize) -> Option<&'a mut String> {
    fields.iter_mut().find_map(|(_, value)| {
        pass::<()>(number);
        text_of_value(value, number)
    })
}

/// Counts one piece that is not the one looked for.
fn pass<T>(number: &mut usize) -> Option<T> {
    *number = number.saturating_sub(1);
    None
}
