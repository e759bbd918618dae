//! A projection: a matrix and perhaps a bias.

use lockgate_kernels::matmul::PackedMatrix;

use crate::model::{LoadProblem, Loader};

/// `out = weights · x (+ bias)`.
pub(crate) struct Linear {
    pub(crate) weights: PackedMatrix,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    /// Loads `{name}.weight`, and `{name}.bias` where the family has one.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        name: &str,
        [outputs, inputs]: [usize; 2],
        biased: bool,
    ) -> Result<Self, LoadProblem> {
        let weights = loader.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = biased.then(|| loader.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Self { weights, bias })
    }
}
