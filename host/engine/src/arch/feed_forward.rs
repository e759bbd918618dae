//! The gated feed-forward network: `x += W_down · (silu(W_gate · n) ⊙ W_up · n)` for the normalised rows n.

use lockgate_kernels::activation;

use super::linear::{Linear, project};
use super::pass::Pass;
use crate::adapter::Module;
use crate::model::{LoadProblem, Loader};

/// The feed-forward network of one layer.
pub(crate) struct GatedFeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl GatedFeedForward {
    /// Loads the network of layer `layer`.
    pub(crate) fn load(loader: &mut Loader<'_>, layer: usize) -> Result<Self, LoadProblem> {
        Ok(Self {
            gate: Linear::load(loader, layer, Module::Gate, false)?,
            up: Linear::load(loader, layer, Module::Up, false)?,
            down: Linear::load(loader, layer, Module::Down, false)?,
        })
    }

    /// Adds the network's answer to the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut Pass<'_>) {
        let (pool, level, rows, inner) = (pass.pool, pass.level, pass.rows(), self.gate.outputs());
        let adapting = pass.adapting();
        let buffers = &mut *pass.buffers;
        let gate = buffers.gate.sized(rows * inner);
        let up = buffers.up.sized(rows * inner);
        let outputs = [(&self.gate, &mut *gate), (&self.up, &mut *up)];
        project(adapting, &mut buffers.adapters, &mut buffers.inputs, outputs);
        let gated = buffers.gated.sized(rows * inner);
        activation::silu_mul(pool, level, gate, up, gated);
        buffers.inputs.set(pool, level, rows, inner, gated);
        buffers.add_projection(adapting, &self.down);
    }

    pub(crate) fn bytes(&self) -> u64 {
        [&self.gate, &self.up, &self.down].map(Linear::bytes).iter().sum()
    }
}
