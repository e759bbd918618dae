//! The model families, one file each, and what they share.
//!
//! A family's file reads like its paper: what it loads, then what a forward pass does, in terms of the blocks here:
//! `pass::Pass` (the rows being computed), `linear` (projections, with what adapters add to them: `adapt`),
//! `attention`, `feed_forward`, `rope`, and `decoder`, which puts them together. A further family is one more
//! file and one more row in `FAMILIES`.

pub(crate) mod adapt;
pub(crate) mod attention;
pub(crate) mod decoder;
pub(crate) mod feed_forward;
pub(crate) mod linear;
mod llama;
pub(crate) mod pass;
mod qwen2;
pub(crate) mod rope;

use lockgate_kernels::rope::Pairing;

use crate::model::{LoadProblem, Loader};
use pass::{Pass, PassError};

/// The layers of a model, ready to compute.
pub(crate) trait Network: Send + Sync {
    /// Computes one pass: from its tokens to the logits and states of the rows that want them. Polls [`Pass::poll`] before
    /// every layer.
    fn forward(&self, pass: &mut Pass<'_>) -> Result<(), PassError>;

    /// Bytes of weights that one pass over few rows reads.
    fn bytes_per_pass(&self) -> u64;
}

/// A family of models.
pub(crate) struct Family {
    /// The architecture, as files name it.
    pub(crate) name: &'static str,
    /// Which elements of a head its files store as the pairs that are rotated. Published weights are
    /// [`Pairing::Split`] in every family.
    pub(crate) pairing: Pairing,
    /// Loads its tensors.
    pub(crate) load: Load,
}

/// Loads the tensors of a family; rope tables must cover as many positions as the second argument says.
pub(crate) type Load = fn(&mut Loader<'_>, usize) -> Result<Box<dyn Network>, LoadProblem>;

const FAMILIES: [Family; 2] = [llama::FAMILY, qwen2::FAMILY];

/// The architectures that can be run.
#[must_use]
pub fn known() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.name).collect()
}

/// Which elements of a head the files of this architecture store as pairs.
pub(crate) fn pairing(name: &str) -> Option<Pairing> {
    FAMILIES.iter().find(|family| family.name == name).map(|family| family.pairing)
}

/// The family of this name.
pub(crate) fn find(name: &str) -> Result<&'static Family, LoadProblem> {
    let unknown = || LoadProblem::Architecture { found: name.to_owned(), known: known() };
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(unknown)
}
