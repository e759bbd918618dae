//! A build without the engine: it serves what is elsewhere, and says so when a model is asked for.

use anyhow::{Result, bail};

use super::Targets;
use crate::config::{AdapterConfig, ModelConfig};

/// There are none.
#[derive(Default)]
pub(crate) struct Models;

impl Models {
    pub(super) fn load(&mut self, models: &[ModelConfig], adapters: &[AdapterConfig]) -> Result<Targets> {
        check(models, adapters)?;
        Ok(Targets::new())
    }
}

/// Refuses the first model by name. An adapter is never without one.
pub(super) fn check(models: &[ModelConfig], _adapters: &[AdapterConfig]) -> Result<()> {
    match models.first() {
        Some(model) => bail!(
            "model `{}`: this build has no engine (it was built with --no-default-features); remove [[model]]",
            model.id
        ),
        None => Ok(()),
    }
}
