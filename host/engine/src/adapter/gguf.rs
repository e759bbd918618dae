//! Adapters as GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them.
//!
//! ```text
//! general.type = "adapter"   adapter.type = "lora"   general.architecture   adapter.lora.alpha (f32)
//! blk.N.MODULE.weight.lora_a [rank][inputs]          blk.N.MODULE.weight.lora_b [outputs][rank]
//! ```
//! Rows are in the order of the model's own GGUF file. The format has no place for rsLoRA: a converted adapter of
//! that kind is scaled too low by every program, which no reader can notice.

use super::error::AdapterProblem;
use super::module::Module;
use super::plan::{Half, Part, Scaling};
use crate::gguf::{Gguf, TensorInfo, TensorType, optional};
use lockgate_kernels::formats::Format;

/// Reads settings and names of a file that says that it is an adapter. The architecture comes last.
pub(super) fn read(gguf: &Gguf) -> Result<(Vec<Part>, Scaling, String), AdapterProblem> {
    let metadata = gguf.metadata();
    let refuse = |key: &str, found: &str, instead: &str| AdapterProblem::Setting {
        key: key.to_owned(),
        found: format!("`{found}`"),
        instead: instead.to_owned(),
    };
    match optional(metadata.string("general.type"))? {
        Some("adapter") => {}
        found => {
            let instead = "this is no adapter; a model is named as a model";
            return Err(refuse("general.type", found.unwrap_or("absent"), instead));
        }
    }
    let kind = metadata.string("adapter.type")?;
    if kind != "lora" {
        return Err(refuse("adapter.type", kind, "only `lora` is supported"));
    }
    const INVOCATION: &str = "adapter.alora.invocation_tokens";
    if metadata.contains(INVOCATION) {
        return Err(refuse(INVOCATION, "present", "activated LoRA is not supported; train a plain one"));
    }
    const ALPHA: &str = "adapter.lora.alpha";
    let alpha = metadata.f32(ALPHA)?;
    if !(f32::MIN_POSITIVE..=1e6).contains(&alpha) {
        return Err(refuse(ALPHA, &alpha.to_string(), "it must be positive; convert the adapter again"));
    }
    let architecture = metadata.string("general.architecture")?.to_owned();
    let parts = gguf.tensors().map(part).collect::<Result<_, _>>()?;
    let (alphas, ranks) = (Vec::new(), Vec::new());
    let scaling = Scaling { alpha: alpha.into(), rank: None, stabilized: false, alphas, ranks };
    Ok((parts, scaling, architecture))
}

fn part(info: &TensorInfo) -> Result<Part, AdapterProblem> {
    let tensor = info.name.as_str();
    let refuse = |why: &str| AdapterProblem::Tensor { tensor: tensor.to_owned(), why: why.to_owned() };
    let (name, half) = match tensor.rsplit_once('.') {
        Some((name, "lora_a")) => (name, Half::A),
        Some((name, "lora_b")) => (name, Half::B),
        _ => return Err(refuse(why_not(tensor))),
    };
    let Some((layer, module)) = place(name) else { return Err(refuse(why_not(name))) };
    let format = match info.tensor_type {
        TensorType::F32 => Format::F32,
        TensorType::F16 => Format::F16,
        TensorType::BF16 => Format::Bf16,
        other => {
            let name = other.name();
            return Err(refuse(&format!("is stored as {name}; convert the adapter with `--outtype f16`")));
        }
    };
    let [columns, rows] = info.dimensions[..] else {
        return Err(refuse("is no matrix; adapters of experts are not supported"));
    };
    Ok(Part { tensor: tensor.to_owned(), layer, module, half, shape: [rows, columns], format })
}

/// The layer and module of `blk.N.MODULE.weight`.
fn place(name: &str) -> Option<(usize, Module)> {
    let (layer, module) = name.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    let module = Module::ALL.into_iter().find(|known| known.gguf_name() == module)?;
    Some((layer.parse().ok()?, module))
}

/// What a tensor that is no part of a pair is, and what to do.
fn why_not(tensor: &str) -> &'static str {
    if tensor.contains("_norm.") {
        "changes a norm, which is not supported; merge the adapter into the model"
    } else if tensor.starts_with("token_embd") || tensor.starts_with("output.") {
        "changes the embedding or the output matrix, which is not supported; train without them or merge the adapter"
    } else {
        "is no low-rank weight of a known module; train only attention and feed-forward projections, or merge the \
         adapter into the model"
    }
}
