//! A request as Converse takes it: a pure translation into the SDK's types.
//!
//! Converse is stricter than OpenAI's API: turns alternate, text is not blank, results of tools stand in
//! one user turn, and a conversation with tool blocks must define tools. What Converse cannot express is
//! refused by its name.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::error::BuildError;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, ContentBlock, ConversationRole, ImageBlock, ImageFormat, ImageSource as ImageBytes,
    InferenceConfiguration, Message as Turn, OutputConfig, SpecificToolChoice, SystemContentBlock,
    Tool as ToolDefinition, ToolChoice as Choice, ToolConfiguration, ToolInputSchema, ToolResultBlock,
    ToolResultContentBlock, ToolSpecification, ToolUseBlock,
};
use aws_smithy_types::Document;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockgate_api::{ChatRequest, ImageSource, Message, Part, Role, ToolCall, ToolChoice};
use serde_json::{Value, json};

use super::document::to_document;
use super::model::top_k_field;
use super::output;

/// Stands in for a turn or a result without any text, which Converse refuses.
const NOTHING: &str = "(empty)";

/// Fields of OpenAI's API that change nothing about an answer; they may be left out.
const HARMLESS_EXTRA: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// The parts of a Converse request beside the model's id.
#[derive(Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) system: Vec<SystemContentBlock>,
    pub(super) turns: Vec<Turn>,
    pub(super) inference: Option<InferenceConfiguration>,
    pub(super) tools: Option<ToolConfiguration>,
    pub(super) output: Option<OutputConfig>,
    pub(super) additional: Option<Document>,
}

/// Why a request cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untranslatable {
    /// Converse has no such thing.
    Unsupported {
        /// The field's name in OpenAI's API.
        field: String,
        /// Why, or what to do instead.
        why: String,
    },
    /// The field's value is wrong.
    Invalid {
        /// The field's name in OpenAI's API.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The SDK refused what was built.
    Internal(String),
}

impl From<BuildError> for Untranslatable {
    fn from(error: BuildError) -> Self {
        Self::Internal(error.to_string())
    }
}

pub(super) fn unsupported(field: impl Into<String>, why: impl Into<String>) -> Untranslatable {
    Untranslatable::Unsupported { field: field.into(), why: why.into() }
}

pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Untranslatable {
    Untranslatable::Invalid { field: field.into(), why: why.into() }
}

/// The first field that Converse cannot honour for this model. Values that change nothing are accepted.
pub(super) fn accepts(request: &ChatRequest, model: &str) -> Result<(), Untranslatable> {
    let sampling = &request.sampling;
    let no_parameter = "Bedrock's Converse has no such parameter";
    let refused = [
        ("n", request.choices != 1),
        ("logprobs", request.logprobs.is_some()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("seed", sampling.seed.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("frequency_penalty", sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("repetition_penalty", sampling.repetition_penalty.is_some_and(|penalty| penalty != 1.0)),
        ("min_p", sampling.min_p.is_some_and(|share| share != 0.0)),
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false) && !request.tools.is_empty()),
    ];
    if let Some((field, _)) = refused.into_iter().find(|(_, refused)| *refused) {
        return Err(unsupported(field, no_parameter));
    }
    output::configuration(request)?;
    if let Some(top_k) = sampling.top_k.filter(|&top_k| top_k > 0)
        && top_k_field(model, top_k).is_none()
    {
        return Err(unsupported("top_k", format!("the family of `{model}` is not known to take it")));
    }
    if request.tool_choice == ToolChoice::None && has_tool_blocks(request) {
        let why = "Converse cannot forbid tools in a conversation that has used them";
        return Err(unsupported("tool_choice", why));
    }
    for (name, value) in &request.extra {
        let is_known = name == output::EFFORT;
        let is_default = value.is_null() || (name == "modalities" && *value == json!(["text"]));
        if !is_known && !is_default && !HARMLESS_EXTRA.contains(&name.as_str()) {
            return Err(unsupported(name.as_str(), no_parameter));
        }
    }
    let mut spoken = request.messages.iter().enumerate().filter(|(_, message)| {
        // What is said to the model apart from the conversation.
        !matches!(message.role, Role::System | Role::Developer)
    });
    match spoken.next() {
        None => return Err(unsupported("messages", "Converse wants a message of a user")),
        Some((index, message)) if message.role == Role::Assistant => {
            let field = format!("messages[{index}]");
            return Err(unsupported(field, "a conversation begins with a user's message in Converse"));
        }
        Some(_) => {}
    }
    for (index, message) in request.messages.iter().enumerate() {
        for (at, part) in message.content.iter().enumerate() {
            let Part::Image(source) = part else { continue };
            let field = || format!("messages[{index}].content[{at}]");
            match source {
                ImageSource::Url(_) => {
                    return Err(unsupported(field(), "Converse fetches no URL: send the image's bytes"));
                }
                ImageSource::Base64 { media_type, .. } if image_format(media_type).is_none() => {
                    return Err(unsupported(field(), "Converse reads PNG, JPEG, GIF and WebP alone"));
                }
                ImageSource::Base64 { .. } if !matches!(message.role, Role::User | Role::Tool) => {
                    return Err(unsupported(field(), "Converse reads images of users and tools alone"));
                }
                ImageSource::Base64 { .. } => {}
            }
        }
    }
    Ok(())
}

/// Translates a request that [`accepts`] has accepted.
pub(super) fn translate(request: &ChatRequest, model: &str) -> Result<Translated, Untranslatable> {
    accepts(request, model)?;
    let mut conversation = Conversation::default();
    for (index, message) in request.messages.iter().enumerate() {
        conversation.add(index, message)?;
    }
    let additional =
        request.sampling.top_k.filter(|&top_k| top_k > 0).and_then(|top_k| top_k_field(model, top_k));
    Ok(Translated {
        tools: tool_configuration(request)?,
        inference: inference(request),
        output: output::configuration(request)?,
        additional: additional.as_ref().map(to_document),
        turns: conversation.turns()?,
        system: conversation.system,
    })
}

fn inference(request: &ChatRequest) -> Option<InferenceConfiguration> {
    let sampling = &request.sampling;
    let builder = InferenceConfiguration::builder()
        .set_max_tokens(sampling.max_tokens.map(|tokens| i32::try_from(tokens).unwrap_or(i32::MAX)))
        .set_temperature(sampling.temperature)
        .set_top_p(sampling.top_p)
        .set_stop_sequences((!sampling.stop.is_empty()).then(|| sampling.stop.clone()));
    let configuration = builder.build();
    (configuration != InferenceConfiguration::builder().build()).then_some(configuration)
}

fn has_tool_blocks(request: &ChatRequest) -> bool {
    request.messages.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty())
}

