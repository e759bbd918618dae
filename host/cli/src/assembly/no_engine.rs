//! A build without the engine: it serves what is elsewhere, and says so when a model is asked for.

use anyhow::{Result, bail};

use super::Targets;
use crate::config::ModelConfig;

/// There are none.
#[derive(Default)]
pub(crate) struct Models;

impl Models {
    pub(super) fn load(&mut self, configured: &[ModelConfig]) -> Result<Targets> {
        check(configured)?;
        Ok(Targets::new())
    }
}

/// Refuses the first model by name.
pub(super) fn check(configured: &[ModelConfig]) -> Result<()> {
    match configured.first() {
        Some(model) => bail!(
            "model `{}`: this build has no engine (it was built with --no-default-features); remove [[model]]",
            model.id
        ),
        None => Ok(()),
    }
}
