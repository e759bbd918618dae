//! `template`: a chat template's rendering, byte for byte.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use lockgate_engine::gguf::Gguf;
use lockgate_engine::template::{ChatTemplate, PromptTemplate, RenderInput, source_in};
use lockgate_engine::tokenizer::Tokenizer;
use serde_json::{Map, Value};

use crate::args::TemplateArgs;
use crate::failure::Failure;
use crate::{models, terminal};

pub(super) fn template(args: &TemplateArgs) -> Result<(), Failure> {
    let messages = read_array(&args.messages)?;
    let tools = args.tools.as_deref().map(read_array).transpose()?;
    let variables = variables(&args.set)?;
    let input = RenderInput {
        messages: &messages,
        tools: tools.as_ref(),
        documents: variables.get("documents"),
        add_generation_prompt: !args.no_generation_prompt,
        variables: &variables,
        now: Some(jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now())),
    };
    let text = match (&args.file, &args.model) {
        (Some(file), _) => {
            let source = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let template = ChatTemplate::new(&source).with_context(|| file.display().to_string())?;
            template.render(&input).with_context(|| file.display().to_string())?
        }
        (None, Some(model)) => of_model(model, tools.is_some(), &input)?,
        (None, None) => return Err(Failure::unusable("--model or --file is needed")),
    };
    terminal::raw(text.as_bytes())?;
    Ok(())
}

fn of_model(model: &str, has_tools: bool, input: &RenderInput<'_>) -> Result<String, Failure> {
    let path = models::find(model)?;
    let gguf = Gguf::open(&path)?;
    let name = || path.display().to_string();
    let source = source_in(gguf.metadata(), has_tools)
        .with_context(name)?
        .ok_or_else(|| anyhow!("the model file has no chat template (tokenizer.chat_template)"))
        .with_context(name)?;
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).with_context(name)?;
    let template = PromptTemplate::new(source, Arc::new(tokenizer)).with_context(name)?;
    Ok(template.render_text(input).with_context(name)?)
}

fn read_array(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let value: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    if !value.is_array() {
        return Err(Failure::unusable(format!("{}: a JSON array is needed", path.display())));
    }
    Ok(value)
}

fn variables(settings: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut variables = Map::new();
    for setting in settings {
        let (name, json) = setting
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::unusable(format!("--set {setting}: NAME=JSON is needed")))?;
        let value = serde_json::from_str(json)
            .with_context(|| format!("--set {name}: the value is not JSON (text needs quotes)"))?;
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}
