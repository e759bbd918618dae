//! `check`: validates a configuration and contacts nothing.

use crate::args::CheckArgs;
use crate::assembly;
use crate::failure::Failure;
use crate::{config, terminal};

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    assembly::check(&config)?;
    terminal::note(&format!(
        "{}: valid ({} models, {} providers, {} targets, {} keys; router {})",
        args.config.display(),
        config.models.len(),
        config.providers.len(),
        config.targets.len(),
        config.keys.len(),
        config.router.as_ref().map_or("privacy-first, built in", |router| router.id.as_str()),
    ));
    Ok(())
}
