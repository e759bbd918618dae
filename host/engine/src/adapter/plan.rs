//! The tensors of an adapter as pairs, checked against the model that they are for: each pair complete, of a
//! projection that there is, of its shape, of the rank and scale that the settings give.

use std::collections::BTreeMap;

use lockgate_kernels::formats::Format;

use super::error::AdapterProblem;
use super::module::Module;
use crate::model::Config;

/// Beyond this an adapter saves nothing over the merged model.
pub(crate) const RANK_MAX: u64 = 1_024;

/// Which of a pair's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// `[rank][inputs]`
    A,
    /// `[outputs][rank]`
    B,
}

/// A tensor of the file whose name has been understood.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) tensor: String,
    pub(super) layer: usize,
    pub(super) module: Module,
    pub(super) half: Half,
    /// Rows and columns.
    pub(super) shape: [u64; 2],
    pub(super) format: Format,
}

/// What an adapter adds to one projection.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) layer: usize,
    pub(super) module: Module,
    pub(super) a: &'a Part,
    pub(super) b: &'a Part,
    pub(super) scale: f32,
}

/// By what an adapter's products are multiplied.
#[derive(Debug)]
pub(super) struct Scaling {
    pub(super) alpha: f64,
    /// The rank that the settings promise, where they do.
    pub(super) rank: Option<u64>,
    /// Divides by the root of the rank (rsLoRA).
    pub(super) stabilized: bool,
    /// Other alphas and ranks for the modules whose published path ends so; the first that fits counts.
    pub(super) alphas: Vec<(String, f64)>,
    pub(super) ranks: Vec<(String, u64)>,
}

impl Scaling {
    fn scale(&self, path: &str, rank: u64) -> f64 {
        let alpha = first(&self.alphas, path).unwrap_or(self.alpha);
        let rank = rank as f64;
        alpha / if self.stabilized { rank.sqrt() } else { rank }
    }

    fn rank(&self, path: &str) -> Option<u64> {
        first(&self.ranks, path).or(self.rank)
    }
}

fn first<T: Copy>(patterns: &[(String, T)], path: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| ends_with(path, pattern)).map(|(_, value)| *value)
}

/// Whether a module's path is `ending`, or ends with it as whole names.
pub(super) fn ends_with(path: &str, ending: &str) -> bool {
    path.strip_suffix(ending).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A module's place in the published model.
pub(super) fn published_path(layer: usize, module: Module) -> String {
    format!("model.layers.{layer}.{}", module.published_name())
}

/// Pairs the parts and checks them against the model; `scale` multiplies every pair's own. The pairs are in the order
/// of layers and modules.
pub(super) fn plan<'a>(
    parts: &'a [Part],
    scaling: &Scaling,
    scale: f32,
    config: &Config,
) -> Result<Vec<Pair<'a>>, AdapterProblem> {
    let mut found: BTreeMap<(usize, Module), [Option<&Part>; 2]> = BTreeMap::new();
    for part in parts {
        if part.layer >= config.layers {
            let why = format!(
                "is of layer {}, but the model has {} layers; use the adapter's own base model",
                part.layer, config.layers
            );
            return Err(AdapterProblem::Tensor { tensor: part.tensor.clone(), why });
        }
        let halves = found.entry((part.layer, part.module)).or_default();
        if let Some(first) = halves[part.half as usize].replace(part) {
            let why = format!("means the same as `{}`; the file is damaged", first.tensor);
            return Err(AdapterProblem::Tensor { tensor: part.tensor.clone(), why });
        }
    }
    if found.is_empty() {
        return Err(AdapterProblem::Empty);
    }
    found
        .into_iter()
        .map(|((layer, module), halves)| pair(layer, module, halves, scaling, scale, config))
        .collect()
}

fn pair<'a>(
    layer: usize,
    module: Module,
    halves: [Option<&'a Part>; 2],
    scaling: &Scaling,
    scale: f32,
    config: &Config,
) -> Result<Pair<'a>, AdapterProblem> {
    let (a, b) = match halves {
        [Some(a), Some(b)] => (a, b),
        [Some(there), None] | [None, Some(there)] => return Err(half_alone(there)),
        [None, None] => return Err(AdapterProblem::Empty),
    };
    let [outputs, inputs] = module.shape(config).map(|size| size as u64);
    let path = published_path(layer, module);
    let rank = a.shape[0];
    let wrong_rank =
        |expected: String| AdapterProblem::Rank { tensor: a.tensor.clone(), found: rank, expected };
    if !(1..=RANK_MAX).contains(&rank) {
        return Err(wrong_rank(format!("ranks from 1 to {RANK_MAX} are supported; merge it into the model")));
    }
    if let Some(promised) = scaling.rank(&path).filter(|promised| *promised != rank) {
        return Err(wrong_rank(format!(
            "the configuration says {promised}; the two files do not belong together"
        )));
    }
    for (part, expected) in [(a, [rank, inputs]), (b, [outputs, rank])] {
        if part.shape != expected {
            return Err(AdapterProblem::Shape { tensor: part.tensor.clone(), found: part.shape, expected });
        }
    }
    let scale = (f64::from(scale) * scaling.scale(&path, rank)) as f32;
    if !scale.is_finite() {
        return Err(AdapterProblem::Setting {
            key: "scale".to_owned(),
            found: format!("{scale} for `{}`", a.tensor),
            instead: "give a smaller scale".to_owned(),
        });
    }
    Ok(Pair { layer, module, a, b, scale })
}

fn half_alone(there: &Part) -> AdapterProblem {
    let swap = |from: &str, to: &str| there.tensor.replacen(from, to, 1);
    let other = match there.half {
        Half::A => swap("lora_A", "lora_B").replacen("lora_a", "lora_b", 1),
        Half::B => swap("lora_B", "lora_A").replacen("lora_b", "lora_a", 1),
    };
    AdapterProblem::Half { tensor: there.tensor.clone(), other }
}
