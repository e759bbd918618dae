//! `adapter_config.json`: the settings that PEFT writes beside an adapter's weights.
//!
//! Closed by default: a setting that changes what is computed and is not computed here is refused by name, and so is
//! one that is not known, unless it is empty. PEFT writes every setting, most of them empty.

use serde_json::{Map, Value};

use super::error::AdapterProblem;
use super::plan::{RANK_MAX, Scaling};

/// What the weights need to know.
#[derive(Debug)]
pub(super) struct PeftConfig {
    pub(super) scaling: Scaling,
    /// The modules that were trained, by the ends of their paths; nothing where the file gives a rule instead.
    pub(super) targets: Option<Vec<String>>,
}

/// Settings of training, loading and bookkeeping: with the weights at hand they change nothing.
const WITHOUT_EFFECT: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
];

/// Settings that must be empty, what they are, and so what to do.
const UNSUPPORTED: [(&str, &str); 12] = [
    ("use_dora", "DoRA is not supported; train without it, or merge the adapter into the model"),
    ("use_qalora", "QALoRA is not supported; train without it"),
    ("use_bdlora", "block-diagonal LoRA is not supported; train without it"),
    ("lora_bias", "biases are not supported; train with lora_bias=False"),
    ("fan_in_fan_out", "transposed weights are not supported; train with fan_in_fan_out=False"),
    (
        "modules_to_save",
        "fully trained modules are not supported; train without them, or merge the adapter into the model",
    ),
    ("trainable_token_indices", "trained embeddings are not supported; train without them"),
    ("target_parameters", "adapted parameters outside modules are not supported; train projections only"),
    ("layer_replication", "replicated layers are not supported; merge the adapter into the model"),
    ("alora_invocation_tokens", "activated LoRA is not supported; train a plain one"),
    ("arrow_config", "routed adapters are not supported; train a plain one"),
    ("megatron_config", "Megatron's layers are not supported; save the adapter for the published model"),
];

/// Ways to begin training that leave the base model as it is. The others adapt a changed base.
const BEGINNINGS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// Reads the settings.
pub(super) fn read(bytes: &[u8]) -> Result<PeftConfig, AdapterProblem> {
    let settings: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| AdapterProblem::Json(error.to_string()))?;
    let (mut alpha, mut rank, mut stabilized, mut kind) = (None, None, false, false);
    let (mut alphas, mut ranks, mut targets) = (Vec::new(), Vec::new(), None);
    for (key, value) in &settings {
        let refuse = |instead: &str| Err(refused(key, value, instead));
        match key.as_str() {
            "peft_type" if value == "LORA" => kind = true,
            "peft_type" => return refuse("only LORA is supported"),
            "task_type" if value.is_null() || value == "CAUSAL_LM" => {}
            "task_type" => {
                return refuse("only CAUSAL_LM is supported: adapters of models that generate text");
            }
            "bias" if value == "none" => {}
            "bias" => return refuse("biases are not supported; train with bias=\"none\""),
            "init_lora_weights" if value.is_boolean() || value.is_null() => {}
            "init_lora_weights" if value.as_str().is_some_and(|name| BEGINNINGS.contains(&name)) => {}
            "init_lora_weights" => {
                return refuse(
                    "this starts from a changed base model; save the adapter converted for the original \
                               one (PEFT's path_initial_model_for_weight_conversion)",
                );
            }
            "use_rslora" => match value {
                Value::Bool(set) => stabilized = *set,
                Value::Null => {}
                _ => return refuse("it must be true or false"),
            },
            "r" => rank = Some(as_rank(key, value)?),
            "lora_alpha" => alpha = Some(as_alpha(key, value)?),
            "rank_pattern" => ranks = pattern(key, value, as_rank)?,
            "alpha_pattern" => alphas = pattern(key, value, as_alpha)?,
            "target_modules" => targets = target_modules(value)?,
            _ if is_empty(value) || WITHOUT_EFFECT.contains(&key.as_str()) => {}
            _ => {
                let known = UNSUPPORTED.iter().find(|(name, _)| name == key);
                return refuse(known.map_or(
                    "this setting is not known; if it does not change what the weights mean, remove it",
                    |(_, instead)| *instead,
                ));
            }
        }
    }
    let missing = |key: &str| refused(key, &Value::Null, "it must be given; save the adapter again");
    if !kind {
        return Err(missing("peft_type"));
    }
    let rank = Some(rank.ok_or_else(|| missing("r"))?);
    let alpha = alpha.ok_or_else(|| missing("lora_alpha"))?;
    Ok(PeftConfig { scaling: Scaling { alpha, rank, stabilized, alphas, ranks }, targets })
}

fn refused(key: &str, value: &Value, instead: &str) -> AdapterProblem {
    const SHOWN_MAX: usize = 80;
    let mut found: String = value.to_string().chars().take(SHOWN_MAX).collect();
    if found.chars().count() == SHOWN_MAX {
        found.push('…');
    }
    AdapterProblem::Setting { key: key.to_owned(), found, instead: instead.to_owned() }
}

/// Whether a setting says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn as_rank(key: &str, value: &Value) -> Result<u64, AdapterProblem> {
    let rank = value.as_u64().filter(|rank| (1..=RANK_MAX).contains(rank));
    rank.ok_or_else(|| refused(key, value, &format!("ranks from 1 to {RANK_MAX} are supported")))
}

fn as_alpha(key: &str, value: &Value) -> Result<f64, AdapterProblem> {
    let alpha = value.as_f64().filter(|alpha| (f64::MIN_POSITIVE..=1e6).contains(alpha));
    alpha.ok_or_else(|| refused(key, value, "it must be a positive number of at most 1e6"))
}

/// Values for some modules. PEFT takes the names as regular expressions; only plain ones are.
fn pattern<T>(
    key: &str,
    value: &Value,
    read: impl Fn(&str, &Value) -> Result<T, AdapterProblem>,
) -> Result<Vec<(String, T)>, AdapterProblem> {
    let entries = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(entries) => entries,
        _ => return Err(refused(key, value, "it must be an object")),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let one = |(name, value): (&String, &Value)| match name.is_empty() || !name.bytes().all(plain) {
        true => {
            let name = Value::String(name.clone());
            Err(refused(key, &name, "patterns are not supported; name each module in full"))
        }
        false => Ok((name.clone(), read(&format!("{key}.{name}"), value)?)),
    };
    entries.iter().map(one).collect()
}

/// The list of trained modules. A text is a rule that PEFT has already applied.
fn target_modules(value: &Value) -> Result<Option<Vec<String>>, AdapterProblem> {
    let refuse = || refused("target_modules", value, "it must be a list of names or a text");
    match value {
        Value::Null | Value::String(_) => Ok(None),
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<Vec<_>>>().map(Some).ok_or_else(refuse)
        }
        _ => Err(refuse()),
    }
}
