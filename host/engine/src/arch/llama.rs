//! Llama 1 to 3, and what stores itself as `llama`: Mistral, SmolLM2, TinyLlama, Yi and others.
//!
//! The [`Decoder`] as it is: no biases. Its files store queries and keys permuted, so that the pairs that are rotated
//! are neighbours. Llama 3's rope scaling comes as `rope_freqs.weight`, which divides each frequency.

use lockgate_kernels::rope::Pairing;

use super::decoder::{Decoder, Details};
use super::{Family, Network};
use crate::model::{LoadProblem, Loader};

pub(super) const FAMILY: Family = Family { name: "llama", pairing: Pairing::Interleaved, load };

fn load(loader: &mut Loader<'_>, positions: usize) -> Result<Box<dyn Network>, LoadProblem> {
    for layer in 0..loader.config().layers {
        // Old files carry the rope's frequencies once a layer; they follow from the base.
        loader.ignore(&format!("blk.{layer}.attn_rot_embd"));
    }
    let details = Details { pairing: FAMILY.pairing, biased: false, positions };
    Ok(Box::new(Decoder::load(loader, &details)?))
}