fn tool_configuration(request: &ChatRequest) -> Result<Option<ToolConfiguration>, Untranslatable> {
    let has_blocks = has_tool_blocks(request);
    // Without tools there is nothing to choose from, and without history they can simply be left out.
    if (request.tools.is_empty() || request.tool_choice == ToolChoice::None) && !has_blocks {
        return Ok(None);
    }
    let mut builder = ToolConfiguration::builder();
    if request.tools.is_empty() {
        // Tool blocks demand definitions: those of the tools that the history names.
        let mut names: Vec<&str> = request
            .messages
            .iter()
            .flat_map(|message| &message.tool_calls)
            .map(|call| call.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            builder = builder.tools(definition(name, None, None, None)?);
        }
        return Ok(Some(builder.build()?));
    }
    for tool in &request.tools {
        let description = tool.description.as_deref().filter(|text| !text.trim().is_empty());
        builder = builder.tools(definition(&tool.name, description, tool.parameters.as_ref(), tool.strict)?);
    }
    let choice = match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => None,
        ToolChoice::Required => Some(Choice::Any(AnyToolChoice::builder().build())),
        ToolChoice::Function(name) => Some(Choice::Tool(SpecificToolChoice::builder().name(name).build()?)),
    };
    Ok(Some(builder.set_tool_choice(choice).build()?))
}

fn definition(
    name: &str,
    description: Option<&str>,
    parameters: Option<&Value>,
    strict: Option<bool>,
) -> Result<ToolDefinition, Untranslatable> {
    let nothing = json!({ "type": "object", "properties": {} });
    let schema = ToolInputSchema::Json(to_document(parameters.unwrap_or(&nothing)));
    let specification = ToolSpecification::builder()
        .name(name)
        .set_description(description.map(str::to_owned))
        .input_schema(schema)
        .set_strict(strict)
        .build()?;
    Ok(ToolDefinition::ToolSpec(specification))
}

/// The conversation as it is put together: neighbours of the same role share a turn.
#[derive(Default)]
struct Conversation {
    system: Vec<SystemContentBlock>,
    turns: Vec<(ConversationRole, Vec<ContentBlock>)>,
    /// Ids that Converse would refuse, and what stands in for each.
    ids: HashMap<String, String>,
}

