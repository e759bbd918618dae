//! How tokens are drawn and when the answer ends.

use lockgate_api::Sampling;
use serde_json::{Map, Value};

use super::fields::{
    Invalid, Path, boolean, integer, invalid_value, number, object, optional, string, wrong_type,
};

/// Stop strings that one request may bring.
const STOPS_MAX: usize = 4;
/// Alternatives to each token.
const TOP_LOGPROBS_MAX: u64 = 20;
/// Tokens that one request may bias.
const BIASES_MAX: usize = 1024;

/// Takes the sampling fields out: OpenAI's, and `top_k`, `min_p` and `repetition_penalty`, which most
/// other servers know.
pub(super) fn read(fields: &mut Map<String, Value>) -> Result<Sampling, Invalid> {
    let root = Path::Root;
    let mut float =
        |name, least, most| optional(fields, &root, name, |value, path| number(value, path, least, most));
    let temperature = float("temperature", 0.0, 2.0)?;
    // OpenAI allows 0, which keeps the most likely token, as the smallest share does.
    let top_p = float("top_p", 0.0, 1.0)?.map(|share| share.max(f32::MIN_POSITIVE));
    let min_p = float("min_p", 0.0, 1.0)?;
    let presence_penalty = float("presence_penalty", -2.0, 2.0)?;
    let frequency_penalty = float("frequency_penalty", -2.0, 2.0)?;
    let repetition_penalty = float("repetition_penalty", 0.0, 100.0)?;
    if repetition_penalty.is_some_and(|penalty| penalty <= 0.0) {
        return Err(invalid_value(&root.field("repetition_penalty"), "must be greater than 0"));
    }
    Ok(Sampling {
        temperature,
        top_k: optional(fields, &root, "top_k", top_k)?,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        logit_bias: optional(fields, &root, "logit_bias", logit_bias)?.unwrap_or_default(),
        seed: optional(fields, &root, "seed", seed)?,
        stop: optional(fields, &root, "stop", stop)?.unwrap_or_default(),
        max_tokens: max_tokens(fields)?,
    })
}

/// Takes `logprobs` and `top_logprobs` out.
pub(super) fn read_logprobs(fields: &mut Map<String, Value>) -> Result<Option<u8>, Invalid> {
    let root = Path::Root;
    let wanted = optional(fields, &root, "logprobs", boolean)?.unwrap_or(false);
    let top =
        optional(fields, &root, "top_logprobs", |value, path| integer(value, path, 0, TOP_LOGPROBS_MAX))?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as u8)),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(invalid_value(&root.field("top_logprobs"), "is only allowed when `logprobs` is true"))
        }
    }
}

/// −1 keeps all tokens, as 0 does: servers differ in which they take.
fn top_k(value: Value, path: &Path<'_>) -> Result<u32, Invalid> {
    if value.as_i64() == Some(-1) {
        return Ok(0);
    }
    integer(value, path, 0, u64::from(u32::MAX)).map(|count| count as u32)
}

/// Any 64-bit integer. A negative one is taken by its bits.
fn seed(value: Value, path: &Path<'_>) -> Result<u64, Invalid> {
    match value.as_i64() {
        Some(seed) => Ok(seed as u64),
        None => integer(value, path, 0, u64::MAX),
    }
}

fn stop(value: Value, path: &Path<'_>) -> Result<Vec<String>, Invalid> {
    let stops = match value {
        Value::String(stop) => vec![not_empty(stop, path)?],
        Value::Array(stops) => {
            if stops.len() > STOPS_MAX {
                let problem = format!("must hold at most {STOPS_MAX} strings, not {}", stops.len());
                return Err(invalid_value(path, problem));
            }
            let read = |(index, stop)| {
                let path = path.index(index);
                not_empty(string(stop, &path)?, &path)
            };
            stops.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
        other => return Err(wrong_type(path, "a string or an array of strings", &other)),
    };
    Ok(stops)
}

fn not_empty(text: String, path: &Path<'_>) -> Result<String, Invalid> {
    if text.is_empty() { Err(invalid_value(path, "must not be empty")) } else { Ok(text) }
}

/// Both names mean the same; the older one is not refused, since most clients still send it.
fn max_tokens(fields: &mut Map<String, Value>) -> Result<Option<u32>, Invalid> {
    let root = Path::Root;
    let mut read =
        |name| optional(fields, &root, name, |value, path| integer(value, path, 1, u64::from(u32::MAX)));
    let newer = read("max_completion_tokens")?;
    let older = read("max_tokens")?;
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => {
            let problem = "differs from `max_completion_tokens`: send only that one";
            Err(invalid_value(&root.field("max_tokens"), problem))
        }
        (newer, older) => Ok(newer.or(older).map(|count| count as u32)),
    }
}

fn logit_bias(value: Value, path: &Path<'_>) -> Result<Vec<(u32, f32)>, Invalid> {
    let biases = object(value, path)?;
    if biases.len() > BIASES_MAX {
        return Err(invalid_value(
            path,
            format_args!("must hold at most {BIASES_MAX} tokens, not {}", biases.len()),
        ));
    }
    let read = |(token, bias): (String, Value)| {
        // Only the plain form, so that no token can stand twice.
        let id = token.parse::<u32>().ok().filter(|id| id.to_string() == token);
        let Some(id) = id else {
            let name: String = token.chars().take(32).collect();
            return Err(invalid_value(path, format_args!("has the key `{name}`, which is no token id")));
        };
        Ok((id, number(bias, &path.field(&token), -100.0, 100.0)?))
    };
    biases.into_iter().map(read).collect()
}
