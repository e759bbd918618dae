//! Llama 1 to 3, and what stores itself as `llama`: Mistral, SmolLM2, TinyLlama, Yi and others.
//!
//! The [`Decoder`] as it is: no biases. Its files store queries and keys permuted, so that the pairs that are rotated
//! are neighbours. Llama 3's rope scaling comes as `rope_freqs.weight`, which divides each frequency.

use lockgate_kernels::rope::Pairing;

use super::Network;
use super::decoder::{Decoder, Details};
use crate::model::{LoadProblem, Loader};
use crate::processor::Processor;

pub(super) const NAME: &str = "llama";
pub(super) const PAIRING: Pairing = Pairing::Interleaved;

pub(super) fn load<P: Processor>(
    loader: &Loader<'_, P>,
    positions: usize,
) -> Result<Box<dyn Network<P>>, LoadProblem> {
    for layer in 0..loader.config().layers {
        // Old files carry the rope's frequencies once a layer; they follow from the base.
        loader.ignore(&format!("blk.{layer}.attn_rot_embd"));
    }
    let details = Details { pairing: PAIRING, biased: false, positions };
    Ok(Box::new(Decoder::load(loader, &details)?))
}
