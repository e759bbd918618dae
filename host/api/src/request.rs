//! The one request type: what a client asks for, independent of the API that it speaks.
//!
//! Owns the shape of a conversation and of its tools. Does not own validation of a wire format's
//! ranges (each front end does that, naming its own fields) nor who asks (see `policy::KeyFacts`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::sampling::Sampling;

/// A conversation to continue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model that the client named: `auto`, or the id of a target.
    pub model: String,
    /// The conversation so far, oldest first. Never empty in a request that a front end lets through.
    pub messages: Vec<Message>,
    /// Tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called in one turn; `None` leaves it to the target.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn and when the answer ends.
    pub sampling: Sampling,
    /// The form that the answer must have.
    pub response_format: ResponseFormat,
    /// How many independent answers are wanted, at least 1.
    pub choices: u32,
    /// Whether the client reads the answer as it is made. Targets stream either way.
    pub stream: bool,
    /// Log-probabilities wanted a token: `None` for none, else the number of alternatives beside the
    /// chosen token (0 to 20).
    pub logprobs: Option<u8>,
    /// Fields that the client's API knows and this type does not model, by their wire name. A backend
    /// of the same API passes them on; one that would have to drop a field that changes the answer
    /// refuses it in [`crate::Backend::accepts`].
    pub extra: Map<String, Value>,
}

impl ChatRequest {
    /// A request for one streamed answer with every option at its default.
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            sampling: Sampling::default(),
            response_format: ResponseFormat::Text,
            choices: 1,
            stream: true,
            logprobs: None,
            extra: Map::new(),
        }
    }

    /// Bytes of text in the conversation and in the tools' definitions. Images do not count.
    pub fn text_bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::text_bytes).sum();
        let tools: usize = self.tools.iter().map(Tool::text_bytes).sum();
        messages + tools
    }

    /// A cheap estimate of the prompt's tokens: a quarter of its bytes, rounded up. Exact counts need
    /// the target's tokenizer.
    pub fn estimate_tokens(&self) -> u64 {
        (self.text_bytes() as u64).div_ceil(4)
    }
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions from the application.
    System,
    /// Instructions from the application, as newer OpenAI models name them. Targets that know only
    /// [`Role::System`] treat it as that.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    /// The lower-case name that chat templates and OpenAI's API use.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// Its content in order. Empty for an assistant's turn that only calls tools.
    pub content: Vec<Part>,
    /// The participant's name, where the client gave one.
    pub name: Option<String>,
    /// Tools that the assistant called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the call that this answers.
    pub tool_call_id: Option<String>,
    /// The assistant's own reasoning, where the client replays it.
    pub reasoning: Option<String>,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![Part::Text(text.into())],
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning: None,
        }
    }

    /// The text parts, joined without a separator.
    pub fn joined_text(&self) -> String {
        self.content.iter().filter_map(Part::as_text).collect()
    }

    /// Bytes of its text. Images do not count.
    pub fn text_bytes(&self) -> usize {
        let content: usize = self.content.iter().filter_map(Part::as_text).map(str::len).sum();
        let calls: usize = self.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
        content
            + calls
            + self.name.as_deref().map_or(0, str::len)
            + self.tool_call_id.as_deref().map_or(0, str::len)
            + self.reasoning.as_deref().map_or(0, str::len)
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(String),
    /// An image.
    Image(ImageSource),
}

impl Part {
    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) => None,
        }
    }
}

/// Where an image's bytes are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// A URL that the target fetches itself.
    Url(String),
    /// The bytes, in base64, with their media type (`image/png`).
    Base64 {
        /// The media type.
        media_type: String,
        /// Standard base64.
        data: String,
    },
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for, in words for the model.
    pub description: Option<String>,
    /// JSON Schema of its arguments; `None` for a function without any.
    pub parameters: Option<Value>,
    /// Whether the arguments must match the schema exactly.
    pub strict: Option<bool>,
}

impl Tool {
    fn text_bytes(&self) -> usize {
        self.name.len()
            + self.description.as_deref().map_or(0, str::len)
            + self.parameters.as_ref().map_or(0, |schema| schema.to_string().len())
    }
}

/// Whether tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None may be called.
    None,
    /// At least one must be.
    Required,
    /// This one must be.
    Function(String),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id that its result refers to.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments as JSON text, exactly as the model wrote them.
    pub arguments: String,
}

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the target must enforce it.
        strict: Option<bool>,
    },
}
