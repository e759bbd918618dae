//! Qwen 2 and 2.5.
//!
//! The [`Decoder`] with biases on queries, keys and values. Its files store heads as published: an element is rotated
//! with the one half a head further.

use lockgate_kernels::rope::Pairing;

use super::Network;
use super::decoder::{Decoder, Details};
use crate::model::{LoadProblem, Loader};
use crate::processor::Processor;

pub(super) const NAME: &str = "qwen2";
pub(super) const PAIRING: Pairing = Pairing::Split;

pub(super) fn load<P: Processor>(
    loader: &Loader<'_, P>,
    positions: usize,
) -> Result<Box<dyn Network<P>>, LoadProblem> {
    let details = Details { pairing: PAIRING, biased: true, positions };
    Ok(Box::new(Decoder::load(loader, &details)?))
}
