//! The model's own chat template: a conversation in, the text of the prompt out.
//!
//! Renders as `apply_chat_template` of Hugging Face's transformers does, byte for byte, inside
//! limits: steps, output, recursion, the stack. Templates come with model files and are hostile until
//! proved otherwise: they see the conversation and nothing else, not even a clock.
//! [`ChatTemplate`] gives text; [`PromptTemplate`] also says which control tokens in it are the
//! template's own, so that nothing a user writes becomes one. Does not tokenize (`tokenizer/`).

mod environment;
mod error;
mod filters;
mod machine;
mod operators;
mod prompt;
mod python;
mod source;
#[cfg(test)]
mod tests;
mod text_methods;

use jiff::civil::DateTime;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};
use serde_json::Map;

use environment::Raised;
pub use error::TemplateError;
pub use prompt::PromptTemplate;

use crate::gguf::{Metadata, MetadataError, optional};

/// The largest template source. The largest in use are about 30 KiB.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Steps (instructions, or 64 bytes of text handled) that every rendering may take ...
const STEPS_BASE: u64 = 300_000;
/// ... and further ones for each KiB of conversation.
const STEPS_PER_KIB: u64 = 2000;
/// Bytes that every rendering may write, and how often the conversation may be repeated in it.
const OUTPUT_BYTES_BASE: usize = 1 << 20;
const OUTPUT_REPEATS: usize = 8;
/// Templates are compiled and their values freed recursively: the stack is sized for the worst that
/// the source's length allows. Only what is used takes memory.
const STACK_BYTES: usize = 512 << 20;

const TEMPLATE_NAME: &str = "chat_template";
/// The variable that gives the date.
const DATE: &str = "strftime_now";

/// The template in a model file: its own one for tools, if it has one and there are tools.
///
/// # Errors
/// The key holds something else than text.
pub fn source_in(metadata: &Metadata, has_tools: bool) -> Result<Option<&str>, MetadataError> {
    let for_tools =
        if has_tools { optional(metadata.string("tokenizer.chat_template.tool_use"))? } else { None };
    match for_tools {
        Some(source) => Ok(Some(source)),
        None => optional(metadata.string("tokenizer.chat_template")),
    }
}

/// What a template sees.
#[derive(Debug, Clone, Copy)]
pub struct RenderInput<'a> {
    /// The conversation: an array of objects with at least a `role`.
    pub messages: &'a serde_json::Value,
    /// The tools' schemas: an array, or `None` where there are no tools.
    pub tools: Option<&'a serde_json::Value>,
    /// Retrieved documents: an array of objects with `title` and `text`.
    pub documents: Option<&'a serde_json::Value>,
    /// End with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Further variables (`bos_token`, `enable_thinking`, ...). `strftime_now`, if it is here, is the
    /// date for the function of that name, as `2026-08-31` or `2026-08-31T12:00:00`.
    pub variables: &'a Map<String, serde_json::Value>,
    /// The local date and time for `strftime_now`; without it a template that asks is an error.
    pub now: Option<DateTime>,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] with the line, [`TemplateError::SourceTooLong`].
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(TemplateError::SourceTooLong { bytes: source.len(), bytes_max: SOURCE_BYTES_MAX });
        }
        let prepared = source::prepare(source)?;
        let work = || {
            let mut environment = environment::new();
            environment.add_template_owned(TEMPLATE_NAME, prepared).map_err(|error| {
                TemplateError::Syntax { line: error.line().unwrap_or(0), reason: reason(&error) }
            })?;
            Ok(environment)
        };
        Ok(Self { environment: on_deep_stack(work)?? })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] where the template raises an exception, [`TemplateError::Failed`]
    /// where it cannot work with the input, and the limits.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<String, TemplateError> {
        let (context, bytes) = context(input)?;
        self.render_context(context, bytes)
    }

    /// Renders with a context that `bytes` of conversation went into.
    fn render_context(&self, context: Value, bytes: usize) -> Result<String, TemplateError> {
        let kib = u64::try_from(bytes / 1024).unwrap_or(u64::MAX);
        let steps = STEPS_BASE.saturating_add(STEPS_PER_KIB.saturating_mul(kib));
        let bytes_max = OUTPUT_BYTES_BASE.saturating_add(OUTPUT_REPEATS.saturating_mul(bytes));
        let work = || {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(steps));
            machine::render(&environment, TEMPLATE_NAME, context).map_err(|error| failure(&error, steps))
        };
        let text = on_deep_stack(work)??;
        if text.len() > bytes_max {
            return Err(TemplateError::OutputTooLong { bytes_max });
        }
        Ok(text)
    }
}

/// Runs `work` to its end on a stack of [`STACK_BYTES`].
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TemplateError> {
    let no_renderer = |reason: String| TemplateError::NoRenderer { reason };
    std::thread::scope(|scope| {
        let renderer = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK_BYTES);
        let handle = renderer.spawn_scoped(scope, work).map_err(|error| no_renderer(error.to_string()))?;
        handle.join().map_err(|_| no_renderer("it stopped unexpectedly".to_owned()))
    })
}

/// The values that a template sees, and how many bytes of text and structure they hold.
fn context(input: &RenderInput<'_>) -> Result<(Value, usize), TemplateError> {
    let mut bytes = 0;
    let mut convert = |value: &serde_json::Value| {
        bytes += source::json_bytes(value);
        Value::from(Serde(value))
    };
    let mut now = input.now;
    let mut pairs: Vec<(String, Value)> = Vec::with_capacity(input.variables.len() + 5);
    for (name, value) in input.variables {
        if name == DATE {
            now = Some(date(name, value)?);
        } else {
            pairs.push((name.clone(), convert(value)));
        }
    }
    pairs.push(("messages".to_owned(), convert(input.messages)));
    for (name, given) in [("tools", input.tools), ("documents", input.documents)] {
        match given {
            Some(given) => pairs.push((name.to_owned(), convert(given))),
            None if input.variables.contains_key(name) => {}
            None => pairs.push((name.to_owned(), Value::from(()))),
        }
    }
    pairs.push(("add_generation_prompt".to_owned(), Value::from(input.add_generation_prompt)));
    if let Some(now) = now {
        pairs.push((environment::NOW.to_owned(), Value::from_object(environment::Now(now))));
    }
    Ok((Value::from_pairs(pairs), bytes))
}

fn date(name: &str, value: &serde_json::Value) -> Result<DateTime, TemplateError> {
    let invalid = |problem: String| TemplateError::InvalidVariable { name: name.to_owned(), problem };
    let text =
        value.as_str().ok_or_else(|| invalid(format!("{value} is not a date such as \"2026-08-31\"")))?;
    text.parse::<DateTime>()
        .or_else(|_| {
            text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight()))
        })
        .map_err(|error| invalid(error.to_string()))
}

fn failure(error: &minijinja::Error, steps: u64) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(Raised { message }) = cause.downcast_ref::<Raised>() {
            return TemplateError::Refused { message: message.clone() };
        }
        if let Some(inner) = cause.downcast_ref::<minijinja::Error>()
            && inner.kind() == ErrorKind::OutOfFuel
        {
            return TemplateError::OutOfSteps { steps };
        }
        source = cause.source();
    }
    TemplateError::Failed { line: error.line().unwrap_or(0), reason: reason(error) }
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
