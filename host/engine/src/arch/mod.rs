//! The model families, one file each, and what they share.
//!
//! A family's file reads like its paper: what it loads, then what a forward pass does, in terms of the blocks here
//! (`attention`, `feed_forward`, `rope`, and `decoder`, which puts them together) and of the operations that every
//! processor has (`processor::Pass`). A further family is one more file and one more `Family`.

pub(crate) mod attention;
pub(crate) mod decoder;
pub(crate) mod feed_forward;
mod llama;
mod qwen2;
pub(crate) mod rope;

use lockgate_kernels::rope::Pairing;

use crate::model::{LoadProblem, Loader};
use crate::processor::{PassError, Processor};

/// The layers of a model, or some of them, ready to compute on one processor.
pub(crate) trait Network<P: Processor>: Send + Sync {
    /// Computes one pass: from its tokens, or from the residual of the layers before, to the logits and states of the
    /// rows that want them, or to the residual for the layers behind. Asks whether to stop before every layer.
    fn forward(&self, pass: &mut P::Pass<'_>) -> Result<(), PassError>;

    /// Bytes of weights that one pass over few rows reads.
    fn bytes_per_pass(&self) -> u64;
}

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Qwen2,
}

impl Family {
    const ALL: [Self; 2] = [Self::Llama, Self::Qwen2];

    /// The architecture, as files name it.
    fn name(self) -> &'static str {
        match self {
            Self::Llama => llama::NAME,
            Self::Qwen2 => qwen2::NAME,
        }
    }

    /// Which elements of a head its files store as the pairs that are rotated. Published weights are
    /// [`Pairing::Split`] in every family.
    fn pairing(self) -> Pairing {
        match self {
            Self::Llama => llama::PAIRING,
            Self::Qwen2 => qwen2::PAIRING,
        }
    }

    /// Loads the loader's layers; rope tables must cover as many positions as the last argument says.
    pub(crate) fn load<P: Processor>(
        self,
        loader: &Loader<'_, P>,
        positions: usize,
    ) -> Result<Box<dyn Network<P>>, LoadProblem> {
        match self {
            Self::Llama => llama::load(loader, positions),
            Self::Qwen2 => qwen2::load(loader, positions),
        }
    }
}

/// The architectures that can be run.
#[must_use]
pub fn known() -> Vec<&'static str> {
    Family::ALL.map(Family::name).to_vec()
}

/// Which elements of a head the files of this architecture store as pairs.
pub(crate) fn pairing(name: &str) -> Option<Pairing> {
    Family::ALL.into_iter().find(|family| family.name() == name).map(Family::pairing)
}

/// The family of this name.
pub(crate) fn find(name: &str) -> Result<Family, LoadProblem> {
    let unknown = || LoadProblem::Architecture { found: name.to_owned(), known: known() };
    Family::ALL.into_iter().find(|family| family.name() == name).ok_or_else(unknown)
}
