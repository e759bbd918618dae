//! The gated feed-forward network: `x += W_down · (silu(W_gate · n) ⊙ W_up · n)` for the normalised rows n.

use crate::adapter::Module;
use crate::model::{LoadProblem, Loader};
use crate::processor::{Linear, Pass, PassError, Processor};

/// The feed-forward network of one layer.
pub(crate) struct GatedFeedForward<P: Processor> {
    gate: Linear<P>,
    up: Linear<P>,
    down: Linear<P>,
}

impl<P: Processor> GatedFeedForward<P> {
    /// Loads the network of layer `layer`.
    pub(crate) fn load(loader: &Loader<'_, P>, layer: usize) -> Result<Self, LoadProblem> {
        Ok(Self {
            gate: loader.linear(layer, Module::Gate, false)?,
            up: loader.linear(layer, Module::Up, false)?,
            down: loader.linear(layer, Module::Down, false)?,
        })
    }

    /// Adds the network's answer to the normalised rows to the residual.
    pub(crate) fn forward(&self, pass: &mut P::Pass<'_>) -> Result<(), PassError> {
        pass.project_gated(&self.gate, &self.up)?;
        pass.add_projection(&self.down)
    }

    pub(crate) fn bytes(&self) -> u64 {
        [&self.gate, &self.up, &self.down].map(|linear| P::bytes(&linear.weights)).iter().sum()
    }
}
