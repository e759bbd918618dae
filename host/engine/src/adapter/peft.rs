//! Adapters as PEFT saves them: names and shapes of the tensors of `adapter_model.safetensors`, and whether they are
//! those that the configuration names.
//!
//! ```text
//! base_model.model.model.layers.N.MODULE.lora_A.weight [rank][inputs]      … .lora_B.weight [outputs][rank]
//! ```
//! Rows of queries and keys are in the order of the published model, which differs from that of GGUF files in
//! families whose files store the rotated pairs as neighbours ([`stored_row`]).

use super::config::PeftConfig;
use super::error::AdapterProblem;
use super::module::Module;
use super::plan::{Half, Part, ends_with, published_path};
use super::safetensors::{Safetensors, Tensor};

const PREFIX: &str = "base_model.model.";

/// Understands the names of all tensors.
pub(super) fn parts(file: &Safetensors, config: &PeftConfig) -> Result<Vec<Part>, AdapterProblem> {
    let parts: Vec<Part> =
        file.tensors().map(|(name, tensor)| part(name, tensor)).collect::<Result<_, _>>()?;
    if let Some(targets) = &config.targets {
        check_targets(&parts, targets)?;
    }
    Ok(parts)
}

fn part(tensor: &str, about: &Tensor) -> Result<Part, AdapterProblem> {
    let refuse = |why: &str| AdapterProblem::Tensor { tensor: tensor.to_owned(), why: why.to_owned() };
    let path = tensor.strip_prefix(PREFIX);
    let halves = [(".lora_A.weight", Half::A), (".lora_B.weight", Half::B)];
    let split = halves.into_iter().find_map(|(ending, half)| Some((path?.strip_suffix(ending)?, half)));
    let Some((path, half)) = split else { return Err(refuse(why_not(tensor))) };
    let Some((layer, module)) = place(path) else { return Err(refuse(why_not(tensor))) };
    let [rows, columns] = about.shape[..] else { return Err(refuse("is no matrix; the file is damaged")) };
    let (tensor, format) = (tensor.to_owned(), about.format);
    Ok(Part { tensor, layer, module, half, shape: [rows, columns], format })
}

/// The layer and module of `model.layers.N.MODULE`.
fn place(path: &str) -> Option<(usize, Module)> {
    let (layer, module) = path.strip_prefix("model.layers.")?.split_once('.')?;
    let module = Module::ALL.into_iter().find(|known| known.published_name() == module)?;
    Some((layer.parse().ok()?, module))
}

/// What a tensor that is no part of a pair is, and what to do.
fn why_not(tensor: &str) -> &'static str {
    const KINDS: [(&str, &str); 7] = [
        (
            "lora_magnitude_vector",
            "belongs to DoRA, which is not supported; train without it or merge the adapter",
        ),
        (
            "lora_embedding_",
            "changes the embedding, which is not supported; train without it or merge the adapter",
        ),
        (
            "embed_tokens",
            "changes the embedding, which is not supported; train without it or merge the adapter",
        ),
        (
            "lm_head",
            "changes the output matrix, which is not supported; train without it or merge the adapter",
        ),
        ("norm", "changes a norm, which is not supported; train without it or merge the adapter"),
        ("bias", "is a bias, which is not supported; train with bias=\"none\""),
        ("modules_to_save", "is a fully trained module, which is not supported; merge the adapter"),
    ];
    let kind = KINDS.iter().find(|(part, _)| tensor.contains(part));
    kind.map_or(
        "is no low-rank weight of a known module; train only attention and feed-forward projections, or merge the \
         adapter into the model",
        |(_, why)| *why,
    )
}

/// Each target must have weights and each weight must be of a target: otherwise the two files do not belong together.
fn check_targets(parts: &[Part], targets: &[String]) -> Result<(), AdapterProblem> {
    let path = |part: &Part| published_path(part.layer, part.module);
    for target in targets {
        if !parts.iter().any(|part| ends_with(&path(part), target)) {
            return Err(AdapterProblem::Setting {
                key: "target_modules".to_owned(),
                found: format!("a list with `{target}`"),
                instead:
                    "there are no weights for it; the two files do not belong together, or training adapted \
                          a module that is not supported"
                        .to_owned(),
            });
        }
    }
    let stray = parts.iter().find(|part| !targets.iter().any(|target| ends_with(&path(part), target)));
    match stray {
        None => Ok(()),
        Some(part) => {
            let why =
                "is not of the modules that `target_modules` lists; the two files do not belong together";
            Err(AdapterProblem::Tensor { tensor: part.tensor.clone(), why: why.to_owned() })
        }
    }
}

/// Which published row of a head's queries or keys is row `row` where rotated pairs are stored as neighbours: the
/// published model rotates an element with the one half a head further.
pub(super) fn stored_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    head * head_dim + within % 2 * (head_dim / 2) + within / 2
}
