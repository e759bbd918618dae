//! The gated feed-forward network: `x += W_down · (silu(W_gate · n) ⊙ W_up · n)` for the normalised rows n.

use lockgate_kernels::activation;
use lockgate_kernels::matmul::{MatmulJob, PackedMatrix, matmul};

use super::pass::Pass;
use crate::model::{LoadProblem, Loader};

/// The feed-forward network of one layer.
pub(crate) struct GatedFeedForward {
    gate: PackedMatrix,
    up: PackedMatrix,
    down: PackedMatrix,
}

impl GatedFeedForward {
    /// Loads the network of layer `layer`.
    pub(crate) fn load(loader: &mut Loader<'_>, layer: usize) -> Result<Self, LoadProblem> {
        let (hidden, inner) = (loader.config().hidden, loader.config().feed_forward);
        let name = |part: &str| format!("blk.{layer}.ffn_{part}.weight");
        Ok(Self {
            gate: loader.matrix(&name("gate"), inner, hidden)?,
            up: loader.matrix(&name("up"), inner, hidden)?,
            down: loader.matrix(&name("down"), hidden, inner)?,
        })
    }

    /// Adds the network's answer to the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut Pass<'_>) {
        let (pool, level, rows, inner) = (pass.pool, pass.level, pass.rows(), self.gate.rows());
        let buffers = &mut *pass.buffers;
        let gate = buffers.gate.sized(rows * inner);
        let up = buffers.up.sized(rows * inner);
        let mut jobs =
            [MatmulJob { weights: &self.gate, out: gate }, MatmulJob { weights: &self.up, out: up }];
        matmul(pool, level, &mut jobs, &mut buffers.inputs);
        let gated = buffers.gated.sized(rows * inner);
        activation::silu_mul(pool, level, gate, up, gated);
        buffers.inputs.set(pool, level, rows, inner, gated);
        buffers.add_product(pool, level, &self.down);
    }

    pub(crate) fn bytes(&self) -> u64 {
        [&self.gate, &self.up, &self.down].map(|matrix| matrix.bytes() as u64).iter().sum()
    }
}
