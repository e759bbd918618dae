//! A projection: a matrix, what adapters add to its products, and perhaps a bias.

use lockgate_kernels::matmul::{Activations, MatmulJob, PackedMatrix, matmul};
use lockgate_kernels::norm;

use super::adapt::{Adapting, Scratch};
use crate::adapter::Module;
use crate::model::{LoadProblem, Loader};

/// `out = weights · x (+ adapter) (+ bias)`, as one module of one layer.
pub(crate) struct Linear {
    weights: PackedMatrix,
    bias: Option<Vec<f32>>,
    pub(super) layer: usize,
    pub(super) module: Module,
}

impl Linear {
    /// Loads a module's weight, and its bias where the family has one.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        layer: usize,
        module: Module,
        biased: bool,
    ) -> Result<Self, LoadProblem> {
        let [outputs, inputs] = module.shape(loader.config());
        let name = format!("blk.{layer}.{}", module.gguf_name());
        let weights = loader.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = biased.then(|| loader.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Self { weights, bias, layer, module })
    }

    /// Outputs of a row.
    pub(crate) fn outputs(&self) -> usize {
        self.weights.rows()
    }

    /// Bytes of weights that a pass reads.
    pub(crate) fn bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }
}

/// Computes several projections of the same inputs, each into its output.
pub(crate) fn project<const N: usize>(
    adapting: Adapting<'_>,
    scratch: &mut Scratch,
    x: &mut Activations,
    outputs: [(&Linear, &mut [f32]); N],
) {
    let Adapting { pool, level, adapted } = adapting;
    let linears = outputs.each_ref().map(|(linear, _)| *linear);
    let mut jobs = outputs.map(|(linear, out)| MatmulJob { weights: &linear.weights, out });
    matmul(pool, level, &mut jobs, x);
    for rows in adapted {
        let mut outputs = linears.iter().zip(&mut jobs).map(|(linear, job)| (*linear, &mut *job.out));
        scratch.add(pool, level, rows, x, &mut outputs);
    }
    for (linear, job) in linears.iter().zip(jobs) {
        if let Some(bias) = &linear.bias {
            norm::add_row(pool, level, job.out, bias);
        }
    }
}
