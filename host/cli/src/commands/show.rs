//! `show`: what a model file holds, without reading its weights.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lockgate_engine::gguf::{Gguf, Value};
use lockgate_engine::model::{LoadOptions, Model};

use crate::args::ModelArg;
use crate::failure::Failure;
use crate::models::{self, human_bytes};
use crate::terminal;

/// Characters of a text that are shown.
const TEXT_MAX: usize = 120;

pub(super) fn show(args: &ModelArg) -> Result<(), Failure> {
    let path = models::find(&args.model)?;
    let gguf = Gguf::open(&path)?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} (GGUF version {})", path.display(), gguf.version());

    let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut parameters = 0;
    for tensor in gguf.tensors() {
        parameters += tensor.elements();
        let entry = types.entry(tensor.tensor_type.name()).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.size_bytes);
    }
    let _ =
        writeln!(text, "{} tensors, {:.1} million parameters", gguf.tensors().len(), parameters as f64 / 1e6);
    for (name, (count, bytes)) in types {
        let _ = writeln!(text, "  {name:5} {count:5} tensors {:>10}", human_bytes(bytes));
    }
    match Model::inspect(&gguf, &LoadOptions::default()) {
        Ok((config, plan)) => {
            let _ = writeln!(
                text,
                "runs here: {} for weights; {} for a context of {} tokens ({} layers, {} heads, {} for keys and values)",
                human_bytes(plan.weights_bytes),
                human_bytes(plan.cache_bytes),
                plan.context,
                config.layers,
                config.heads,
                config.kv_heads,
            );
        }
        Err(error) => {
            let _ = writeln!(text, "does not run here: {}", error.problem);
        }
    }
    for (key, value) in gguf.metadata().iter() {
        let _ = writeln!(text, "{key} = {}", shown(value));
    }
    terminal::raw(text.as_bytes())?;
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shortened(text),
        Value::Array(array) => format!("{} × {}", array.len(), array.type_name()),
        Value::U8(number) => number.to_string(),
        Value::I8(number) => number.to_string(),
        Value::U16(number) => number.to_string(),
        Value::I16(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::I32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
    }
}

/// A model file's text is outside text: control characters would act on the terminal.
fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(TEXT_MAX).flat_map(char::escape_debug).collect();
    let left = characters.count();
    if left > 0 {
        let _ = write!(short, "… ({left} more characters)");
    }
    short
}