impl Conversation {
    fn add(&mut self, index: usize, message: &Message) -> Result<(), Untranslatable> {
        match message.role {
            Role::System | Role::Developer => {
                let texts =
                    message.content.iter().filter_map(Part::as_text).filter(|text| !text.trim().is_empty());
                self.system.extend(texts.map(|text| SystemContentBlock::Text(text.to_owned())));
            }
            Role::User => {
                let blocks = content(index, message, ContentBlock::Text, ContentBlock::Image)?;
                self.push(ConversationRole::User, blocks);
            }
            Role::Assistant => {
                // Reasoning is not replayed: Converse takes it only with the signature that came with it.
                let mut blocks = content(index, message, ContentBlock::Text, ContentBlock::Image)?;
                for (at, call) in message.tool_calls.iter().enumerate() {
                    blocks.push(ContentBlock::ToolUse(self.tool_use(index, at, call)?));
                }
                self.push(ConversationRole::Assistant, blocks);
            }
            Role::Tool => {
                let id = message
                    .tool_call_id
                    .as_deref()
                    .ok_or_else(|| invalid(format!("messages[{index}].tool_call_id"), "is missing"))?;
                let mut blocks =
                    content(index, message, ToolResultContentBlock::Text, ToolResultContentBlock::Image)?;
                if blocks.is_empty() {
                    blocks.push(ToolResultContentBlock::Text(NOTHING.to_owned()));
                }
                let result =
                    ToolResultBlock::builder().tool_use_id(self.id(id)).set_content(Some(blocks)).build()?;
                self.push(ConversationRole::User, vec![ContentBlock::ToolResult(result)]);
            }
        }
        Ok(())
    }

    fn tool_use(&mut self, index: usize, at: usize, call: &ToolCall) -> Result<ToolUseBlock, Untranslatable> {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let input =
            serde_json::from_str::<Value>(arguments).ok().filter(Value::is_object).ok_or_else(|| {
                invalid(
                    format!("messages[{index}].tool_calls[{at}].function.arguments"),
                    "is not a JSON object",
                )
            })?;
        let id = self.id(&call.id);
        Ok(ToolUseBlock::builder().tool_use_id(id).name(&call.name).input(to_document(&input)).build()?)
    }

    /// An id of the form that Converse accepts: the same for the same id.
    fn id(&mut self, id: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !id.is_empty() && id.len() <= 64 && id.bytes().all(plain) {
            return id.to_owned();
        }
        let next = self.ids.len();
        self.ids.entry(id.to_owned()).or_insert_with(|| format!("lockgate_call_{next}")).clone()
    }

    fn push(&mut self, role: ConversationRole, blocks: Vec<ContentBlock>) {
        match self.turns.last_mut() {
            Some((last, turn)) if *last == role => turn.extend(blocks),
            _ => self.turns.push((role, blocks)),
        }
    }

    fn turns(&mut self) -> Result<Vec<Turn>, Untranslatable> {
        std::mem::take(&mut self.turns)
            .into_iter()
            .map(|(role, mut blocks)| {
                if blocks.is_empty() {
                    blocks.push(ContentBlock::Text(NOTHING.to_owned()));
                }
                Ok(Turn::builder().role(role).set_content(Some(blocks)).build()?)
            })
            .collect()
    }
}

/// A message's parts as blocks; blank text is left out.
fn content<B>(
    index: usize,
    message: &Message,
    text_block: fn(String) -> B,
    image_block: fn(ImageBlock) -> B,
) -> Result<Vec<B>, Untranslatable> {
    let mut blocks = Vec::with_capacity(message.content.len());
    for (at, part) in message.content.iter().enumerate() {
        match part {
            Part::Text(text) if text.trim().is_empty() => {}
            Part::Text(text) => blocks.push(text_block(text.clone())),
            Part::Image(source) => blocks.push(image_block(image(index, at, source)?)),
        }
    }
    Ok(blocks)
}

fn image(index: usize, at: usize, source: &ImageSource) -> Result<ImageBlock, Untranslatable> {
    let field = || format!("messages[{index}].content[{at}]");
    let ImageSource::Base64 { media_type, data } = source else {
        return Err(unsupported(field(), "Converse fetches no URL: send the image's bytes"));
    };
    let format = image_format(media_type)
        .ok_or_else(|| unsupported(field(), "Converse reads PNG, JPEG, GIF and WebP alone"))?;
    let bytes = STANDARD.decode(data).map_err(|_| invalid(field(), "is not base64"))?;
    Ok(ImageBlock::builder().format(format).source(ImageBytes::Bytes(Blob::new(bytes))).build()?)
}

fn image_format(media_type: &str) -> Option<ImageFormat> {
    match media_type.to_ascii_lowercase().as_str() {
        "image/png" => Some(ImageFormat::Png),
        "image/jpeg" | "image/jpg" => Some(ImageFormat::Jpeg),
        "image/gif" => Some(ImageFormat::Gif),
        "image/webp" => Some(ImageFormat::Webp),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
