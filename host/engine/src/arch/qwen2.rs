//! Qwen 2 and 2.5.
//!
//! The [`Decoder`] with biases on queries, keys and values. Its files store heads as published: an element is rotated
//! with the one half a head further.

use lockgate_kernels::rope::Pairing;

use super::decoder::{Decoder, Details};
use super::{Family, Network};
use crate::model::{LoadProblem, Loader};

pub(super) const FAMILY: Family = Family { name: "qwen2", pairing: Pairing::Split, load };

fn load(loader: &mut Loader<'_>, positions: usize) -> Result<Box<dyn Network>, LoadProblem> {
    let details = Details { pairing: FAMILY.pairing, biased: true, positions };
    Ok(Box::new(Decoder::load(loader, &details)?))
}
