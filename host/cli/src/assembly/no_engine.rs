//! A build without the engine: it serves what is elsewhere, and says so when a model is asked for.

use anyhow::{Result, bail};

use lockgate_sandbox::Sandbox;

use super::Targets;
use crate::config::Config;

/// There are none.
#[derive(Default)]
pub(crate) struct Models;

impl Models {
    /// Never ends: there is no card.
    pub(super) fn loss(&self) -> impl Future<Output = String> + Send + use<> {
        std::future::pending()
    }

    pub(super) fn load(&mut self, sandbox: &Sandbox, config: &Config) -> Result<Targets> {
        check(sandbox, config)?;
        Ok(Targets::new())
    }
}

/// Refuses the first model by name. An adapter is never without one.
pub(super) fn check(_: &Sandbox, config: &Config) -> Result<()> {
    match config.models.first() {
        Some(model) => bail!(
            "{}: model `{}`: this build has no engine (it was built with --no-default-features); remove [[model]]",
            model.place,
            model.id
        ),
        None => Ok(()),
    }
}
